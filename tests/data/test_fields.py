"""Batches as dicts of the fields that a set declares."""

from __future__ import annotations

import pytest
import torch

from gankit.data import FieldData, ImageData, PairData, UnpairedData, load_toy

PIXELS = torch.arange(10 * 3 * 4 * 5, dtype=torch.int32).to(torch.uint8).view(10, 3, 4, 5)


def labelled() -> ImageData:
    return ImageData(PIXELS, torch.arange(10) - 1, "labelled")


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (labelled(), {"image": (3, 4, 5), "label": ()}),
        (ImageData(PIXELS, None, "bare"), {"image": (3, 4, 5)}),
        (load_toy("ring", n=10), {"image": (1, 1, 2), "label": ()}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_batch_has_the_declared_fields(data, fields):
    assert isinstance(data, FieldData)
    assert data.fields == fields
    indices = torch.tensor([7, 0, 7])
    batch = data.batch(indices)
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        name: (3, *shape) for name, shape in fields.items()
    }
    assert torch.equal(batch["image"], data.gather(indices))
    assert batch["image"].dtype == torch.float32
    if "label" in fields:
        assert torch.equal(batch["label"], data.gather_labels(indices))
        assert batch["label"].dtype == torch.int64


def test_the_sampler_of_images_gives_indices_into_them():
    sampler = labelled().sampler(5, generator=torch.Generator().manual_seed(0))
    assert sorted(torch.cat([next(sampler), next(sampler)]).tolist()) == list(range(10))
    again = labelled().sampler(5, replacement=True)
    assert (again.n, again.batch_size, again.replacement) == (10, 5, True)


def test_a_tensor_is_no_data_set():
    assert not isinstance(PIXELS, FieldData)


@pytest.mark.parametrize("kind", [ImageData, PairData, UnpairedData])
def test_no_value_on_the_device_is_looked_at(kind):
    images = ImageData(PIXELS)
    data = images if kind is ImageData else kind(images, images, crop_size=3, flip=True)
    moved = data.to("meta")  # where there are no values
    batch = moved.batch(next(moved.sampler(4)).to("meta"))
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        name: (4, *shape) for name, shape in data.fields.items()
    }


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_draws_its_crops_at_each_replay():
    line = torch.arange(12, dtype=torch.uint8)
    images = ImageData((16 * line[:, None] + line).expand(2, 1, 12, 12).contiguous())
    data = PairData(images, images, crop_size=9, flip=True).to("cuda")
    indices = torch.arange(2, device="cuda").repeat(16)
    data.batch(indices)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        batch = data.batch(indices)
    seen = []
    for _ in range(2):
        graph.replay()
        assert torch.equal(batch["a"], batch["b"])
        seen.append(batch["a"].clone())
    assert not torch.equal(*seen)
