"""What SAGAN and BigGAN are made of: residual blocks, self-attention, a discriminator's projection.

The blocks are those of Miyato and Koyama (2018, arXiv:1802.05637). All convolutions and linear
layers have spectral norm, in the generators too (Zhang et al., 2018, arXiv:1805.08318).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_image_shape, check_images
from gankit.models.initialization import Init, initialize
from gankit.nn import (
    BatchNormAct2d,
    ConditionalBatchNormAct2d,
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
    power_iteration,
    spectral_layers,
)
from gankit.nn.traits import declares
from gankit.scalars import integers, is_integer

__all__ = [
    "ConditionedNorm",
    "DownBlock",
    "Norms",
    "ProjectionDiscriminator",
    "SelfAttention2d",
    "UpBlock",
    "Upward",
    "chosen_attention",
    "draw_weights",
    "halved",
    "side_of",
    "upsampled",
]

# Singular vectors are found again where weights have been drawn again.
_ITERATIONS = 15
Norms = Callable[[int], nn.Module]


@declares(per_sample=True, any_layout=True)
class ConditionedNorm(nn.Module):
    """Batch norm whose scale and shift are functions of a condition, and ReLU.

    Args:
        maps: C of the input.
        scale, shift: from the condition, one row per sample, to ``[N, C]``; the scale is
            1 and that.
    """

    def __init__(self, maps: int, scale: nn.Module, shift: nn.Module) -> None:
        super().__init__()
        self.normalize = ConditionalBatchNormAct2d(maps)
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y: Tensor = self.normalize(x, 1 + self.scale(condition), self.shift(condition))
        return y


@declares(per_sample=True, any_layout=True)
class UpBlock(nn.Module):
    """A residual block that doubles height and width: norm, ReLU, 3x3 convolution, twice.

    Args:
        before, maps: feature maps of the input and of the output.
        norms: makes a :class:`ConditionedNorm` of so many feature maps.
    """

    def __init__(self, before: int, maps: int, norms: Norms) -> None:
        super().__init__()
        self.norm1, self.norm2 = norms(before), norms(maps)
        self.conv1 = SpectralConv2d(before, maps, 3, padding=1)
        self.conv2 = SpectralConv2d(maps, maps, 3, padding=1)
        self.shortcut = SpectralConv2d(before, maps, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.conv1(upsampled(self.norm1(x, condition)))
        y = self.conv2(self.norm2(y, condition))
        # A 1x1 convolution of the small image, enlarged, is that of the enlarged one.
        total: Tensor = y + upsampled(self.shortcut(x))
        return total


@declares(per_sample=True, any_layout=True)
class DownBlock(nn.Module):
    """A residual block without norm: ReLU, 3x3 convolution, twice, and the mean of 2x2 pixels.

    Args:
        before, maps: feature maps of the input and of the output.
        halves: whether height and width are halved.
        first: its input is an image, on which ReLU does not act.
    """

    def __init__(self, before: int, maps: int, *, halves: bool = True, first: bool = False) -> None:
        super().__init__()
        self.halves, self.first = halves, first
        self.conv1 = SpectralConv2d(before, maps, 3, padding=1)
        self.conv2 = SpectralConv2d(maps, maps, 3, padding=1)
        learned = halves or before != maps
        self.shortcut = SpectralConv2d(before, maps, 1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.halves:
            x, y = halved(x), halved(y)
        total: Tensor = y + self.shortcut(x)
        return total


@declares(per_sample=True, any_layout=True)
class SelfAttention2d(nn.Module):
    """``x + gamma * attention(x)`` (Zhang et al., 2018, arXiv:1805.08318), gamma 0 at first.

    Each pixel is a query; keys and values are the maxima of 2x2 pixels, as in the authors' code,
    with C/8 feature maps for queries and keys and C/2 for values.

    Args:
        maps: C of the input.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        inner, values = max(1, maps // 8), max(1, maps // 2)
        self.query = SpectralConv2d(maps, inner, 1, bias=False)
        self.key = SpectralConv2d(maps, inner, 1, bias=False)
        self.value = SpectralConv2d(maps, values, 1, bias=False)
        self.out = SpectralConv2d(values, maps, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]``, H and W at least 2, to the same shape."""
        query = _pixels(self.query(x))
        key, value = (_pixels(F.max_pool2d(layer(x), 2)) for layer in (self.key, self.value))
        seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        maps = seen.squeeze(1).mT.unflatten(2, x.shape[2:])
        y: Tensor = x + self.gamma * self.out(maps)
        return y


@declares(per_sample=True, any_layout=True)
class Upward(nn.Module):
    """A small feature map to an image in [-1, 1]: blocks, batch norm, ReLU, 3x3 convolution, Tanh.

    Args:
        layers: blocks that take a condition, with self-attention, which takes none, between them.
        maps: feature maps of the last block.
        channels: C of the image.
    """

    def __init__(self, layers: Iterable[nn.Module], maps: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = BatchNormAct2d(maps, activation="relu")
        self.to_image = SpectralConv2d(maps, channels, 3, padding=1)

    def forward(self, x: Tensor, conditions: Iterable[Tensor]) -> Tensor:
        """``[N, C', h, w]`` and a condition for each block, in order, to ``[N, C, H, W]``."""
        waiting = iter(conditions)
        for layer in self.layers:
            attends = isinstance(layer, SelfAttention2d)
            x = layer(x) if attends else layer(x, next(waiting))
        return torch.tanh(self.to_image(self.norm(x)))


class ProjectionDiscriminator(nn.Module):
    """Images and classes to scores, ``linear(f) + <embedding of the class, f>``.

    Miyato and Koyama, 2018, arXiv:1802.05637. f is the sum over all pixels of what ``layers`` make
    of the image, behind ReLU.

    Args:
        layers: from images to feature maps.
        features: of the last of them, the length of f.
        n_classes, image_shape: attributes.
        init: as for :func:`draw_weights`.
    """

    def __init__(
        self,
        layers: Iterable[nn.Module],
        features: int,
        n_classes: int,
        image_shape: Sequence[int],
        init: Init,
    ) -> None:
        super().__init__()
        self.n_classes, self.image_shape = int(n_classes), integers(image_shape)
        self.main = nn.Sequential(*layers)
        self.linear = SpectralLinear(features, 1)
        self.embedding = SpectralEmbedding(n_classes, features)
        draw_weights(self, init)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images ``[N, C, S, S]`` and labels int64 ``[N]`` to scores ``[N, 1]``.

        Raises DataError for images of another shape.
        """
        check_images(images, self.image_shape)
        features = F.relu(self.main(images)).sum((2, 3))
        along = (self.embedding(labels) * features).sum(1, keepdim=True)
        scores: Tensor = self.linear(features) + along
        return scores


def upsampled(x: Tensor) -> Tensor:
    """Twice as high and wide, each pixel four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def halved(x: Tensor) -> Tensor:
    """Half as high and wide, the mean of each 2x2 pixels."""
    return F.avg_pool2d(x, 2)


def side_of(image_shape: Sequence[int]) -> int:
    """Height and width of images ``(C, S, S)``. Raises ConfigError for others."""
    check_image_shape(image_shape)
    _, height, width = integers(image_shape)
    if height != width:
        raise ConfigError(f"image_shape must be (C, S, S), got {tuple(image_shape)}")
    return height


def chosen_attention(
    attention: int | str | None, sizes: Iterable[int], auto: int | None
) -> int | None:
    """Which of the feature maps of ``sizes`` attends to itself, or None: ``auto`` for ``"auto"``.

    Raises ConfigError for what is none of them.
    """
    if attention == "auto":
        return auto
    if isinstance(attention, str):
        raise ConfigError(f"attention must be 'auto', None or a size, got {attention!r}")
    allowed = sorted({size for size in sizes if size >= 2})
    if attention is not None and (not is_integer(attention) or attention not in allowed):
        raise ConfigError(
            "attention must be None or the size of a feature map, "
            f"{', '.join(map(str, allowed))}, got {attention!r}"
        )
    return attention


def draw_weights(network: nn.Module, init: Init) -> None:
    """Draw the weights of ``network`` by ``init`` and find their singular vectors.

    ``"orthogonal"`` draws those of all convolutions, linear layers and embeddings (Saxe, McClelland
    and Ganguli, 2013, arXiv:1312.6120), as for BigGAN; ``"xavier"`` uniform ones in the limits of
    Glorot and Bengio (2010), as for SAGAN. Biases are 0 after both.
    """
    initialize(network, init, orthogonal=_orthogonal, xavier=_xavier)
    power_iteration(spectral_layers(network), _ITERATIONS)


def _orthogonal(module: nn.Module) -> None:
    _draw(module, nn.init.orthogonal_)


def _xavier(module: nn.Module) -> None:
    _draw(module, nn.init.xavier_uniform_)


def _draw(module: nn.Module, draw: Callable[[Tensor], Tensor]) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
        draw(module.weight)
        bias = getattr(module, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)


def _pixels(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` as one head of a sequence of pixels, ``[N, 1, H W, C]``."""
    return x.flatten(2).mT.unsqueeze(1)
