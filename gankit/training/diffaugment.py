"""DiffAugment (Zhao, Liu, Lin, Zhu and Han, 2020, arXiv 2006.10738)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from gankit.training.augmentation import Augmentation, Numbers, colors_of
from gankit.training.resample import NEAREST, ZEROS, places, resample


class DiffAugment(Augmentation):
    """Changes of color, shifts and holes in every image that D is shown.

    ========================  ====================================================================
    ``color``                 brightness by U(-0.5, 0.5), saturation times U(0, 2), contrast times
                              U(0.5, 1.5) around the mean of the image
    ``translation``           by up to an eighth of height and width, whole pixels, zeros behind
    ``cutout``                a square of half the side, anywhere, is zero
    ========================  ====================================================================

    The numbers are the paper's, for images in [-1, 1]; zero is a middle grey.

    Args:
        policy: any of ``color``, ``translation`` and ``cutout``, with commas between. All three are
            for few images, color and cutout for many (section 4 of the paper).

    Raises ConfigError for another policy.
    """

    name: ClassVar[str] = "diffaugment"
    groups: ClassVar[tuple[str, ...]] = ("color", "translation", "cutout")
    uniforms: ClassVar[int] = 7

    def __init__(self, policy: str = "color,translation,cutout") -> None:
        super().__init__(policy)

    def transform(self, images: Tensor, numbers: Numbers) -> Tensor:
        columns = numbers.uniform[:, :, None, None, None].unbind(1)
        if "color" in self.policy:
            images = _colored(images, *columns[:3])
        if "translation" in self.policy:
            images = _translated(images, *(u[:, 0] for u in columns[3:5]))
        if "cutout" in self.policy:
            images = _cut_out(images, *columns[5:7])
        return images


def _colored(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """The three changes one after the other, multiplied out: large images are read twice."""
    colors, opacity = colors_of(images)
    brightness, saturation, contrast = brightness - 0.5, 2 * saturation, contrast + 0.5
    grey = colors.mean(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    offset = (1 - contrast) * mean + brightness
    if colors.shape[1] > 1:
        offset = contrast * (1 - saturation) * grey + offset
        contrast = contrast * saturation
    colors = torch.addcmul(offset, colors, contrast)
    return colors if opacity is None else torch.cat([colors, opacity], dim=1)


def _translated(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    height, width = images.shape[2:]
    x, y = places(images)
    x, y = torch.broadcast_tensors(
        x - _whole(right, 2 * _share(width, 0.125)) + _share(width, 0.125),
        y - _whole(down, 2 * _share(height, 0.125)) + _share(height, 0.125),
    )
    return resample(images, x, y, mode=NEAREST, padding=ZEROS)


def _cut_out(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    inside = []
    for dimension, place in ((2, down), (3, right)):
        size = images.shape[dimension]
        side = _share(size, 0.5)
        first = _whole(place, size - side % 2) - side // 2
        line: Any = torch.arange(size, device=images.device).to(images.dtype)
        line = line[:, None] if dimension == 2 else line
        inside.append((line >= first) & (line < first + side))
    return images.masked_fill(inside[0] & inside[1], 0.0)


def _share(size: int, ratio: float) -> int:
    """The nearest number of pixels to that part of ``size``."""
    return int(size * ratio + 0.5)


def _whole(uniform: Tensor, last: int) -> Tensor:
    """0 to ``last`` with equal chances; the largest float below 1 may be rounded up."""
    return (uniform * (last + 1)).floor().clamp(max=last)
