"""The growing networks of ProGAN (Karras, Aila, Laine and Lehtinen, 2017, arXiv:1710.10196).

All layers are there from the beginning; ``grow`` says up to which level they are used. So a network
has one set of parameters and one ``state_dict`` for its whole life, and optimizers, moving averages
and checkpoints need to know nothing of growth. Level 0 has images of 4x4 pixels, each further one
of twice the height and width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.checks import check_image_shape, check_images, check_noise, check_positive
from gankit.nn import EqualizedConv2d, EqualizedLinear, MinibatchStdDev, PixelNorm
from gankit.nn.traits import declares
from gankit.scalars import integers, is_integer, is_number

__all__ = ["Discriminator", "Generator", "at_level"]

_SLOPE = 0.2
_FIRST = 4  # pixels of level 0


class _Growing(nn.Module):
    """Which levels of a network are used.

    The level and alpha are Python numbers, which decide what runs, and the buffer ``growth``, with
    which they are saved and loaded.
    """

    growth: Tensor

    def __init__(self, image_shape: Sequence[int]) -> None:
        super().__init__()
        self.image_shape = integers(image_shape)
        self.levels = int(math.log2(self.image_shape[1] // _FIRST)) + 1
        self._level, self._alpha = self.levels - 1, 1.0
        self.register_buffer("growth", torch.tensor([float(self._level), self._alpha]))

    @property
    def level(self) -> int:
        """The level of the images, from 0 to ``levels - 1``."""
        return self._level

    @property
    def alpha(self) -> float:
        """How far the layers of the level are faded in: from 0 to 1, where they stand alone."""
        return self._alpha

    @property
    def current_shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` of the images at the level."""
        side = _FIRST * 2**self._level
        return self.image_shape[0], side, side

    def grow(self, level: int, alpha: float = 1.0) -> None:
        """Use the layers up to ``level``, those of the level itself with weight ``alpha``.

        Raises ConfigError for a level that there is not, or alpha outside [0, 1]; it is 1 at level
        0, which nothing comes before.
        """
        reason = self._refusal(level, alpha)
        if reason:
            raise ConfigError(reason)
        with torch.no_grad():
            self.growth[0], self.growth[1] = float(level), float(alpha)
        # As it is saved, so that a loaded network makes the same images.
        self._level, self._alpha = int(level), float(torch.tensor(alpha, dtype=torch.float32))

    def _refusal(self, level: object, alpha: object) -> str:
        if not is_integer(level) or not 0 <= level < self.levels:
            return f"level is {level!r}; allowed are 0 to {self.levels - 1}"
        least = 0.0 if level else 1.0
        if not is_number(alpha) or not least <= alpha <= 1.0:
            return f"alpha is {alpha!r}; allowed at level {level} are numbers in [{least:g}, 1]"
        return ""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)
        saved = state_dict.get(f"{prefix}growth")
        if not isinstance(saved, Tensor) or saved.shape != self.growth.shape or saved.is_meta:
            return  # torch has noted what is missing
        level, alpha = (float(number) for number in saved)
        whole = int(level) if level.is_integer() else level
        reason = self._refusal(whole, alpha)
        if reason:
            rest[-1].append(reason)  # what load_state_dict will raise
            return
        self._level, self._alpha = int(level), alpha


@declares(per_sample=True, any_layout=True)
class Generator(_Growing):
    """Noise to images: a 4x4 block, then blocks that double height and width.

    A block has nearest upsampling and two 3x3 convolutions, each with LeakyReLU of slope 0.2 and
    pixel norm; a 1x1 convolution makes the image of a level. All have an equalized learning rate.

    Args:
        z_dim: length of a noise vector, which is scaled onto a sphere.
        image_shape: ``(C, H, W)`` of the last level, H = W a power of two from 8.
        width: feature maps of the first levels.
        halved_from: the resolution from which on each level has half as many as that before it.

    Attributes:
        image_shape: as given.
        current_shape: that of the images it makes at its present level, in the beginning the last.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        z_dim: int = 512,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 512,
        halved_from: int = 64,
    ) -> None:
        check_positive("z_dim", z_dim)
        maps = _plan(image_shape, width, halved_from)
        super().__init__(image_shape)
        self.z_dim = int(z_dim)
        # The paper's 4x4 convolution of a vector, whose fan-in counts all 16 places.
        spread = EqualizedLinear(z_dim, maps[0] * _FIRST**2, gain=math.sqrt(2) / _FIRST)
        self.first = nn.Sequential(
            PixelNorm(),
            spread,
            nn.Unflatten(1, (maps[0], _FIRST, _FIRST)),
            *_act(),
            *_convolution(maps[0], maps[0]),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                *_convolution(before, after),
                *_convolution(after, after),
            )
            for before, after in itertools.pairwise(maps)
        )
        channels = self.image_shape[0]
        self.to_rgb = nn.ModuleList(EqualizedConv2d(each, channels, 1, gain=1.0) for each in maps)

    def forward(self, z: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` to images ``[N, *current_shape]``, whose range is that of the data:
        nothing bounds it."""
        check_noise(z, self.z_dim)
        before = x = self.first(z)
        for block in self.blocks[: self._level]:
            before, x = x, block(x)
        images: Tensor = self.to_rgb[self._level](x)
        if self._alpha < 1.0:
            older = _upsampled(self.to_rgb[self._level - 1](before))
            images = torch.lerp(older, images, self._alpha)
        return images


