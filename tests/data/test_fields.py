"""Batches as dicts of the fields that a set declares."""

from __future__ import annotations

import pytest
import torch

from gankit.data import FieldData, ImageData, load_toy

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
