"""Small drawn image sets of several domains, for DiscoGAN and StarGAN.

``arrows`` is unpaired: an arrow of one size in the middle of the image that points anywhere, filled
in ``a`` and as an outline in ``b``. What the domains have in common is the angle.

``shapes`` is labelled: a disc, a square or a triangle in one of four colors, which is its label, in
front of a grey background. What the domains have in common is all but the color.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gankit.data.images import ImageData, normalize_bytes
from gankit.data.toy_images import (
    between,
    check_toy,
    grid,
    slices,
    texture,
    to_uint8,
    toy_seeds,
    waves,
)
from gankit.data.unpaired import UnpairedData

__all__ = [
    "COLORS",
    "ArrowData",
    "ShapeData",
    "arrow_angles",
    "load_arrows",
    "load_shapes",
    "shape_colors",
    "shape_masks",
]

# The colors of toy:shapes, RGB, in the order of their labels; any two are about as far apart.
COLORS = {
    "red": (225, 60, 65),
    "green": (125, 200, 45),
    "cyan": (40, 185, 195),
    "violet": (150, 70, 220),
}
# Half the length of an arrow, of 1 for half the image.
_REACH = 0.8
# Angles that ``arrow_angles`` tells apart.
_ANGLES = 180
_KINDS = (0, 4, 3)  # corners of a disc, a square, a triangle
# Between the largest and the smallest of R, G and B, in [-1, 1].
_COLORFUL = 0.6


@dataclass(frozen=True, eq=False, kw_only=True)
class ArrowData(UnpairedData):
    """``toy:arrows``, and where the arrows point.

    Args:
        angles_a: float32 ``[N]``, radians from the x axis towards the bottom of the image, -pi to
            pi, of the arrows of ``a``.
        angles_b: those of ``b``.
    """

    angles_a: Tensor
    angles_b: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class ShapeData(ImageData):
    """``toy:shapes``, and where the shapes are.

    Args:
        masks: bool ``[N, H, W]``, the inside of the shape.
    """

    masks: Tensor

    def to(self, device: str | torch.device) -> ShapeData:
        """The same set on another device."""
        moved = super().to(device)
        assert isinstance(moved, ShapeData)
        return dataclasses.replace(moved, masks=self.masks.to(device))


def load_arrows(*, image_size: int = 64, n: int = 1000, split: str = "train") -> ArrowData:
    """``toy:arrows``: ``a`` and ``b`` uint8 ``[N, 1, H, W]``, black on white.

    Args:
        image_size: height and width, at least 16.
        n: number of images in each domain, at least 1.
        split: ``"test"`` gives other images of the same kind, ``"all"`` those of both.

    Raises:
        DataError: image_size or n out of range.
    """
    check_toy(image_size, n)
    parts = []
    for seed in toy_seeds(split):
        generator = torch.Generator().manual_seed(seed)
        drawn = []
        for outlined in (False, True):
            angles = between(-math.pi, math.pi, (n,), generator)
            drawn += [_draw_arrows(angles, image_size, outlined), angles]
        parts.append(drawn)
    a, angles_a, b, angles_b = (torch.cat(part) for part in zip(*parts, strict=True))
    return ArrowData(
        ImageData(a, None, "toy:arrows A"),
        ImageData(b, None, "toy:arrows B"),
        "toy:arrows",
        angles_a=angles_a,
        angles_b=angles_b,
    )


def load_shapes(*, image_size: int = 64, n: int = 1000, split: str = "train") -> ShapeData:
    """``toy:shapes``: uint8 ``[N, 3, H, W]``, labels 0 to 3 as in ``COLORS``.

    Size, place, turn and kind of a shape are drawn independently of its color.

    Args:
        image_size: height and width, at least 16.
        n: number of images, at least 1.
        split: ``"test"`` gives other images of the same kind, ``"all"`` those of both.

    Raises:
        DataError: image_size or n out of range.
    """
    check_toy(image_size, n)
    drawn = [_draw_shapes(n, image_size, seed) for seed in toy_seeds(split)]
    images, labels, masks = (torch.cat(part) for part in zip(*drawn, strict=True))
    return ShapeData(images, labels, "toy:shapes", tuple(COLORS), masks=masks)


def arrow_angles(images: Tensor, *, outlined: bool) -> Tensor:
    """Where the arrows of images such as those of ``toy:arrows`` point, by correlation.

    Args:
        images: floating point ``[N, 1, H, H]`` in [-1, 1].
        outlined: whether they look like those of ``b``.

    Returns:
        Radians, float32 ``[N]``: that of 180 angles whose drawing correlates most with the image.
    """
    angles = (torch.arange(_ANGLES) + 0.5) * (2 * math.pi / _ANGLES) - math.pi
    drawings = _draw_arrows(angles, images.shape[-1], outlined)
    templates = normalize_bytes(drawings).flatten(1)
    templates = templates - templates.mean(1, keepdim=True)
    templates = templates / templates.norm(dim=1, keepdim=True)
    found = (images.float().cpu().flatten(1) @ templates.t()).argmax(1)
    return angles[found]


def shape_masks(images: Tensor) -> Tensor:
    """Where images of ``toy:shapes`` are colored, bool ``[N, H, W]``.

    Args:
        images: floating point ``[N, 3, H, W]`` in [-1, 1].
    """
    return images.amax(1) - images.amin(1) > _COLORFUL


def shape_colors(images: Tensor) -> Tensor:
    """The label of the color that images of ``toy:shapes`` show, int64 ``[N]``; -1 where none is.

    It is the one of ``COLORS`` nearest to the mean color of the pixels in ``shape_masks``.

    Args:
        images: floating point ``[N, 3, H, W]`` in [-1, 1].
    """
    masks = shape_masks(images)[:, None]
    pixels = masks.sum((2, 3))
    mean = (images * masks).sum((2, 3)) / pixels.clamp(min=1)
    palette = torch.tensor([*COLORS.values()], device=images.device) / 127.5 - 1
    nearest = (mean[:, None] - palette).square().sum(2).argmin(1)
    return torch.where(pixels[:, 0] > 0, nearest, -1)


def _draw_arrows(angles: Tensor, size: int, outlined: bool) -> Tensor:
    """uint8 ``[N, 1, size, size]``."""
    images = torch.empty(len(angles), 1, size, size, dtype=torch.uint8)
    x, y = grid(size)
    width = max(1.5, size / 20)
    for part in slices(len(angles), size):
        cos, sin = (f(angles[part])[:, None, None] for f in (torch.cos, torch.sin))
        along, across = (cos * x + sin * y) / _REACH, (cos * y - sin * x).abs() / _REACH
        shaft = torch.maximum(across - 0.2, torch.maximum(-1 - along, along - 0.4))
        # The head: a base at 0.1, and sides that meet at 1.
        slope = math.hypot(0.65, 0.9)
        head = torch.maximum(0.1 - along, (0.9 * across + 0.65 * (along - 1)) / slope)
        distance = torch.minimum(shaft, head) * _REACH * (size / 2)
        if outlined:
            distance = distance.abs() - width / 2
        images[part, 0] = to_uint8(255 * (distance + 0.5).clamp(0, 1))
    return images


def _draw_shapes(n: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(n, generator=generator) % len(COLORS)
    corners = torch.tensor(_KINDS)[torch.randint(len(_KINDS), (n,), generator=generator)]
    color = torch.tensor([*COLORS.values()], dtype=torch.float32)[labels]
    color = color * between(0.9, 1.0, (n, 1), generator)
    radius = between(0.45, 0.7, (n, 1, 1), generator)
    center = between(-1.0, 1.0, (n, 2, 1, 1), generator) * (0.95 - radius[:, None])
    turn = between(0.0, 2 * math.pi, (n, 1, 1), generator)
    light = between(70.0, 190.0, (n, 1, 1, 1), generator)
    clouds = waves(n, 1.0, 5.0, generator)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    masks = torch.empty(n, size, size, dtype=torch.bool)
    x, y = grid(size)
    for part in slices(n, size):
        dx, dy = x - center[part, 0], y - center[part, 1]
        away, sides = dx.hypot(dy), corners[part, None, None].clamp(min=1)
        # A regular polygon: the angle to the middle of the nearest side.
        step = 2 * math.pi / sides
        beside = (torch.atan2(dy, dx) - turn[part]).remainder(step) - step / 2
        polygon = away * beside.cos() - radius[part] * (math.pi / sides).cos()
        disc = away - 0.85 * radius[part]
        distance = torch.where(corners[part, None, None] == 0, disc, polygon) * (size / 2)
        background = light[part] + 40 * texture(clouds[part], x, y)
        cover = (0.5 - distance).clamp(0, 1)[:, None]
        images[part] = to_uint8(torch.lerp(background, color[part, :, None, None], cover))
        masks[part] = distance < 0
    return images, labels, masks