@declares(per_sample=True, any_layout=True)
class Discriminator(_Growing):
    """Images to scores: the generator in reverse, with average pooling; no sigmoid.

    The last block sees, beside its features, how much the images of a batch differ
    (:class:`gankit.nn.MinibatchStdDev`).

    Args:
        image_shape, width, halved_from: as for :class:`Generator`.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (3, 128, 128),
        width: int = 512,
        halved_from: int = 64,
    ) -> None:
        maps = _plan(image_shape, width, halved_from)
        super().__init__(image_shape)
        channels = self.image_shape[0]
        self.from_rgb = nn.ModuleList(
            nn.Sequential(EqualizedConv2d(channels, each, 1), nn.LeakyReLU(_SLOPE)) for each in maps
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *_convolution(after, after, norm=False),
                *_convolution(after, before, norm=False),
                nn.AvgPool2d(2),
            )
            for before, after in itertools.pairwise(maps)
        )
        self.last = nn.Sequential(
            MinibatchStdDev(),
            *_convolution(maps[0] + 1, maps[0], norm=False),
            EqualizedConv2d(maps[0], maps[0], _FIRST),
            nn.LeakyReLU(_SLOPE),
            nn.Flatten(),
            EqualizedLinear(maps[0], 1, gain=1.0),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, *current_shape]`` to scores ``[N, 1]``."""
        check_images(images, self.current_shape)
        level = self._level
        x = self.from_rgb[level](images)
        for number in reversed(range(level)):
            x = self.blocks[number](x)
            if number == level - 1 and self._alpha < 1.0:
                older = self.from_rgb[number](F.avg_pool2d(images, 2))
                x = torch.lerp(older, x, self._alpha)
        scores: Tensor = self.last(x)
        return scores


def at_level(images: Tensor, resolution: int, alpha: float = 1.0) -> Tensor:
    """Real images ``[N, C, H, W]`` as a discriminator sees them at ``resolution``.

    They are averaged down to it, and while a level fades in they are, with weight ``1 - alpha``,
    those of half that size enlarged, as the generated ones are.
    """
    factor = images.shape[-1] // resolution
    if factor > 1:
        images = F.avg_pool2d(images, factor)
    if alpha < 1.0:
        images = torch.lerp(_upsampled(F.avg_pool2d(images, 2)), images, alpha)
    return images


def _upsampled(images: Tensor) -> Tensor:
    return F.interpolate(images, scale_factor=2)


def _act(*, norm: bool = True) -> list[nn.Module]:
    return [nn.LeakyReLU(_SLOPE), *([PixelNorm()] if norm else [])]


def _convolution(before: int, after: int, *, norm: bool = True) -> list[nn.Module]:
    return [EqualizedConv2d(before, after, 3, padding=1), *_act(norm=norm)]


def _plan(image_shape: Sequence[int], width: int, halved_from: int) -> list[int]:
    """The feature maps of each level, from 4x4 on."""
    check_image_shape(image_shape)
    _, height, columns = integers(image_shape)
    if height != columns or height < 2 * _FIRST or height & (height - 1):
        raise ConfigError(
            "image_shape must have a height and a width that are one power of two from "
            f"{2 * _FIRST}, got {tuple(image_shape)}; set image_size to such a number"
        )
    check_positive("width", width)
    if not is_integer(halved_from) or halved_from <= _FIRST or halved_from & (halved_from - 1):
        raise ConfigError(
            f"halved_from must be a power of two from {2 * _FIRST}, got {halved_from!r}"
        )
    sides = [_FIRST * 2**level for level in range(int(math.log2(height // _FIRST)) + 1)]
    # A narrow network keeps one feature map.
    return [max(1, min(width, width * halved_from // (2 * side))) for side in sides]
