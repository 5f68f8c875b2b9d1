"""The networks of R3GAN (Huang, Gokaslan, Kuleshov and Tompkin, 2024, arXiv:2501.05441).

Residual blocks like those of ResNeXt (Xie et al., 2016, arXiv:1611.05431) without normalization: a
1x1 convolution to more feature maps, a grouped 3x3 convolution, a 1x1 convolution back, LeakyReLU
with a bias between them. As in Fixup (Zhang, Dauphin and Ma, 2019, arXiv:1901.09321) the last layer
of each block begins at 0 and the others are scaled by the number of blocks, so that a deep network
begins as a shallow one. The discriminator is the generator in reverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_image_shape, check_images, check_noise, check_positive
from gankit.nn.traits import declares
from gankit.scalars import integers, is_integer

__all__ = ["Discriminator", "Generator"]

_SLOPE = 0.2
# Keeps the variance from layer to layer: of LeakyReLU (He et al., 2015, arXiv:1502.01852).
_GAIN = math.sqrt(2 / (1 + _SLOPE**2))
_MIN_SIZE = 4
_LAYERS_OF_A_BLOCK = 3


@declares(per_sample=True)
class Generator(nn.Module):
    """Noise to images: a learned basis of 4 to 7 pixels, then stages that double the size.

    Args:
        z_dim: length of a noise vector.
        image_shape: ``(C, H, W)``. H and W are halved while both are even and at least 8; what is
            left is the size of the basis: 4x4 for 32x32 or 64x64, 7x7 for 28x28.
        width: feature maps of every stage, or those of each, from the image inwards.
        blocks: residual blocks of each stage.
        expansion: a block computes with ``expansion`` times as many feature maps.
        group_width: feature maps of a group of the 3x3 convolution; divides ``expansion * width``.
        n_classes: number of classes of a conditional GAN, whose embedding is joined to the noise;
            None for none.
        embedding: length of the embedding of a class.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        z_dim: int = 64,
        image_shape: Sequence[int] = (3, 32, 32),
        width: int | Sequence[int] = 64,
        blocks: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        n_classes: int | None = None,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        check_positive("z_dim", z_dim)
        size, widths = _plan(image_shape, width, blocks, expansion, group_width)
        self.z_dim, self.image_shape = int(z_dim), integers(image_shape)
        self.n_classes = n_classes
        total = blocks * len(widths)
        inputs = z_dim
        if n_classes is not None:
            self.embed = _Embedding(n_classes, embedding)
            inputs += embedding
        self.basis = nn.Parameter(torch.randn(widths[-1], *size))
        self.scales = _scaled(nn.Linear(inputs, widths[-1], bias=False), 1.0)
        layers: list[nn.Module] = []
        before = widths[-1]
        for number, maps in enumerate(reversed(widths)):
            layers += [_Up(before, maps)] if number else []
            layers += [_Block(maps, expansion, group_width, total) for _ in range(blocks)]
            before = maps
        to_image = _scaled(nn.Conv2d(before, self.image_shape[0], 1, bias=False), 1.0)
        self.main = nn.Sequential(*layers, to_image)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``z`` ``[N, z_dim]``, and ``labels`` int64 ``[N]`` where there are classes, to images
        ``[N, C, H, W]``, whose range is that of the data: nothing bounds it."""
        check_noise(z, self.z_dim)
        if self.n_classes is not None:
            z = torch.cat([z, self.embed(labels)], dim=1)
        images: Tensor = self.main(self.basis * self.scales(z)[:, :, None, None])
        return images


@declares(per_sample=True)
class Discriminator(nn.Module):
    """Images to scores: stages that halve the size, then a learned basis; no sigmoid.

    Args:
        image_shape, width, blocks, expansion, group_width: as for :class:`Generator`.
        n_classes: the score is the inner product of the features with the embedding of the class
            (Miyato and Koyama, 2018, arXiv:1802.05637); None for a linear layer.
        embedding: length of the embedding of a class.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (3, 32, 32),
        width: int | Sequence[int] = 64,
        blocks: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        n_classes: int | None = None,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        size, widths = _plan(image_shape, width, blocks, expansion, group_width)
        self.image_shape, self.n_classes = integers(image_shape), n_classes
        total = blocks * len(widths)
        before = widths[0]
        layers: list[nn.Module] = [
            _scaled(nn.Conv2d(self.image_shape[0], before, 1, bias=False), 1.0)
        ]
        for number, maps in enumerate(widths):
            layers += [_Down(before, maps)] if number else []
            layers += [_Block(maps, expansion, group_width, total) for _ in range(blocks)]
            before = maps
        basis = _scaled(nn.Conv2d(before, before, size, groups=before, bias=False), 1.0)
        outputs = 1 if n_classes is None else embedding
        head = _scaled(nn.Linear(before, outputs, bias=False), 1.0)
        self.main = nn.Sequential(*layers, basis, nn.Flatten(), head)
        if n_classes is not None:
            self.embed = _Embedding(n_classes, embedding)
            # The inner product with features of variance 1 has variance 1.
            nn.init.normal_(self.embed.table.weight, 0.0, embedding**-0.5)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``[N, C, H, W]``, and ``labels`` int64 ``[N]`` where there are classes, to scores
        ``[N, 1]``."""
        check_images(images, self.image_shape)
        scores: Tensor = self.main(images)
        if self.n_classes is not None:
            scores = (scores * self.embed(labels)).sum(1, keepdim=True)
        return scores


@declares(per_sample=True)
class _Block(nn.Sequential):
    """Its input is added to what three convolutions make of it."""

    def __init__(self, maps: int, expansion: int, group_width: int, blocks: int) -> None:
        wide = expansion * maps
        gain = _GAIN * blocks ** (-1 / (2 * _LAYERS_OF_A_BLOCK - 2))
        groups = wide // group_width
        super().__init__(
            _scaled(nn.Conv2d(maps, wide, 1), gain),
            nn.LeakyReLU(_SLOPE),
            _scaled(nn.Conv2d(wide, wide, 3, padding=1, groups=groups), gain),
            nn.LeakyReLU(_SLOPE),
            _scaled(nn.Conv2d(wide, maps, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + super().forward(x)
        return y


class _Resampled(nn.Module):
    """A fixed filter of 1, 2, 1 both ways, and a 1x1 convolution where the widths differ."""

    kernel: Tensor

    def __init__(self, before: int, maps: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0])
        kernel = torch.outer(line, line) / 16
        self.register_buffer("kernel", kernel.expand(1, 1, 3, 3).clone(), persistent=False)
        self.linear = (
            nn.Identity()
            if before == maps
            else _scaled(nn.Conv2d(before, maps, 1, bias=False), 1.0)
        )


@declares(per_sample=True)
class _Up(_Resampled):
    """To twice the size."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        maps = x.shape[1]
        weight = 4 * self.kernel.expand(maps, 1, 3, 3)
        return F.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=1, groups=maps)


