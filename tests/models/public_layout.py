"""Networks with the modules, and so the keys, of the public code of pix2pix and CycleGAN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def norm_of(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    # The first releases tracked statistics of instance norms, and saved them.
    return nn.InstanceNorm2d(channels, track_running_stats=kind == "old instance")


class Wrapped(nn.Module):
    """Every public network holds its layers as ``model``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    def __init__(self, maps: int, norm: str, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for last in (False, True):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(maps, maps, 3, bias=norm != "batch")]
            layers += [norm_of(norm, maps)] + ([] if last else [nn.ReLU(True)])
            layers += [nn.Dropout(dropout)] if dropout and not last else []
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)  # type: ignore[no-any-return]


def resnet(
    channels: tuple[int, int], width: int, blocks: int, norm: str, dropout: float = 0.0
) -> nn.Module:
    bias = norm != "batch"
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels[0], width, 7, bias=bias)]
    layers += [norm_of(norm, width), nn.ReLU(True)]
    for maps in (2 * width, 4 * width):
        layers += [nn.Conv2d(maps // 2, maps, 3, 2, 1, bias=bias), norm_of(norm, maps)]
        layers.append(nn.ReLU(True))
    layers += [ResidualBlock(4 * width, norm, dropout) for _ in range(blocks)]
    for maps in (2 * width, width):
        layers += [nn.ConvTranspose2d(2 * maps, maps, 3, 2, 1, 1, bias=bias), norm_of(norm, maps)]
        layers.append(nn.ReLU(True))
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels[1], 7), nn.Tanh()]
    return Wrapped(nn.Sequential(*layers))


class Level(nn.Module):
    """One level of the U-Net, which holds the levels below; all but the first add their input."""

    def __init__(self, layers: list[nn.Module], first: bool) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y if self.first else torch.cat([x, y], 1)


def unet(channels: tuple[int, int], levels: int, width: int, norm: str) -> nn.Module:
    bias = norm != "batch"
    geometry: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}
    widths = [width * min(2**level, 8) for level in range(levels)]
    inside: list[nn.Module] = []
    for level in reversed(range(levels)):
        innermost, first = level == levels - 1, level == 0
        outer = channels[1] if first else widths[level - 1]
        down = nn.Conv2d(
            channels[0] if first else outer, widths[level], **geometry, bias=bias or first
        )
        up = nn.ConvTranspose2d(
            widths[level] * (1 if innermost else 2), outer, **geometry, bias=bias or first
        )
        layers: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2, True)]
        layers.append(down)
        layers += [] if first or innermost else [norm_of(norm, widths[level])]
        layers += [*inside, nn.ReLU(True), up, nn.Tanh() if first else norm_of(norm, outer)]
        inside = [Level(layers, first)]
    return Wrapped(inside[0])


def patch(channels: int, width: int, strided: int, norm: str) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    before = width
    for number in range(1, strided + 1):
        maps = width * min(2**number, 8)
        stride = 2 if number < strided else 1
        layers += [nn.Conv2d(before, maps, 4, stride, 1, bias=norm != "batch")]
        layers += [norm_of(norm, maps), nn.LeakyReLU(0.2, True)]
        before = maps
    return Wrapped(nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1)))
