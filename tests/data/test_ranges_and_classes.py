"""Images on another scale or in another order, and labels with gaps or none."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from gankit.data import ImageData, PointData
from gankit.data.labelled import (
    absent_classes,
    check_all_labelled,
    class_count,
    keep_labels,
)
from gankit.errors import DataError


def images(n: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, *(shape or (1, 6, 6))), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("floats", [False, True])
def test_channels_in_the_last_place_are_refused(channels: int, floats: bool) -> None:
    x: Any = images(10, 8, 9, channels)
    if floats:
        x = x.float() / 127.5 - 1
    with pytest.raises(DataError, match=r"reads as \[N, H, W, C\]; pass images.permute"):
        ImageData.from_tensor(x)
    assert ImageData.from_tensor(x.permute(0, 3, 1, 2)).shape == (channels, 8, 9)
    assert ImageData(images(10, 8, 9, channels)).shape == (8, 9, channels)  # as it is, if meant


@pytest.mark.parametrize(
    "shape", [(3, 4, 4), (1, 28, 3), (16, 1, 1), (5, 28, 28), (28, 28, 28), (4, 8, 2), (28, 28)]
)
def test_other_shapes_are_taken(shape: tuple[int, ...]) -> None:
    assert ImageData.from_tensor(images(10, *shape)).shape[-2:] == shape[-2:]


def test_images_that_are_likely_on_another_scale_are_told() -> None:
    x = images(10)
    with pytest.warns(UserWarning, match="none of the values is below 0"):
        ImageData.from_tensor(x / 255)
    with pytest.warns(UserWarning, match=r"none of the values is above 1 of 255"):
        ImageData.from_tensor((x > 127).to(torch.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageData.from_tensor(x)
        ImageData.from_tensor(x / 127.5 - 1)


@pytest.mark.parametrize("lowest", [-2, -100, -(2**62)])
def test_labels_below_the_mark_are_refused(lowest: int) -> None:
    labels = torch.tensor([0, 1, lowest, -1])
    for make in (
        lambda: ImageData(images(4), labels),
        lambda: ImageData.from_tensor(images(4), labels, name="mine"),
        lambda: PointData(torch.zeros(4, 1, 1, 2), labels),
    ):
        with pytest.raises(DataError, match=f"or -1 for unlabelled images, got {lowest}"):
            make()
    assert ImageData(images(2), torch.tensor([-1, 5])).labels is not None


def labelled(*labels: int) -> ImageData:
    return ImageData(images(len(labels)), torch.tensor(labels), name="mine")


def test_classes_with_gaps() -> None:
    letters = labelled(*range(1, 27), -1)
    assert letters.classes == list(range(1, 27))
    assert class_count(letters) == 27
    assert absent_classes(letters, 27) == (
        "mine has images of 26 of 27 classes: none of class 0, of which what G makes means nothing"
    )
    assert absent_classes(labelled(0, 1, 2), 3) is None
    assert "3 of 50 classes: none of class 3, 4, 5, 6, 7, ..." in str(
        absent_classes(labelled(0, 1, 2), 50)
    )
    assert class_count(labelled(*range(0, 100, 10))) == 91
    for far in ((3, 2000), tuple(range(0, 10**7, 10**6)), (2**40, 0), (500,)):
        with pytest.raises(DataError, match="number them without gaps"):
            class_count(labelled(*far))
    with pytest.raises(DataError, match="mine has no labelled image"):
        class_count(labelled(-1, -1))
    assert ImageData(images(2)).classes == []


def test_a_conditional_run_needs_all_labels() -> None:
    check_all_labelled(labelled(0, 1))
    with pytest.raises(DataError, match=r"mine has 1 unlabelled image \(label -1\)"):
        check_all_labelled(labelled(0, -1, 1))
    with pytest.raises(DataError, match="mine has 2 unlabelled images"):
        check_all_labelled(labelled(-1, -1, 1))
    with pytest.raises(DataError, match="has no labels"):
        check_all_labelled(ImageData(images(2)))


def test_labels_are_kept_of_labelled_images_only() -> None:
    data = labelled(0, -1, 1, 0, 1, -1, -1)
    kept = keep_labels(data, 2)
    assert kept.labels is not None
    assert kept.classes == [0, 1]
    assert int((kept.labels >= 0).sum()) == 2
    with pytest.raises(DataError, match=r"labelled is 5; allowed for mine are 2 .* to 4"):
        keep_labels(data, 5)
    with pytest.raises(DataError, match="mine has no labelled image"):
        keep_labels(labelled(-1, -1), 1)
