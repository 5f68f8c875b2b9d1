"""Unpaired images of two domains, and the sampler that draws an index for each."""

from __future__ import annotations

import io
from itertools import islice

import pytest
import torch

pytest.importorskip("PIL")

from gankit.data import (
    BatchSampler,
    FieldData,
    ImageData,
    UnpairedData,
    UnpairedSampler,
    load,
    load_unpaired,
)
from gankit.errors import CheckpointError, DataError, GankitWarning
from tests.data.image_folders import flat, noise, write


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(n: int, size: int = 4) -> ImageData:
    return ImageData(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, size, size))


def numbers(batch: torch.Tensor) -> list[int]:
    return ((batch[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.mark.parametrize(("n_a", "n_b", "passed"), [(23, 7, 0), (7, 23, 1), (23, 23, 0)])
def test_an_epoch_passes_over_the_larger_domain(n_a, n_b, passed):
    sampler = UnpairedSampler(n_a, n_b, 5, generator=seeded())
    assert sampler.steps_per_epoch == 4
    epoch = list(islice(sampler, 4))
    assert all(batch.shape == (5, 2) and batch.dtype == torch.int64 for batch in epoch)
    assert len(torch.cat(epoch)[:, passed].unique()) == 20
    many = torch.cat([*epoch, *islice(sampler, 60)])
    for column, n in enumerate((n_a, n_b)):
        assert sorted(many[:, column].unique().tolist()) == list(range(n))


def test_the_other_domain_is_drawn_and_not_tied_to_the_first():
    sampler = UnpairedSampler(8, 8, 8, generator=seeded())
    batches = torch.stack(list(islice(sampler, 400)))
    assert all(sorted(batch[:, 0].tolist()) == list(range(8)) for batch in batches)
    assert any(len(batch[:, 1].unique()) < 8 for batch in batches)
    pairs = torch.bincount((batches[..., 0] * 8 + batches[..., 1]).flatten(), minlength=64)
    assert len(pairs) == 64
    assert ((pairs > 15) & (pairs < 92)).all()  # 50 each, six standard deviations


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 4, 7])
@pytest.mark.parametrize(("n_a", "n_b"), [(23, 9), (9, 23)])
def test_resume_is_exact(n_a, n_b, replacement, steps):
    sampler = UnpairedSampler(n_a, n_b, 5, generator=seeded(1), replacement=replacement)
    for _ in range(steps):
        next(sampler)
    buffer = io.BytesIO()
    torch.save(sampler.state_dict(), buffer)
    expected = list(islice(sampler, 11))
    buffer.seek(0)
    other = UnpairedSampler(n_a, n_b, 5, generator=seeded(99), replacement=replacement)
    next(other)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(expected, islice(other, 11), strict=True))


def test_a_state_of_other_data_is_refused():
    state = UnpairedSampler(23, 9, 5, generator=seeded()).state_dict()
    with pytest.raises(CheckpointError, match="n_b=9, this run has n_b=10"):
        UnpairedSampler(23, 10, 5).load_state_dict(state)
    with pytest.raises(CheckpointError, match="n_a=23, this run has n_a=9"):
        UnpairedSampler(9, 23, 5).load_state_dict(state)
    with pytest.raises(CheckpointError, match="lacks n_a, n_b"):
        UnpairedSampler(23, 9, 5).load_state_dict(BatchSampler(23, 5).state_dict())


def test_a_batch_takes_an_index_into_each_domain():
    data = UnpairedData(numbered(5), numbered(3, 6), "mine")
    assert isinstance(data, FieldData)
    assert len(data) == 5
    assert data.fields == {"a": (1, 4, 4), "b": (1, 6, 6)}
    batch = data.batch(torch.tensor([[4, 0], [1, 2], [1, 0]]))
    assert batch["a"].dtype == torch.float32
    assert batch["b"].shape == (3, 1, 6, 6)
    assert (numbers(batch["a"]), numbers(batch["b"])) == ([4, 1, 1], [0, 2, 0])
    in_order = data.batch(torch.arange(5))
    assert (numbers(in_order["a"]), numbers(in_order["b"])) == ([0, 1, 2, 3, 4], [0, 1, 2, 0, 1])
    sampler = data.sampler(2, generator=seeded())
    assert isinstance(sampler, UnpairedSampler)
    assert (sampler.n_a, sampler.n_b) == (5, 3)
    assert data.batch(next(sampler))["a"].shape == (2, 1, 4, 4)
    for shape in ((2, 3), (2, 2, 2), ()):
        with pytest.raises(DataError, match=r"mine: indices must have shape \[B, 2\] or \[B\]"):
            data.batch(torch.zeros(shape, dtype=torch.int64))


