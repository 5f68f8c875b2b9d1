"""The networks of SRGAN (Ledig et al., 2016, arXiv:1609.04802): SRResNet and its discriminator."""

from __future__ import annotations

from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import (
    check_any_size,
    check_images,
    check_positive,
    check_slope,
)
from gankit.models.initialization import Init, initialize
from gankit.nn import BatchNormAct2d
from gankit.nn.traits import declares
from gankit.scalars import is_integer

__all__ = ["SRResNet", "VGGDiscriminator"]

_SCALES = (2, 4)
_MAX_BLOCKS = 100
_MAX_STAGES = 8


@declares(any_layout=True)
class SRResNet(nn.Module):
    """Small images to images ``scale`` times as high and as wide.

    In the notation of the paper's figure 4, with ``width`` 64: k9n64s1 and PReLU; ``blocks``
    residual blocks of k3n64s1, batch norm, PReLU, k3n64s1, batch norm and their sum; k3n64s1 and
    batch norm, to which the first layer's output is added; k3n256s1, PixelShuffle and PReLU once
    for each factor of two; k9n3s1. As there, no activation comes last, so images may leave [-1, 1]
    by a little.

    Args:
        in_channels: C of the images, which come out with as many.
        scale: 2 or 4.
        width: feature maps.
        blocks: number of residual blocks, 0 to 100.
        init: ``"pytorch"``; ``"zero-residual"``, with which the scale of each sum's last batch norm
            begins at 0, so that short trainings need not undo what the blocks add (Goyal et al.,
            2017, arXiv:1706.02677, section 5.1); or a function applied to every submodule.

    Attributes:
        in_channels, scale: as given.
        size_multiple, min_size: every height and width from 1 is taken.
        context: how many pixels of the small image to each side a pixel of the result depends on.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        scale: int = 4,
        width: int = 64,
        blocks: int = 16,
        init: Init = "pytorch",
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("width", width)
        if scale not in _SCALES:
            raise ConfigError(f"scale must be 2 or 4, got {scale}")
        if not is_integer(blocks) or not 0 <= blocks <= _MAX_BLOCKS:
            raise ConfigError(f"blocks must be an integer from 0 to {_MAX_BLOCKS}, got {blocks}")
        self.in_channels, self.scale = int(in_channels), int(scale)
        self.size_multiple, self.min_size = 1, 1
        doublings = self.scale.bit_length() - 1
        # 9x9; two 3x3 in each block and one behind them; then 3x3 and 9x9 at finer resolutions.
        finer = 1.0 + (0.5 if doublings == 2 else 0.0) + 4 / self.scale
        self.context = 4 + 2 * int(blocks) + 1 + -int(-finer // 1)
        self.head = nn.Sequential(nn.Conv2d(in_channels, width, 9, 1, 4), nn.PReLU())
        self.body = nn.Sequential(
            *(_Block(width) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            BatchNormAct2d(width, activation="none"),
        )
        enlarging: list[nn.Module] = []
        for _ in range(doublings):
            enlarging += [nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU()]
        self.tail = nn.Sequential(*enlarging, nn.Conv2d(width, in_channels, 9, 1, 4))
        initialize(self, init, **{"zero-residual": _without_effect})

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` in [-1, 1] to images ``[N, C, scale H, scale W]``.

        Raises DataError for other channels.
        """
        check_any_size(images, self.in_channels, self.min_size)
        features = self.head(images)
        result: Tensor = self.tail(features + self.body(features))
        return result


@declares(any_layout=True)
class _Block(nn.Module):
    """A residual block: its input is added to what two convolutions make of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            BatchNormAct2d(width, activation="none"),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            BatchNormAct2d(width, activation="none"),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.main(x)
        return y


def _without_effect(module: nn.Module) -> None:
    """0 on the scale of the batch norm whose output is added to what came in."""
    last = module.main[-1] if isinstance(module, _Block) else None
    last = module.body[-1] if isinstance(module, SRResNet) else last
    if isinstance(last, BatchNormAct2d):
        nn.init.zeros_(last.weight)


@declares(any_layout=True)
class VGGDiscriminator(nn.Module):
    """Images of one size to logits ``[N, 1]``.

    3x3 convolutions with LeakyReLU, in pairs of stride 1 and 2: k3n64s1, k3n64s2, k3n128s1,
    k3n128s2, up to k3n512s2, all but the first with batch norm; then a linear layer of ``hidden``
    units, LeakyReLU, and one unit. The linear layer knows each place of the image, so the size is
    fixed: in training it is that of the crops, and the discriminator is used nowhere else.

    Args:
        image_shape: (C, H, W) of the images; H and W multiples of ``2 ** stages``.
        width: feature maps of the first pair; they double with each, to at most 8 times as many.
        stages: pairs of convolutions, each of which halves the size: 1 to 8.
        hidden: units of the first linear layer.
        negative_slope: of LeakyReLU, finite and >= 0.
        init: ``"pytorch"``, or a function applied to every submodule.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (3, 96, 96),
        width: int = 64,
        stages: int = 4,
        hidden: int = 1024,
        negative_slope: float = 0.2,
        init: Init = "pytorch",
    ) -> None:
        super().__init__()
        check_positive("width", width)
        check_positive("hidden", hidden)
        check_slope(negative_slope)
        if not is_integer(stages) or not 1 <= stages <= _MAX_STAGES:
            raise ConfigError(f"stages must be an integer from 1 to {_MAX_STAGES}, got {stages}")
        channels, height, low = image_shape
        if min(image_shape) < 1 or height % 2**stages or low % 2**stages:
            raise ConfigError(
                f"image_shape must be (C, H, W), H and W multiples of {2**stages}, which stages="
                f"{stages} halve to 1 or more, got {tuple(image_shape)}"
            )
        self.image_shape = (int(channels), int(height), int(low))
        modules: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, 1, 1),
            nn.LeakyReLU(negative_slope, inplace=True),
        ]
        before = width
        for layer in range(1, 2 * stages):
            maps, stride = width * min(2 ** (layer // 2), 8), 1 + layer % 2
            modules += [
                nn.Conv2d(before, maps, 3, stride, 1, bias=False),
                BatchNormAct2d(maps, activation="leaky_relu", negative_slope=negative_slope),
                nn.Identity(),
            ]
            before = maps
        places = (height >> stages) * (low >> stages)
        self.main = nn.Sequential(
            *modules,
            nn.Flatten(),
            nn.Linear(before * places, hidden),
            nn.LeakyReLU(negative_slope, inplace=True),
            nn.Linear(hidden, 1),
        )
        initialize(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, *image_shape]`` to logits. Raises DataError for another shape."""
        check_images(images, self.image_shape)
        logits: Tensor = self.main(images)
        return logits
