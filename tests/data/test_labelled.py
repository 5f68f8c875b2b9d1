"""Keeping few labels of a set."""

from __future__ import annotations

import pytest
import torch

from gankit import data
from gankit.data import ImageData
from gankit.data.labelled import UNLABELLED, keep_labels
from gankit.data.toy import PointData
from gankit.errors import DataError


def test_every_class_keeps_its_share_and_every_label_its_image() -> None:
    digits = data.load("digits", image_size=8)
    few = keep_labels(digits, 103, seed=1)
    assert digits.labels is not None
    assert few.labels is not None
    assert torch.equal(few.images, digits.images)
    kept = few.labels != UNLABELLED
    assert torch.equal(few.labels[kept], digits.labels[kept])
    assert torch.bincount(few.labels[kept]).tolist() == [11] * 3 + [10] * 7
    assert torch.equal(keep_labels(digits, 103, seed=1).labels, few.labels)
    assert not torch.equal(keep_labels(digits, 103, seed=2).labels, few.labels)
    everything = keep_labels(digits, 100).labels
    assert everything is not None
    assert (everything == UNLABELLED).sum() == len(digits) - 100


def test_points_stay_points() -> None:
    assert isinstance(keep_labels(data.load("toy:ring"), 80), PointData)


def test_counts_that_cannot_be() -> None:
    images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    uneven = ImageData(images, torch.tensor([0, 0, 0, 0, 0, 1]), "uneven")
    with pytest.raises(DataError, match=r"labelled is 1; allowed for uneven are 2 .* to 6"):
        keep_labels(uneven, 1)
    with pytest.raises(DataError, match="so 2 images of class 1, but uneven has 1 of it"):
        keep_labels(uneven, 4)
    with pytest.raises(DataError, match="bare has no labels to keep"):
        keep_labels(ImageData(images, None, "bare"), 2)
