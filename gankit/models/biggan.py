"""The networks of BigGAN (Brock, Donahue and Simonyan, 2018, arXiv:1809.11096), appendix B.

Those for images of 32 and 64 pixels are of the authors' PyTorch code,
https://github.com/ajbrock/BigGAN-PyTorch. BigGAN-deep is in :mod:`gankit.models.biggan_deep`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_noise, check_positive
from gankit.models.initialization import Init
from gankit.models.residual import (
    ConditionedNorm,
    DownBlock,
    Norms,
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

__all__ = [
    "BOTTOM",
    "G_WIDTHS",
    "Discriminator",
    "Generator",
    "attended",
    "conditioned_by",
    "downwards",
    "widths_of",
]

# Height and width of the smallest feature map of a generator.
BOTTOM = 4
# Feature maps as multiples of ``width`` by the size of the images: those of the first layer and
# behind each block that doubles the size;
G_WIDTHS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
# those behind each block of a discriminator, and how many of the blocks, from the first, halve it.
_D_WIDTHS = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
_HALVINGS = {32: 2, 64: 4, 128: 5, 256: 6, 512: 7}


@declares(per_sample=True, any_layout=True)
class Generator(nn.Module):
    """Noise and classes to images. z is cut into chunks: one for the first layer, one per block.

    A class has one embedding, which the blocks share. Scale and shift of each batch norm of a block
    are linear functions of the embedding and the block's chunk.

    Args:
        n_classes: number of classes.
        z_dim: length of a noise vector, a multiple of the number of blocks and one; the paper has
            chunks of 20: 120 for 128 pixels, 140 for 256, 160 for 512.
        image_shape: ``(C, S, S)`` with S 32, 64, 128, 256 or 512.
        width: the paper's ch.
        embedding: length of the embedding of a class.
        attention: height and width of the feature map that attends to itself, or None. ``"auto"``:
            64 as in the paper, 32 for images of 64 pixels, and None for those of 32.
        init: ``"orthogonal"``, ``"xavier"``, ``"pytorch"``, or a function applied to every
            submodule.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_classes: int,
        z_dim: int = 120,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 96,
        embedding: int = 128,
        attention: int | str | None = "auto",
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        check_positive("n_classes", n_classes)
        check_positive("z_dim", z_dim)
        check_positive("embedding", embedding)
        widths = widths_of(image_shape, width, G_WIDTHS)
        chunks = len(widths)
        if z_dim % chunks:
            raise ConfigError(
                f"z_dim must be a multiple of {chunks}, a chunk for the first layer and one for "
                f"each block of images of {tuple(image_shape)}, got {z_dim}"
            )
        self.n_classes, self.z_dim = int(n_classes), int(z_dim)
        self.image_shape, self.chunk = integers(image_shape), z_dim // chunks
        self.embedding = nn.Embedding(n_classes, embedding)
        # Without the class, as the number of parameters in the paper's table 1 says.
        self.linear = SpectralLinear(self.chunk, widths[0] * BOTTOM**2)
        norms = conditioned_by(self.chunk + embedding)
        sizes = [BOTTOM * 2**level for level in range(1, chunks)]
        size = attended(attention, sizes[-1], sizes)
        layers: list[nn.Module] = []
        for number, maps in enumerate(widths[1:]):
            layers.append(UpBlock(widths[number], maps, norms))
            if sizes[number] == size:
                layers.append(SelfAttention2d(maps))
        self.main = Upward(layers, widths[-1], self.image_shape[0])
        draw_weights(self, init)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` and labels int64 ``[N]`` to images ``[N, C, S, S]`` in [-1, 1]."""
        check_noise(z, self.z_dim)
        first, *chunks = z.split(self.chunk, 1)
        classes = self.embedding(labels)
        x = self.linear(first).unflatten(1, (-1, BOTTOM, BOTTOM))
        images: Tensor = self.main(x, [torch.cat([classes, chunk], 1) for chunk in chunks])
        return images


@declares(per_sample=True, any_layout=True)
class Discriminator(ProjectionDiscriminator):
    """Images and classes to scores: blocks that halve the size, then a projection.

    Args:
        n_classes: number of classes.
        image_shape, width, init: as for :class:`Generator`.
        attention: as for :class:`Generator`, from S / 2 downwards.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_classes: int,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 96,
        attention: int | str | None = "auto",
        init: Init = "orthogonal",
    ) -> None:
        check_positive("n_classes", n_classes)
        widths, sizes, size = downwards(image_shape, width, attention)
        layers: list[nn.Module] = []
        before = integers(image_shape)[0]
        for number, maps in enumerate(widths):
            halves = number < len(sizes)
            layers.append(DownBlock(before, maps, halves=halves, first=number == 0))
            before = maps
            if halves and sizes[number] == size:
                layers.append(SelfAttention2d(maps))
        super().__init__(layers, before, n_classes, image_shape, init)


def conditioned_by(length: int) -> Norms:
    """Makes batch norms whose scale and shift are linear functions of ``length`` numbers."""

    def norm(maps: int) -> ConditionedNorm:
        scale, shift = (SpectralLinear(length, maps, bias=False) for _ in range(2))
        return ConditionedNorm(maps, scale, shift)

    return norm


def widths_of(
    image_shape: Sequence[int], width: int, table: Mapping[int, Sequence[int]]
) -> list[int]:
    """Feature maps for images of that shape. Raises ConfigError for sizes not in ``table``."""
    check_positive("width", width)
    side = side_of(image_shape)
    if side not in table:
        raise ConfigError(
            f"image_shape must have sides of {', '.join(map(str, table))}, got {tuple(image_shape)}"
        )
    return [width * multiple for multiple in table[side]]


def attended(attention: int | str | None, side: int, sizes: Sequence[int]) -> int | None:
    """Which of the feature maps of ``sizes`` attends to itself, for images of ``side``; or None."""
    return chosen_attention(attention, sizes, 64 if side >= 128 else 32 if side == 64 else None)


def downwards(
    image_shape: Sequence[int], width: int, attention: int | str | None
) -> tuple[list[int], list[int], int | None]:
    """A discriminator's feature maps, its sizes behind each halving, and which attends to itself.

    The sizes, fewer than the feature maps or as many, are of the first stages. Raises ConfigError
    for a setting that is not allowed.
    """
    widths = widths_of(image_shape, width, _D_WIDTHS)
    side = side_of(image_shape)
    sizes = [side >> level for level in range(1, _HALVINGS[side] + 1)]
    return widths, sizes, attended(attention, side, sizes)
