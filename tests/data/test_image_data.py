from __future__ import annotations

import pickle

import pytest
import torch

from gankit.data import ImageData
from gankit.errors import DataError


def grey_levels() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def test_normalisation_is_bit_for_bit_to_tensor_then_normalize():
    transforms = pytest.importorskip("torchvision.transforms")
    tutorial = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(mean=(0.5,), std=(0.5,))]
    )
    expected = tutorial(grey_levels()[0, 0].numpy())
    data = ImageData(grey_levels())
    assert torch.equal(data.normalized()[0], expected)
    assert torch.equal(data.gather(torch.tensor([0]))[0], expected)


def test_normalisation_follows_the_formula():
    expected = (grey_levels().float() / 255 - 0.5) / 0.5
    result = ImageData(grey_levels()).normalized()
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)
    assert result.min() == -1.0
    assert result.max() == 1.0


def test_gather_takes_the_rows_asked_for_and_leaves_the_set_alone():
    images = torch.randint(0, 256, (10, 3, 4, 5), dtype=torch.uint8)
    before = images.clone()
    data = ImageData(images)
    batch = data.gather(torch.tensor([7, 0, 7]))
    assert batch.shape == (3, 3, 4, 5)
    assert torch.equal(batch, images[[7, 0, 7]].float() / 127.5 - 1)
    assert torch.equal(data.images, before)


def test_length_shape_and_move():
    data = ImageData(torch.zeros(5, 3, 2, 4, dtype=torch.uint8), torch.arange(5), "mine")
    assert len(data) == 5
    assert data.shape == (3, 2, 4)
    moved = data.to("cpu")
    assert moved.name == "mine"
    assert moved.labels is not None
    assert torch.equal(moved.labels, torch.arange(5))


def test_from_tensor_round_trips_every_grey_level():
    data = ImageData(grey_levels())
    for dtype in (torch.float32, torch.float64):
        again = ImageData.from_tensor(data.normalized().to(dtype))
        assert torch.equal(again.images, data.images)


def test_from_tensor_adds_a_channel_and_widens_labels():
    data = ImageData.from_tensor(
        torch.zeros(2, 4, 4, dtype=torch.uint8), torch.tensor([1, 2], dtype=torch.uint8)
    )
    assert data.shape == (1, 4, 4)
    assert data.labels is not None
    assert data.labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.tensor([0.0, float("nan"), 1.0, 0.0]).view(1, 1, 2, 2), "mine: 1 of 4 .* NaN"),
        (torch.tensor([0.0, float("inf"), 1.0, 0.0]).view(1, 1, 2, 2), r"lie in \[-1, 1\].*inf"),
        (torch.full((1, 1, 2, 2), 255.0), r"lie in \[-1, 1\], got \[255, 255\]"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int64), "uint8 tensor, got torch.int64"),
        (torch.zeros(4, dtype=torch.uint8), r"\[N, C, H, W\], got \[4\]"),
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), "empty"),
        (torch.zeros(0, 1, 2, 2), "empty"),
        (torch.zeros(2, 1, 0, 2, dtype=torch.uint8), "empty"),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(DataError, match=message):
        ImageData.from_tensor(images, name="mine")


def test_things_that_are_no_tensor_are_refused():
    with pytest.raises(DataError, match="must be a tensor, got list"):
        ImageData.from_tensor([[1.0]])
    with pytest.raises(DataError, match=r"uint8 tensor, got torch\.float32"):
        ImageData(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), r"2 images need labels of shape \[2\], got \[3\]"),
        (torch.zeros(2), r"int64 tensor, got torch\.float32"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        ImageData(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), labels)


def test_resize_keeps_constants_and_labels():
    data = ImageData(torch.full((3, 1, 8, 8), 77, dtype=torch.uint8), torch.arange(3))
    for size in (4, 13):
        resized = data.resize(size)
        assert resized.shape == (1, size, size)
        assert (resized.images == 77).all()
        assert resized.labels is data.labels
    assert data.resize(8) is data
    with pytest.raises(DataError, match="at least 1, got 0"):
        data.resize(0)


def test_shrinking_averages_rather_than_skips():
    stripes = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    stripes[..., ::2] = 255
    shrunk = ImageData(stripes).resize(2).images
    assert ((shrunk > 100) & (shrunk < 155)).all()


def test_image_data_pickles():
    data = pickle.loads(pickle.dumps(ImageData(grey_levels(), torch.tensor([3]), "levels")))
    assert torch.equal(data.images, grey_levels())
    assert data.name == "levels"
