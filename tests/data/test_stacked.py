"""Stacked digits."""

from __future__ import annotations

import pytest
import torch

from gankit import data
from gankit.data.digits import load_digits
from gankit.errors import DataError


def test_each_channel_is_a_digit_of_the_modes_number() -> None:
    stacked, digits = data.load("toy:stacked", image_size=8, n=60), load_digits(image_size=8)
    assert stacked.images.shape == (60, 3, 8, 8)
    for channel, scale in enumerate((100, 10, 1)):
        expected = stacked.labels // scale % 10
        for image, digit in zip(stacked.images[:, channel], expected, strict=True):
            same = (digits.images[:, 0] == image).all((1, 2))
            assert (digits.labels[same] == digit).all()
            assert same.any()


def test_all_modes_are_there_and_the_same_each_time() -> None:
    stacked = data.load("toy:stacked", image_size=None)
    assert stacked.labels.unique().numel() == 1000
    again = data.load("toy:stacked", image_size=None)
    assert torch.equal(stacked.images, again.images)
    other = data.load("toy:stacked", image_size=None, split="test")
    assert not torch.equal(stacked.images, other.images)


def test_n_is_a_positive_integer() -> None:
    with pytest.raises(DataError, match="n must be a positive integer"):
        data.load("toy:stacked", n=0)
