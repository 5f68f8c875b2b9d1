from __future__ import annotations

import io
from itertools import islice

import pytest
import torch

from gankit.data import BatchSampler
from gankit.errors import CheckpointError, DataError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_epoch_sees_every_index_at_most_once_and_drops_the_rest():
    sampler = BatchSampler(23, 5, generator=seeded())
    assert sampler.steps_per_epoch == 4
    for _ in range(3):
        epoch = torch.cat(list(islice(sampler, sampler.steps_per_epoch)))
        assert epoch.dtype == torch.int64
        assert len(epoch) == 20
        assert len(epoch.unique()) == 20
        assert epoch.min() >= 0
        assert epoch.max() < 23


def test_epochs_differ_and_in_time_cover_everything():
    sampler = BatchSampler(23, 5, generator=seeded())
    epochs = [torch.cat(list(islice(sampler, 4))) for _ in range(20)]
    assert not torch.equal(epochs[0], epochs[1])
    assert len(torch.cat(epochs).unique()) == 23


def test_one_batch_may_be_the_whole_set():
    sampler = BatchSampler(4, 4, generator=seeded())
    for batch in islice(sampler, 3):
        assert sorted(batch.tolist()) == [0, 1, 2, 3]


def test_replacement_repeats_indices_and_stays_in_range():
    sampler = BatchSampler(10, 10, generator=seeded(), replacement=True)
    assert sampler.steps_per_epoch == 1
    batches = list(islice(sampler, 50))
    assert all(batch.shape == (10,) for batch in batches)
    assert any(len(batch.unique()) < 10 for batch in batches)
    assert sorted(torch.cat(batches).unique().tolist()) == list(range(10))


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 7])
def test_resume_is_exact(replacement, steps):
    sampler = BatchSampler(23, 5, generator=seeded(1), replacement=replacement)
    for _ in range(steps):
        next(sampler)
    buffer = io.BytesIO()
    torch.save(sampler.state_dict(), buffer)
    expected = list(islice(sampler, 11))
    buffer.seek(0)
    other = BatchSampler(23, 5, generator=seeded(99), replacement=replacement)
    next(other)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(expected, islice(other, 11), strict=True))


def test_a_state_does_not_change_when_the_sampler_goes_on():
    sampler = BatchSampler(23, 5, generator=seeded(1))
    next(sampler)
    state = sampler.state_dict()
    expected = list(islice(sampler, 9))
    sampler.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(expected, islice(sampler, 9), strict=True))


def test_without_a_generator_manual_seed_decides():
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(BatchSampler(1000, 10))

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_the_default_generator_is_left_alone_while_drawing():
    sampler = BatchSampler(50, 5)
    before = torch.get_rng_state()
    next(sampler)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("replacement", [False, True])
def test_fewer_images_than_a_batch(replacement):
    with pytest.raises(DataError, match=r"batch_size is 60 .* only 10 samples"):
        BatchSampler(10, 60, replacement=replacement)


def test_batch_size_zero():
    with pytest.raises(DataError, match="at least 1, got 0"):
        BatchSampler(10, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 24}, "n=24, this run has n=23"),
        ({"batch_size": 6}, "batch_size=6, this run has batch_size=5"),
        ({"replacement": True}, "replacement=True"),
        ({"permutation": torch.zeros(23, dtype=torch.int64)}, "damaged"),
        ({"permutation": torch.arange(22)}, "damaged"),
        ({"position": 24}, "damaged"),
        ({"position": -1}, "damaged"),
        ({"generator": torch.zeros(3, dtype=torch.uint8)}, "generator state does not fit"),
    ],
)
def test_a_foreign_or_damaged_state_is_refused_and_changes_nothing(change, message):
    sampler = BatchSampler(23, 5, generator=seeded())
    next(sampler)
    state = sampler.state_dict()
    with pytest.raises(CheckpointError, match=message):
        sampler.load_state_dict({**state, **change})
    after = sampler.state_dict()
    assert torch.equal(after["generator"], state["generator"])
    assert torch.equal(after["permutation"], state["permutation"])
    assert after["position"] == state["position"]


def test_an_incomplete_state_is_refused():
    with pytest.raises(CheckpointError, match="lacks generator, permutation"):
        BatchSampler(4, 2).load_state_dict(
            {"n": 4, "batch_size": 2, "replacement": False, "position": 0}
        )
