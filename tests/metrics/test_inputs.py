"""What the metrics are given: other scales, types, shapes, labels of nobody."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gankit.data import ImageData, PointData, load, load_toy
from gankit.data.labelled import keep_labels
from gankit.errors import DataError
from gankit.metrics import DigitClassifier, count_modes, ks_distance, near_copies, sharpness

Metric = Callable[[Any], Any]


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load("digits", image_size=8, split="test")


@pytest.fixture(scope="module")
def images_in(digits: ImageData) -> dict[str, Metric]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gankit.metrics.digit_classifier._STEPS", 3)
        classifier = DigitClassifier.fit(digits)
    return {
        "classifier": classifier,
        "probabilities": classifier.probabilities,
        "near_copies": lambda x: near_copies(x, digits),
        "sharpness": sharpness,
    }


NAMES = ("classifier", "probabilities", "near_copies", "sharpness")
OTHER_SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "0 to 255": lambda x: (x + 1) * 127.5,
    "-255 to 255": lambda x: x * 255,
    "0 to 16": lambda x: (x + 1) * 8,
    "twice": lambda x: 2 * x,
    "half as much again": lambda x: 1.5 * x,
    "ten times": lambda x: 10 * x,
    "one pixel of 255": lambda x: torch.cat([x.flatten()[1:], x.new_tensor([255.0])]).view_as(x),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", OTHER_SCALES.values(), ids=OTHER_SCALES.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_images_of_another_scale_are_refused(
    images_in: dict[str, Metric], digits: ImageData, name: str, scale: Any, dtype: torch.dtype
) -> None:
    x = scale(digits.normalized()).to(dtype)
    with pytest.raises(DataError, match=r"must lie in \[-1, 1\], got \["):
        images_in[name](x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_other_types_are_refused(
    images_in: dict[str, Metric], digits: ImageData, name: str, dtype: torch.dtype
) -> None:
    with pytest.raises(DataError, match=f"got {dtype}"):
        images_in[name](digits.normalized().to(dtype))
    for other in (digits, digits.normalized().numpy(), [[0.5]], None, "images"):
        with pytest.raises(DataError, match=f"must be a tensor, got {type(other).__name__}"):
            images_in[name](other)


@pytest.mark.parametrize("name", NAMES)
def test_images_that_never_go_below_zero_are_told(
    images_in: dict[str, Metric], digits: ImageData, name: str
) -> None:
    with pytest.warns(UserWarning, match="none of their values is below 0"):
        images_in[name]((digits.normalized() + 1) / 2)
    beyond = digits.normalized().clone()
    beyond[0, 0, 0, 0] = 2.5
    with pytest.warns(UserWarning, match=r"must lie in \[-1, 1\], got \[-1, 2\.5\]"):
        images_in[name](beyond)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_linear_layer_leaves_the_range_by_is_taken(
    images_in: dict[str, Metric], digits: ImageData, name: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images_in[name](digits.normalized())
        images_in[name](1.2 * digits.normalized())
        images_in[name](digits.normalized().double().requires_grad_())


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused(
    images_in: dict[str, Metric], digits: ImageData, name: str, bad: float
) -> None:
    x = digits.normalized()
    x[3, 0, 2, 2] = bad
    with pytest.raises(DataError, match="NaN or infinite"):
        images_in[name](x)


def test_the_second_argument_is_looked_at(digits: ImageData) -> None:
    for other in (digits.normalized(), digits.images.numpy(), None):
        with pytest.raises(
            DataError, match=f"data must be an ImageData, got {type(other).__name__}"
        ):
            near_copies(digits.normalized(), other)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="data must be an ImageData"):
            DigitClassifier.fit(other)  # type: ignore[arg-type]


def test_points_need_no_range() -> None:
    points = load_toy("normal", n=50)
    far = PointData(points.images * 40)
    assert near_copies(far.images[:5], far) == 1.0
    assert count_modes(far.images, torch.zeros(1, 1), 100.0).found == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_points_that_are_none_are_refused(bad: float) -> None:
    points = torch.zeros(4, 2)
    with pytest.raises(DataError, match="points hold NaN or infinite"):
        count_modes(points.index_fill(0, torch.tensor([1]), bad), torch.zeros(1, 2), 1.0)
    with pytest.raises(DataError, match="centres hold NaN or infinite"):
        count_modes(points, torch.full((1, 2), bad), 1.0)


def test_points_of_other_types_are_refused() -> None:
    with pytest.raises(DataError, match="points must be floating point"):
        count_modes(torch.zeros(4, 2, dtype=torch.int64), torch.zeros(1, 2), 1.0)
    with pytest.raises(DataError, match="centres must be a tensor, got list"):
        count_modes(torch.zeros(4, 2), [[0.0, 0.0]], 1.0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="points must be a tensor, got ndarray"):
        ks_distance(np.zeros(4), torch.sigmoid)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"cdf must give \[4\] for \[4\], got \[\]"):
        ks_distance(torch.zeros(4), torch.sum)


def test_unlabelled_images_are_no_class(digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 3)
    classifier = DigitClassifier.fit(keep_labels(digits, 100), outlier_exposure=False)
    assert classifier.classes == tuple(range(10))
    # Just as if there were no others.
    some = keep_labels(digits, 100)
    assert some.labels is not None
    known = some.labels != -1
    alone = DigitClassifier.fit(
        ImageData(digits.images[known], some.labels[known]), outlier_exposure=False
    )
    assert classifier.accuracy == alone.accuracy
    x = digits.normalized()[:50]
    assert torch.equal(classifier.probabilities(x), alone.probabilities(x))
    with pytest.raises(DataError, match="has 20 labelled images of 10 classes"):
        DigitClassifier.fit(keep_labels(digits, 20))
    nobody = ImageData(digits.images, torch.full_like(some.labels, -1))
    with pytest.raises(DataError, match="0 class"):
        DigitClassifier.fit(nobody)
