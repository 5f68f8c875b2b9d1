"""Small image sets that are drawn, not downloaded, for image-to-image translation.

``edges`` is paired: ``a`` is the outline of a polygon, ``b`` the polygon filled. A triangle is
green and a quadrilateral blue; a hexagon is red or cyan, and nothing in ``a`` tells which. Of eight
polygons three are triangles, three are quadrilaterals and two are hexagons.

``discs`` is unpaired: one or two textured discs, red in ``a`` and orange in ``b``, in front of a
background of cold colors, in which red is always below blue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gankit.data.images import ImageData
from gankit.data.pairs import PairData
from gankit.data.unpaired import UnpairedData
from gankit.errors import DataError
from gankit.scalars import is_integer

__all__ = [
    "FILLS",
    "DiscData",
    "EdgeData",
    "between",
    "check_toy",
    "disc_masks",
    "grid",
    "load_discs",
    "load_edges",
    "slices",
    "texture",
    "to_uint8",
    "toy_seeds",
    "waves",
]

# The possible fill colors by the number of corners, RGB.
FILLS = {
    3: ((60, 170, 70), (60, 170, 70)),
    4: ((50, 80, 200), (50, 80, 200)),
    6: ((220, 40, 30), (40, 200, 220)),
}
_CORNERS = (3, 3, 3, 4, 4, 4, 6, 6)
_RED, _ORANGE = (242, 26, 26), (255, 140, 20)
_SEEDS = {"train": (0,), "test": (1,), "all": (0, 1)}
_MIN_SIZE = 16
_PIXELS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False, kw_only=True)
class EdgeData(PairData):
    """``toy:edges``, and what is known of it.

    Args:
        masks: bool ``[N, H, W]``, the inside of the polygon.
        corners: int64 ``[N]``, their number: 3, 4 or 6.
        colors: uint8 ``[N, 2, 3]``, the fill colors that ``a`` allows, RGB; where there is only
            one, it stands twice.
        chosen: int64 ``[N]``, 0 or 1, the row of ``colors`` that ``b`` shows.
    """

    masks: Tensor
    corners: Tensor
    colors: Tensor
    chosen: Tensor

    @property
    def ambiguous(self) -> Tensor:
        """bool ``[N]``: the samples with two possible colors."""
        return (self.colors[:, 0] != self.colors[:, 1]).any(dim=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class DiscData(UnpairedData):
    """``toy:discs``, and where the discs are.

    Args:
        masks_a: bool ``[N, H, W]``, the discs of ``a``.
        masks_b: bool ``[N, H, W]``, those of ``b``.
    """

    masks_a: Tensor
    masks_b: Tensor


def load_edges(*, image_size: int = 64, n: int = 1000, split: str = "train") -> EdgeData:
    """``toy:edges``: ``a`` uint8 ``[N, 1, H, W]``, black lines on white, ``b`` ``[N, 3, H, W]``.

    The polygons are convex, nearly regular, and turned, placed and sized at random.

    Args:
        image_size: height and width, at least 16.
        n: number of pairs, at least 1.
        split: ``"test"`` gives other pairs of the same kind, ``"all"`` those of both.

    Raises:
        DataError: image_size or n out of range.
    """
    check_toy(image_size, n)
    parts = [_draw_edges(n, image_size, seed) for seed in toy_seeds(split)]
    a, b, masks, corners, colors, chosen = (torch.cat(part) for part in zip(*parts, strict=True))
    return EdgeData(
        ImageData(a, None, "toy:edges A"),
        ImageData(b, None, "toy:edges B"),
        "toy:edges",
        masks=masks,
        corners=corners,
        colors=colors,
        chosen=chosen,
    )


def load_discs(*, image_size: int = 64, n: int = 1000, split: str = "train") -> DiscData:
    """``toy:discs``: ``a`` and ``b`` uint8 ``[N, 3, H, W]``.

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
        red, orange = (_draw_discs(n, image_size, c, generator) for c in (_RED, _ORANGE))
        parts.append((*red, *orange))
    a, masks_a, b, masks_b = (torch.cat(part) for part in zip(*parts, strict=True))
    return DiscData(
        ImageData(a, None, "toy:discs A"),
        ImageData(b, None, "toy:discs B"),
        "toy:discs",
        masks_a=masks_a,
        masks_b=masks_b,
    )


def disc_masks(images: Tensor) -> Tensor:
    """Where images of ``toy:discs`` show a disc, bool ``[N, H, W]``.

    A disc, red or orange, has more red than blue; the background has less.

    Args:
        images: floating point ``[N, 3, H, W]`` in [-1, 1].
    """
    return images[:, 0] - images[:, 2] > 0.2


def toy_seeds(split: str) -> tuple[int, ...]:
    """The seeds from which the images of ``split`` are drawn."""
    return _SEEDS[split]


def check_toy(image_size: int, n: int) -> None:
    """Raise DataError unless a toy can be drawn at this size, and so many of it."""
    if not is_integer(image_size) or image_size < _MIN_SIZE:
        raise DataError(f"image_size must be at least {_MIN_SIZE} for this toy, got {image_size}")
    if not is_integer(n) or n < 1:
        raise DataError(f"n must be at least 1, got {n}")


