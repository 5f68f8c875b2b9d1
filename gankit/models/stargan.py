"""The networks of StarGAN (Choi, Choi, Kim, Ha, Kim and Choo, 2017, arXiv:1711.09020), table 4-5.

Keys of the ``state_dict`` are those of plain ``nn.Sequential``s called ``main``, with convolution,
norm and activation as modules of their own, as in the authors' code, and of the two last layers of
the discriminator, ``source`` and ``classes``, which are ``conv1`` and ``conv2`` there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.models.checks import (
    check_any_size,
    check_image_shape,
    check_images,
    check_positive,
    check_slope,
)
from gankit.models.initialization import Init, initialize, normal
from gankit.models.norms import check_norm
from gankit.nn import BatchNormAct2d, ConvTransposeAct2d, InstanceNormAct2d
from gankit.nn.traits import declares
from gankit.scalars import integers, is_integer

__all__ = ["Discriminator", "Generator"]

_MAX_BLOCKS, _MAX_LEVELS, _MAX_LAYERS, _MAX_DOMAINS = 100, 8, 12, 1000


@declares(per_sample=True, any_layout=True)
class Generator(nn.Module):
    """Images and the domain that each shall be brought to, to images of the same size.

    In the notation of CycleGAN ``c7s1-64, d128, d256, R256 x 6, u128, u64, c7s1-3`` with ``width``
    64: 4x4 convolutions where the size changes, zero padding, no biases, norm, ReLU, and Tanh at
    the end. The first layer sees each entry of the target as a further channel of the image.

    Args:
        n_domains: K, the length of a target, 1 to 1,000.
        in_channels: C of the images.
        width: feature maps after the first layer.
        blocks: number of residual blocks, 0 to 100.
        levels: how often the size is halved in front of the blocks and doubled behind them, 0 to 8.
            2, as in the paper; 0 leaves each pixel a way of its own, which small networks need.
        norm: ``"instance"``, with a scale and a shift per channel, as in the paper; or ``"batch"``,
            which keeps the mean color of an image.
        init: ``"pytorch"``, as in the authors' code; ``"normal"``, N(0, 0.02) on convolutions; or a
            function applied to every submodule.

    Attributes:
        n_domains, in_channels: as given.
        size_multiple: height and width of an image are multiples of this number, ``2^levels``.
        min_size: the least height and width, twice that.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_domains: int,
        in_channels: int = 3,
        width: int = 64,
        blocks: int = 6,
        levels: int = 2,
        norm: str = "instance",
        init: Init = "pytorch",
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("width", width)
        check_norm(norm)
        _check_domains(n_domains)
        if not is_integer(blocks) or not 0 <= blocks <= _MAX_BLOCKS:
            raise ConfigError(f"blocks must be an integer from 0 to {_MAX_BLOCKS}, got {blocks}")
        if not is_integer(levels) or not 0 <= levels <= _MAX_LEVELS:
            raise ConfigError(f"levels must be an integer from 0 to {_MAX_LEVELS}, got {levels}")
        self.n_domains, self.in_channels = int(n_domains), int(in_channels)
        self.size_multiple, self.min_size = 2**levels, 2 ** (levels + 1)
        widths = [width * 2**level for level in range(levels + 1)]
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels + n_domains, width, 7, 1, 3, bias=False),
            *_norm_relu(norm, width),
        ]
        for maps in widths[1:]:
            layers += [nn.Conv2d(maps // 2, maps, 4, 2, 1, bias=False), *_norm_relu(norm, maps)]
        layers += [_Block(widths[-1], norm) for _ in range(blocks)]
        for maps in widths[-2::-1]:
            layers += [
                ConvTransposeAct2d(2 * maps, maps, 4, 2, 1, bias=False),
                *_norm_relu(norm, maps),
            ]
        last = nn.Conv2d(width, in_channels, 7, 1, 3, bias=False)
        self.main = nn.Sequential(*layers, last, nn.Tanh())
        initialize(self, init, normal=normal)

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` and targets ``[N, K]`` to images ``[N, C, H, W]`` in [-1, 1].

        A target is one-hot where domains exclude each other, else 0 or 1 for each attribute, in the
        dtype of the images. Raises DataError for other shapes; H and W are multiples of
        ``size_multiple`` from ``min_size``.
        """
        check_any_size(images, self.in_channels, self.min_size, self.size_multiple)
        if target.dim() != 2 or target.shape[1] != self.n_domains:
            raise DataError(
                f"target must have shape [N, {self.n_domains}], got {list(target.shape)}"
            )
        planes = target[:, :, None, None].expand(-1, -1, images.shape[2], images.shape[3])
        result: Tensor = self.main(torch.cat([images, planes], 1))
        return result


@declares(per_sample=True, any_layout=True)
class _Block(nn.Module):
    """A residual block: its input is added to what two convolutions make of it."""

    def __init__(self, maps: int, norm: str) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(maps, maps, 3, 1, 1, bias=False),
            *_norm_relu(norm, maps),
            nn.Conv2d(maps, maps, 3, 1, 1, bias=False),
            _norm(norm, maps, "none"),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.main(x)
        return y


@declares(per_sample=True, any_layout=True)
class Discriminator(nn.Module):
    """Images to a map of scores, one for each patch, and to the logits of their domains.

    4x4 convolutions that halve the size, with LeakyReLU and without norm, each with twice as many
    feature maps; on top of them a 3x3 convolution for the scores and one over the whole map for the
    domains.

    Args:
        n_domains: K, 1 to 1,000.
        image_shape: ``(C, H, W)`` of the images.
        width: feature maps after the first layer.
        layers: how many halve the size, 1 to 12, at most as often as leaves one pixel. None: as
            often as leaves the shorter side 2 or 3 pixels, but 6 times at most, as at 128 in the
            paper; a side of 1 to 3 is halved once or not at all.
        negative_slope: of LeakyReLU, finite and >= 0.
        init: as for :class:`Generator`.

    Raises:
        ConfigError: a setting is not allowed, or the image is too small for so many layers.
    """

    def __init__(
        self,
        n_domains: int,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 64,
        layers: int | None = None,
        negative_slope: float = 0.01,
        init: Init = "pytorch",
    ) -> None:
        super().__init__()
        check_image_shape(image_shape)
        check_positive("width", width)
        check_slope(negative_slope)
        _check_domains(n_domains)
        channels, height, columns = integers(image_shape)
        most = min(height, columns).bit_length() - 1
        if layers is None:
            layers = max(1, min(most - 1, 6))
        if not is_integer(layers) or not 1 <= layers <= min(most, _MAX_LAYERS):
            raise ConfigError(
                f"layers must be an integer from 1 to {min(most, _MAX_LAYERS)}, as often as images "
                f"of {columns}x{height} can be halved, got {layers}"
            )
        self.n_domains, self.image_shape = int(n_domains), integers(image_shape)
        modules: list[nn.Module] = []
        before = channels
        for layer in range(layers):
            maps = width * 2**layer
            modules += [
                nn.Conv2d(before, maps, 4, 2, 1),
                nn.LeakyReLU(negative_slope, inplace=True),
            ]
            before = maps
        self.main = nn.Sequential(*modules)
        self.source = nn.Conv2d(before, 1, 3, 1, 1, bias=False)
        whole = (height >> layers, columns >> layers)
        self.classes = nn.Conv2d(before, n_domains, whole, bias=False)
        initialize(self, init, normal=normal)

    def critic(self) -> nn.Sequential:
        """The layers that make the scores, for a penalty on their gradient."""
        return nn.Sequential(self.main, self.source)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``[N, C, H, W]`` to scores ``[N, 1, h, w]`` and logits ``[N, K]``.

        Raises DataError for images of another shape.
        """
        check_images(images, self.image_shape)
        features = self.main(images)
        return self.source(features), self.classes(features).flatten(1)


def _norm(norm: str, maps: int, activation: str) -> nn.Module:
    if norm == "batch":
        return BatchNormAct2d(maps, activation=activation)
    return InstanceNormAct2d(maps, affine=True, activation=activation)


def _norm_relu(norm: str, maps: int) -> list[nn.Module]:
    # Identity stands where a plain network has the activation, which the norm runs.
    return [_norm(norm, maps, "relu"), nn.Identity()]


def _check_domains(n_domains: int) -> None:
    if not is_integer(n_domains) or not 1 <= n_domains <= _MAX_DOMAINS:
        raise ConfigError(
            f"n_domains must be an integer from 1 to {_MAX_DOMAINS:,}, got {n_domains}"
        )
