from __future__ import annotations

import pytest
import torch

from gankit.data import ImageData, load
from gankit.errors import DataError
from gankit.metrics import near_copies


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load("digits")


def test_copies_and_slightly_noisy_copies_are_counted(digits):
    some = digits.gather(torch.arange(0, 300, 3))
    assert near_copies(some, digits) == 1.0
    noise = torch.randn(some.shape, generator=torch.Generator().manual_seed(0))
    assert near_copies((some + 0.05 * noise).clamp(-1, 1), digits) > 0.95


def test_real_images_not_seen_are_no_copies(digits):
    assert near_copies(load("digits", split="test").normalized(), digits) < 0.01


def test_real_mnist_not_seen_is_no_copy(mnist_folder):
    data = load(f"idx:{mnist_folder}")
    seen = ImageData(data.images[:5000])
    assert near_copies(data.gather(torch.arange(5000, 5500)), seen) < 0.01
    assert near_copies(data.gather(torch.arange(200)), seen) == 1.0


def test_the_share_counts_samples(digits):
    unseen = load("digits", split="test").normalized()[:30]
    mixture = torch.cat([digits.gather(torch.arange(10)), unseen])
    assert near_copies(mixture, digits) == 0.25


def test_the_mean_image_and_noise_are_no_copies(digits):
    mean = digits.normalized().mean(dim=0, keepdim=True)
    noise = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert near_copies(mean, digits) == 0.0
    assert near_copies(noise, digits) == 0.0


def test_the_yardstick_is_the_spacing_of_real_images():
    # Real images at 0 and 100 grey levels in one of four pixels: the threshold is 50 levels.
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    images[1, 0, 0, 0] = 100
    data = ImageData(images)

    def at(level: float) -> torch.Tensor:
        sample = torch.full((1, 1, 2, 2), -1.0)
        sample[..., 0, 0] += level / 127.5
        return sample

    assert near_copies(at(-51), data) == 0.0
    assert near_copies(at(-49), data) == 1.0
    assert near_copies(at(-51), data, ratio=0.6) == 1.0


def test_a_duplicate_in_the_data_does_not_hide_copies(digits):
    twice = ImageData(torch.cat([digits.images[:200], digits.images[:200]]))
    assert near_copies(digits.gather(torch.arange(50)), twice) == 1.0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(2, 1, 8, 8), r"shape \[M, 1, 28, 28\] with M >= 1, got \[2, 1, 8, 8\]"),
        (torch.zeros(0, 1, 28, 28), "M >= 1"),
        (torch.full((1, 1, 28, 28), float("nan")), "NaN"),
    ],
)
def test_bad_samples(samples, message, digits):
    with pytest.raises(DataError, match=message):
        near_copies(samples, digits)


def test_a_set_without_two_distinct_images():
    data = ImageData(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), name="blank")
    with pytest.raises(DataError, match="blank holds no two distinct images"):
        near_copies(torch.zeros(1, 1, 2, 2), data)


def test_a_ratio_of_zero(digits):
    with pytest.raises(DataError, match="ratio must be above 0, got 0"):
        near_copies(digits.gather(torch.arange(2)), digits, ratio=0)