def test_rows_of_a_batch_are_a_share_of_it():
    data = UnpairedData(numbered(5), numbered(3))
    indices = next(data.sampler(4, generator=seeded()))
    whole, share = data.batch(indices), data.batch(indices[2:])
    assert all(torch.equal(whole[field][2:], share[field]) for field in ("a", "b"))


def test_each_domain_has_crops_of_its_own():
    line = torch.arange(12, dtype=torch.uint8)
    images = ImageData(line[None, None, :, None].expand(1, 1, 12, 12) + line)
    data = UnpairedData(images, images, crop_size=9, flip=True)
    torch.manual_seed(0)
    batch = data.batch(torch.zeros(60, 2, dtype=torch.int64))
    assert batch["a"].shape == batch["b"].shape == (60, 1, 9, 9)
    same = (batch["a"] == batch["b"]).flatten(1).all(dim=1)
    assert 0 <= int(same.sum()) < 15  # of 32 crops and flips one is the same


def test_the_layout_of_cyclegans_sets(tmp_path):
    for i in range(3):
        write(tmp_path / "trainA" / f"{i}.png", noise(i, 20, 30))
    for i in range(2):
        write(tmp_path / "trainB" / f"{i}.png", noise(i, 20, 30, 1))
    for domain, level in (("A", 10), ("B", 20)):
        flat(tmp_path / f"test{domain}" / "0.png", (level, level, level))
    train = load(f"unpaired:{tmp_path}", image_size=16)
    assert isinstance(train, UnpairedData)
    assert (len(train.a), len(train.b)) == (3, 2)
    assert train.fields == {"a": (3, 16, 16), "b": (1, 16, 16)}
    assert (train.a.shape, train.crop_size, train.flip) == ((3, 18, 18), 16, True)
    test = load_unpaired(tmp_path, image_size=16, split="test")
    assert (test.a.images.unique().tolist(), test.b.images.unique().tolist()) == ([10], [20])
    assert (test.a.shape, test.crop_size, test.flip) == ((3, 16, 16), None, False)
    for domain in "AB":
        flat(tmp_path / "alone" / f"train{domain}" / "0.png", (0, 0, 0))
    assert len(load_unpaired(tmp_path / "alone", image_size=16, split="all")) == 1
    both = load_unpaired(tmp_path, image_size=16, split="all")
    assert (len(both.a), len(both.b)) == (4, 3)
    assert both.to("cpu").fields == both.fields


def test_damaged_files_of_both_domains_are_in_one_warning(tmp_path):
    for domain in "AB":
        for i in range(2):
            write(tmp_path / f"train{domain}" / f"{i}.png", noise(i, 8, 8))
        (tmp_path / f"train{domain}" / "0.png").write_bytes(b"")
    with pytest.warns(GankitWarning, match=r"skipped 2 files: .*trainA.*; .*trainB") as caught:
        data = load_unpaired(tmp_path, image_size=8)
    assert len(caught) == 1
    assert (len(data.a), len(data.b)) == (1, 1)


def test_folders_that_are_missing_or_empty(tmp_path):
    with pytest.raises(DataError, match="expected a folder with trainA and trainB"):
        load_unpaired(tmp_path / "none")
    with pytest.raises(DataError, match="trainA does not exist, expected the images of a domain"):
        load_unpaired(tmp_path)
    flat(tmp_path / "trainA" / "0.png", (0, 0, 0))
    (tmp_path / "trainB").mkdir()
    with pytest.raises(DataError, match="no images in trainB of"):
        load_unpaired(tmp_path)
    flat(tmp_path / "trainB" / "0.png", (0, 0, 0))
    with pytest.raises(DataError, match="testA does not exist"):
        load_unpaired(tmp_path, split="test")
    (tmp_path / "trainB" / "0.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"B: none of 1 images can be read; .*0\.png: not an image"):
        load_unpaired(tmp_path)
