"""Does a generator repeat its training images?"""

from __future__ import annotations

import torch
from torch import Tensor

from gankit.data import ImageData
from gankit.errors import DataError
from gankit.metrics.checks import check_data, check_floats, check_range, finite, has_range

# Samples per block of the distance matrix: bounds memory at 128 x N floats.
_BLOCK = 128


@torch.no_grad()
def near_copies(samples: Tensor, data: ImageData, *, ratio: float = 0.5) -> float:
    """The share of samples that all but repeat a training image.

    A sample counts when its Euclidean distance to the nearest training image is at most ``ratio``
    times the distance from *that image* to the nearest other image of the set. The yardstick is
    thus the spacing of real images at that very place, wide for an 8 and narrow for a 1. With
    ``ratio=1`` this is the complement of the authenticity of Alaa et al. (2022), arXiv:2102.08921;
    one half leaves room for the smooth images near a class's mean, which are close to everything
    and copies of nothing. Images of the set less than half a grey level apart on average count as
    one image.

    Args:
        samples: floating point ``[M, C, H, W]`` in [-1, 1]; a warning (GankitWarning) is given for
            values above 1.5 or none below 0.
        data: the training images, ``(C, H, W)`` alike.
        ratio: above 0.

    Returns:
        0.0 (no copies) to 1.0.

    Raises:
        DataError: another type, shapes that differ, NaN, values far outside [-1, 1], no samples, or
            a set without two distinct images.
    """
    data, samples = check_data(data), check_floats("samples", samples)
    if samples.dim() != 4 or tuple(samples.shape[1:]) != data.shape or len(samples) == 0:
        raise DataError(
            f"samples must have shape [M, {', '.join(map(str, data.shape))}] with M >= 1, "
            f"got {list(samples.shape)}"
        )
    if not finite(samples):
        raise DataError("samples hold NaN or infinite values, none may be")
    if has_range(data):
        check_range("samples", samples)
    if not ratio > 0.0:
        raise DataError(f"ratio must be above 0, got {ratio}")
    real = data.normalized().flatten(1)
    same = real.shape[1] ** 0.5 / 255.0
    copies = 0
    for block in samples.to(real).flatten(1).split(_BLOCK):
        distance, index = torch.cdist(block, real).min(dim=1)
        spacing = torch.cdist(real[index], real)
        spacing = spacing.masked_fill_(spacing < same, torch.inf).amin(dim=1)
        if not bool(spacing.isfinite().all()):
            raise DataError(f"{data.name} holds no two distinct images, at least two are needed")
        copies += int((distance <= ratio * spacing).sum())
    return copies / len(samples)