def _draw_edges(n: int, size: int, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.tensor(_CORNERS)[torch.randperm(n, generator=generator) % len(_CORNERS)]
    chosen = torch.randint(2, (n,), generator=generator)
    colors = torch.tensor([FILLS[count] for count in corners.tolist()], dtype=torch.uint8)
    fill = colors[torch.arange(n), chosen].float()[:, :, None, None]
    width = max(1.2, size / 40)
    a = torch.empty(n, 1, size, size, dtype=torch.uint8)
    b = torch.empty(n, 3, size, size, dtype=torch.uint8)
    masks = torch.empty(n, size, size, dtype=torch.bool)
    for count in FILLS:
        members = (corners == count).nonzero().squeeze(1)
        normals, offsets = _polygons(len(members), count, generator)
        for part in slices(len(members), size):
            own = members[part]
            x, y = grid(size)
            lines = normals[part, :, 0, None, None] * x + normals[part, :, 1, None, None] * y
            # In pixels, below 0 inside; outside it is exact beside the edges, short at corners.
            distance = (lines - offsets[part, :, None, None]).amax(dim=1, keepdim=True) * (size / 2)
            a[own] = to_uint8(255 * (distance.abs() - width / 2 + 0.5).clamp(0, 1))
            b[own] = to_uint8(
                torch.lerp(fill[own], torch.tensor(255.0), (distance + 0.5).clamp(0, 1))
            )
            masks[own] = distance[:, 0] < 0
    return a, b, masks, corners, colors, chosen


def _polygons(n: int, corners: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Unit normals ``[n, corners, 2]`` and offsets ``[n, corners]`` of the sides, in [-1, 1]^2."""
    turn = torch.rand(n, 1, generator=generator)
    uneven = between(-0.03, 0.03, (n, corners), generator)
    angles = (turn + torch.arange(corners) + uneven) * (2 * math.pi / corners)
    normals = torch.stack([angles.cos(), angles.sin()], dim=2)
    radius = between(0.45, 0.75, (n, 1), generator)
    # So far from the border that no corner is cut off.
    centers = between(-1.0, 1.0, (n, 1, 2), generator) * (0.95 - 1.2 * radius)[:, :, None]
    stretch = between(0.94, 1.06, (n, corners), generator)
    inner = radius * math.cos(math.pi / corners) * stretch
    return normals, inner + (normals * centers).sum(dim=2)


def _draw_discs(
    n: int, size: int, color: tuple[int, int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    radius = between(0.25, 0.5, (n, 2, 1, 1), generator)
    centers = between(-1.0, 1.0, (n, 2, 2, 1, 1), generator) * (0.95 - radius[:, :, None])
    radius[torch.rand(n, generator=generator) < 0.5, 1] = -1.0  # no second disc
    shade = torch.tensor(color, dtype=torch.float32)[:, None, None]
    tint = between(0.92, 1.0, (n, 3, 1, 1), generator)
    stripes = waves(n, 8.0, 20.0, generator)
    clouds = waves(n, 1.0, 4.0, generator)
    # Red below 90 and blue above 110 of 255.
    low, high = torch.tensor([0.0, 60.0, 110.0]), torch.tensor([90.0, 220.0, 255.0])
    ends = low + torch.rand(2, n, 3, generator=generator) * (high - low)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    masks = torch.empty(n, size, size, dtype=torch.bool)
    x, y = grid(size)
    for part in slices(n, size):
        away = ((x - centers[part, :, 0]) ** 2 + (y - centers[part, :, 1]) ** 2).sqrt()
        distance = (away - radius[part]).amin(dim=1, keepdim=True) * (size / 2)
        disc = shade * tint[part] * (0.8 + 0.2 * texture(stripes[part], x, y))
        first, second = ends[:, part, :, None, None]
        background = torch.lerp(first, second, 0.5 + 0.5 * texture(clouds[part], x, y))
        images[part] = to_uint8(torch.lerp(disc, background, (distance + 0.5).clamp(0, 1)))
        masks[part] = distance[:, 0] < 0
    return images, masks


def waves(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Two waves per image, ``[n, 2, 3]``: their frequencies along x and y, and their phases."""
    frequency = between(low, high, (n, 2), generator)
    angle, phase = between(0.0, 2 * math.pi, (2, n, 2), generator)
    return torch.stack([frequency * angle.cos(), frequency * angle.sin(), phase], dim=2)


def texture(waves: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The mean of two waves, ``[n, 1, H, W]`` in [-1, 1]."""
    along_x, along_y, phase = waves[..., None, None].unbind(2)
    return (along_x * x + along_y * y + phase).sin().mean(dim=1, keepdim=True)


def grid(size: int) -> tuple[Tensor, Tensor]:
    """x ``[1, size]`` and y ``[size, 1]`` of the pixels' centers, in [-1, 1]."""
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    return line[None, :], line[:, None]


def slices(n: int, size: int) -> Iterator[slice]:
    """Slices of 0..n-1 that are drawn at once, so that memory stays bounded."""
    step = max(1, _PIXELS_AT_ONCE // size**2)
    return (slice(start, start + step) for start in range(0, n, step))


def between(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform numbers in [low, high)."""
    return low + torch.rand(shape, generator=generator) * (high - low)


def to_uint8(images: Tensor) -> Tensor:
    """Gray levels as uint8, rounded; those outside 0 to 255 become the nearest."""
    return images.round().clamp(0, 255).to(torch.uint8)
