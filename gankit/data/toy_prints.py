"""``toy:prints``: pages of letters and line art, with areas that are hatched or stippled.

What can be told from a small version of a page and what cannot stand side by side: edges can be
made sharp again, but the dots of a stippled area, and hatching finer than the small pixels, are
gone. The mean of all pages that fit is grey there, and a sample of them has the same texture.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from gankit.data.high_resolution import HighResolutionData, check_crop
from gankit.errors import DataError, MissingExtra
from gankit.scalars import is_integer

__all__ = ["load_prints"]

_SEEDS = {"train": (0,), "test": (1,), "all": (0, 1)}
_SIDE = 160
# Pages are drawn this many times as large, and averaged down.
_FINER = 4
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghikmnopqrstuvwxyz0123456789&?%"


def load_prints(
    *,
    image_size: int = 96,
    scale: int = 4,
    n: int = 48,
    textures: bool = True,
    split: str = "train",
    augment: bool | None = None,
) -> HighResolutionData:
    """``toy:prints``: ``n`` grey pages of 160x160, or as large as a crop where that is larger.

    Args:
        image_size: height and width of a crop, a multiple of ``scale``.
        scale: how many times as high and wide as the small image.
        n: number of pages, at least 1.
        textures: with areas that are hatched or stippled; False leaves letters and lines alone.
        split: ``"test"`` gives other pages of the same kind, ``"all"`` those of both.
        augment: crop at random places; None does so for split ``"train"`` alone.

    Raises:
        DataError: an argument is not allowed.
        MissingExtra: Pillow is not installed.
    """
    check_crop(image_size, scale, "toy:prints")
    if not is_integer(n) or n < 1:
        raise DataError(f"n must be at least 1, got {n}")
    pages: list[Tensor] = []
    for seed in _SEEDS[split]:
        random = np.random.default_rng(seed)
        pages += [_page(max(_SIDE, image_size), textures, random) for _ in range(n)]
    augment = split == "train" if augment is None else augment
    return HighResolutionData.from_images(
        pages,
        crop=image_size,
        scale=scale,
        augment=augment,
        name="toy:prints",
    )


def _page(side: int, textures: bool, random: Generator) -> Tensor:
    """uint8 ``[1, side, side]``."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    large = side * _FINER
    ink = np.zeros((large, large), dtype=bool)
    for _ in range(int(random.integers(3, 6)) if textures else 0):
        shape = Image.new("1", (large, large))
        draw = ImageDraw.Draw(shape)
        corners = _corners(large, int(random.integers(3, 7)), random)
        draw.polygon(corners, fill=1)
        texture = _hatching(large, random) if random.random() < 0.7 else _stipple(side, random)
        ink = np.where(np.array(shape), texture, ink)
    page = Image.fromarray(ink)
    draw = ImageDraw.Draw(page)
    for _ in range(int(random.integers(3, 7))):
        width = int(random.integers(_FINER, 4 * _FINER))
        corners = _corners(large, 2, random)
        if random.random() < 0.5:
            draw.line(corners, fill=1, width=width)
        else:
            (left, right), (top, bottom) = (sorted(pair) for pair in zip(*corners, strict=True))
            draw.ellipse((left, top, right, bottom), outline=1, width=width)
    for _ in range(int(random.integers(4, 8))):
        text = "".join(random.choice(list(_LETTERS), int(random.integers(1, 6))))
        font = ImageFont.load_default(_FINER * int(random.integers(10, 36)))
        at = tuple(random.integers(-large // 10, large, 2).tolist())
        draw.text(at, text, fill=int(random.random() < 0.8), font=font)
    levels = np.array(page, dtype=np.float64).reshape(side, _FINER, side, _FINER).mean((1, 3))
    dark, light = random.uniform(0, 60), random.uniform(200, 255)
    values = np.rint(light + (dark - light) * levels).astype(np.uint8)
    return torch.from_numpy(values)[None]


def _corners(large: int, count: int, random: Generator) -> list[tuple[float, float]]:
    """Points around a place of the page, in the order of their angles."""
    x, y = random.uniform(0, large, 2)
    radii = random.uniform(0.1, 0.35, count) * large
    turn = random.uniform(0, 2 * math.pi)
    angles = turn + 2 * math.pi * np.arange(count) / count
    return [
        (float(x + r * math.cos(a)), float(y + r * math.sin(a)))
        for r, a in zip(radii, angles, strict=True)
    ]


def _hatching(large: int, random: Generator) -> np.ndarray:
    """Parallel lines, 3 to 10 pixels of the page apart."""
    angle, period = random.uniform(0, math.pi), random.uniform(3, 10) * _FINER
    line = np.arange(large)
    along = line[None, :] * math.cos(angle) + line[:, None] * math.sin(angle)
    lines: np.ndarray = along % period < random.uniform(0.3, 0.6) * period
    return lines


def _stipple(side: int, random: Generator) -> np.ndarray:
    """Dots of a pixel of the page each, at random."""
    dots = random.random((side, side)) < random.uniform(0.2, 0.6)
    return dots.repeat(_FINER, 0).repeat(_FINER, 1)