@declares(per_sample=True)
class _Down(_Resampled):
    """To half the size."""

    def forward(self, x: Tensor) -> Tensor:
        maps = x.shape[1]
        weight = self.kernel.expand(maps, 1, 3, 3)
        smaller: Tensor = self.linear(F.conv2d(x, weight, stride=2, padding=1, groups=maps))
        return smaller


@declares(per_sample=True)
class _Embedding(nn.Module):
    """A learned vector for each class."""

    def __init__(self, n_classes: int, length: int) -> None:
        super().__init__()
        for name, value in (("n_classes", n_classes), ("embedding", length)):
            if not is_integer(value) or value < 1:
                raise ConfigError(f"{name} must be a positive integer, got {value!r}")
        self.table = nn.Embedding(n_classes, length)

    def forward(self, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise ConfigError("labels: expected int64 [N] of a conditional network, got None")
        vectors: Tensor = self.table(labels)
        return vectors


def _scaled(layer: nn.Module, gain: float) -> nn.Module:
    """``layer`` with weights from N(0, gain^2 / fan_in) and biases of 0."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _plan(
    image_shape: Sequence[int],
    width: int | Sequence[int],
    blocks: int,
    expansion: int,
    group_width: int,
) -> tuple[tuple[int, int], list[int]]:
    """The size of the smallest feature map, and the widths from the image inwards."""
    check_image_shape(image_shape)
    for name, value in (("blocks", blocks), ("expansion", expansion), ("group_width", group_width)):
        check_positive(name, value)
    _, height, columns = integers(image_shape)
    stages = 1
    while height % 2 == columns % 2 == 0 and min(height, columns) >= 2 * _MIN_SIZE:
        height, columns, stages = height // 2, columns // 2, stages + 1
    if max(height, columns) > 4 * _MIN_SIZE:
        raise ConfigError(
            "image_shape must have sides that halve, while both are even and at least 8, to at "
            f"most {4 * _MIN_SIZE}, got {tuple(image_shape)}, which ends at {height}x{columns}"
        )
    widths = [width] * stages if is_integer(width) else list(integers(width))  # type: ignore[arg-type]
    if len(widths) != stages:
        raise ConfigError(
            f"width must be one number or {stages}, one for each stage of images of "
            f"{tuple(image_shape)}, got {len(widths)}"
        )
    for maps in widths:
        check_positive("width", maps)
        if expansion * maps % group_width:
            raise ConfigError(
                f"group_width must divide expansion * width, {expansion * maps}, got {group_width}"
            )
    return (height, columns), widths
