"""``toy:twins``: the same shape in two opposite corners, for networks that must look far.

The class of an image is the diagonal that its shapes lie on. Their kind is the same and drawn at
random; place and brightness are each shape's own. Between them lie more pixels than a few
convolutions see.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gankit.data.images import ImageData, normalize_bytes
from gankit.data.toy_images import between, check_toy, grid, slices, to_uint8, toy_seeds

__all__ = ["load_twins", "twin_kinds"]

_KINDS = 4  # a square, a ring, a cross, a triangle
_DIAGONALS = ("falling", "rising")
# In [-1, 1]: where a shape's middle lies on average, how far from there at most, and half its size.
_PLACE, _JITTER, _RADIUS = 0.65, 0.06, 0.27
# Correlation with the most similar drawing below which something shows no shape.
_LEAST = 0.8


def load_twins(*, image_size: int = 32, n: int = 2000, split: str = "train") -> ImageData:
    """``toy:twins``: uint8 ``[N, 1, H, W]``, bright shapes on black, with labels.

    Label 0: the shapes are in the upper left and lower right corner; 1: in the other two.

    Args:
        image_size: height and width, at least 16.
        n: number of images, at least 1.
        split: ``"test"`` gives other images of the same kind, ``"all"`` those of both.

    Raises:
        DataError: image_size or n out of range.
    """
    check_toy(image_size, n)
    drawn = [_draw(n, image_size, seed) for seed in toy_seeds(split)]
    images, labels = (torch.cat(part) for part in zip(*drawn, strict=True))
    return ImageData(images, labels, "toy:twins", _DIAGONALS)


def twin_kinds(images: Tensor, labels: Tensor) -> Tensor:
    """The kinds of the two shapes of images such as those of ``toy:twins``, by correlation.

    Args:
        images: floating point ``[N, 1, H, H]`` in [-1, 1].
        labels: int64 ``[N]``, the diagonal that each image should have.

    Returns:
        int64 ``[N, 2]``, of the upper and the lower corner, 0 to 3; -1 where a corner shows none.
    """
    images = images.float().cpu()
    # Rising diagonals are mirrored, so that each has its shapes in the same corners.
    images = torch.where(labels.cpu()[:, None, None, None] == 1, images.flip(3), images)
    size = images.shape[-1]
    shifts = torch.linspace(-_JITTER, _JITTER, 5)
    places = torch.cartesian_prod(shifts, shifts)
    kinds = torch.arange(_KINDS).repeat(len(places))
    places = places.repeat_interleave(_KINDS, 0)
    found = []
    for sign in (-1, 1):
        drawings = normalize_bytes(to_uint8(255 * _cover(kinds, sign * _PLACE + places, size)))
        half = slice(0, size // 2) if sign < 0 else slice(size - size // 2, size)
        correlation = _centered(images[:, 0, half, half]) @ _centered(drawings[:, half, half]).t()
        best, place = correlation.max(1)
        found.append(torch.where(best < _LEAST, -1, kinds[place]))
    return torch.stack(found, 1)


def _centered(patches: Tensor) -> Tensor:
    """``[N, H, W]`` as rows of mean 0 and length 1; a patch of one value becomes 0."""
    rows = patches.flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-6)


def _cover(kinds: Tensor, middle: Tensor, size: int) -> Tensor:
    """How much of each pixel a shape covers: kinds ``[N]``, middles ``[N, 2]`` to ``[N, H, W]``."""
    x, y = grid(size)
    x = (x - middle[:, 0, None, None]) / _RADIUS
    y = (y - middle[:, 1, None, None]) / _RADIUS
    square = torch.maximum(x.abs(), y.abs()) - 0.85
    ring = (x.hypot(y) - 0.75).abs() - 0.25
    bars = [torch.maximum(a.abs() - 1.0, b.abs() - 0.33) for a, b in ((x, y), (y, x))]
    # Two sides that meet at the top, and the base.
    triangle = torch.maximum(0.87 * x.abs() - 0.5 * y - 0.5, y - 0.8)
    shapes = torch.stack([square, ring, torch.minimum(*bars), triangle], 1)
    distance = shapes[torch.arange(len(kinds)), kinds] * _RADIUS * (size / 2)
    return (0.5 - distance).clamp(0, 1)


def _draw(n: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(n, generator=generator) % len(_DIAGONALS)
    kinds = torch.randint(_KINDS, (n,), generator=generator)
    jitter = between(-_JITTER, _JITTER, (2, n, 2), generator)
    light = between(0.8, 1.0, (2, n, 1, 1), generator)
    across = 1.0 - 2.0 * labels
    images = torch.empty(n, 1, size, size, dtype=torch.uint8)
    for part in slices(n, size):
        shown = torch.zeros(len(kinds[part]), size, size)
        for number, sign in enumerate((-1, 1)):
            place = torch.stack([sign * across[part], torch.full_like(across[part], sign)], 1)
            middle = place * _PLACE + jitter[number, part]
            shown += light[number, part] * _cover(kinds[part], middle, size)
        images[part, 0] = to_uint8(255 * shown)
    return images, labels
