"""The networks of SAGAN (Zhang, Goodfellow, Metaxas and Odena, 2018, arXiv:1805.08318).

For images of 128 pixels they are those of the authors' code,
https://github.com/brain-research/self-attention-gan; other sizes have fewer or more blocks of the
same kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_noise, check_positive
from gankit.models.initialization import Init
from gankit.models.residual import (
    ConditionedNorm,
    DownBlock,
    ProjectionDiscriminator,
    SelfAttention2d,
    UpBlock,
    Upward,
    chosen_attention,
    draw_weights,
    side_of,
)
from gankit.nn import SpectralLinear
from gankit.nn.traits import declares
from gankit.scalars import integers

__all__ = ["Discriminator", "Generator"]

# Feature maps are at most this many times ``width``.
_MOST = 16


@declares(per_sample=True, any_layout=True)
class Generator(nn.Module):
    """Noise and classes to images: blocks that double the size, self-attention behind one of them.

    Each batch norm of a block has a scale and a shift per class.

    Args:
        n_classes: number of classes.
        z_dim: length of a noise vector.
        image_shape: ``(C, S, S)``; S is ``bottom`` times a power of two.
        width: feature maps of the last block. Each block before it has twice as many as the one
            behind it, up to 16 times ``width``.
        bottom: height and width of the smallest feature map.
        attention: height and width of the feature map that attends to itself, a power of two times
            ``bottom`` up to S, or None. ``"auto"``: S / 4 as for 128 in the paper, at least twice
            ``bottom``.
        init: ``"xavier"``, ``"orthogonal"``, ``"pytorch"``, or a function applied to every
            submodule.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_classes: int,
        z_dim: int = 128,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 64,
        bottom: int = 4,
        attention: int | str | None = "auto",
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        check_positive("n_classes", n_classes)
        check_positive("z_dim", z_dim)
        levels, attended = _plan(image_shape, width, bottom, attention, above=1)
        self.n_classes, self.z_dim = int(n_classes), int(z_dim)
        self.image_shape, self.bottom = integers(image_shape), int(bottom)
        before = width * min(_MOST, 2**levels)
        self.linear = SpectralLinear(z_dim, before * bottom**2)

        def norms(maps: int) -> ConditionedNorm:
            scale, shift = nn.Embedding(n_classes, maps), nn.Embedding(n_classes, maps)
            return ConditionedNorm(maps, scale, shift)

        layers: list[nn.Module] = []
        for level in reversed(range(levels)):
            maps = width * min(_MOST, 2**level)
            layers.append(UpBlock(before, maps, norms))
            before = maps
            if bottom * 2 ** (levels - level) == attended:
                layers.append(SelfAttention2d(maps))
        self.blocks = levels
        self.main = Upward(layers, before, self.image_shape[0])
        draw_weights(self, init)
        for table in self.modules():
            if isinstance(table, nn.Embedding):  # no class has a scale or shift of its own yet
                nn.init.zeros_(table.weight)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` and labels int64 ``[N]`` to images ``[N, C, S, S]`` in [-1, 1]."""
        check_noise(z, self.z_dim)
        x = self.linear(z).unflatten(1, (-1, self.bottom, self.bottom))
        images: Tensor = self.main(x, [labels] * self.blocks)
        return images


@declares(per_sample=True, any_layout=True)
class Discriminator(ProjectionDiscriminator):
    """Images and classes to scores: blocks that halve the size, one that does not, a projection.

    Args:
        n_classes: number of classes.
        image_shape, bottom, init: as for :class:`Generator`.
        width: feature maps of the first block; each has twice as many as the one before it, up to
            16 times ``width``.
        attention: as for :class:`Generator`, from ``bottom`` to S / 2; ``"auto"`` is at least
            ``bottom``.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_classes: int,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 64,
        bottom: int = 4,
        attention: int | str | None = "auto",
        init: Init = "xavier",
    ) -> None:
        check_positive("n_classes", n_classes)
        levels, attended = _plan(image_shape, width, bottom, attention, above=0)
        layers: list[nn.Module] = []
        before = integers(image_shape)[0]
        for level in range(levels):
            maps = width * min(_MOST, 2**level)
            layers.append(DownBlock(before, maps, first=level == 0))
            before = maps
            if bottom * 2 ** (levels - level - 1) == attended:
                layers.append(SelfAttention2d(maps))
        layers.append(DownBlock(before, before, halves=False))
        super().__init__(layers, before, n_classes, image_shape, init)


def _plan(
    image_shape: Sequence[int], width: int, bottom: int, attention: int | str | None, above: int
) -> tuple[int, int | None]:
    """How often the size is halved, and the size of the feature map that attends to itself.

    That is at least ``2**above`` times ``bottom``.
    """
    side = side_of(image_shape)
    check_positive("width", width)
    check_positive("bottom", bottom)
    ratio = side // bottom
    if side % bottom or ratio < 2 or ratio & (ratio - 1):
        raise ConfigError(
            f"image_shape must have sides of bottom ({bottom}) times 2, 4, 8 or another power of "
            f"two, got {tuple(image_shape)}"
        )
    levels = ratio.bit_length() - 1
    sizes = [bottom * 2**level for level in range(above, levels + above)]
    return levels, chosen_attention(attention, sizes, max(side // 4, sizes[0]))
