"""The variance of the Laplacian."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gankit import data
from gankit.errors import DataError
from gankit.metrics import sharpness


def test_by_hand() -> None:
    # The Laplacian of one pixel in the middle of 5x5, 1 above the others: -4 once, 1 four times, 0
    # four times.
    image = -torch.ones(1, 1, 5, 5)
    image[0, 0, 2, 2] = 0.0
    assert sharpness(image) == pytest.approx((16 + 4) / 9)
    assert sharpness(torch.cat([image, torch.zeros(1, 1, 5, 5)])) == pytest.approx(10 / 9)
    slope = (torch.arange(16.0) / 8 - 1).view(1, 1, 4, 4).expand(2, 3, 4, 4)
    assert sharpness(slope) == pytest.approx(0.0, abs=1e-12)


def test_blurring_takes_sharpness_away() -> None:
    digits = data.load("digits", image_size=8, split="test").normalized()
    blurred = F.avg_pool2d(digits, 3, stride=1, padding=1)
    twice = F.avg_pool2d(blurred, 3, stride=1, padding=1)
    assert sharpness(digits) > 2 * sharpness(blurred) > 2 * sharpness(twice)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="at least 3x3 pixels"):
        sharpness(torch.zeros(2, 1, 2, 5))
    with pytest.raises(DataError, match=r"got torch\.uint8"):
        sharpness(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(DataError, match="at least one image"):
        sharpness(torch.zeros(0, 1, 4, 4))
