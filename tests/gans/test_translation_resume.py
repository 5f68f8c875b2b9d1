"""Runs of pix2pix and CycleGAN that stop and go on, in one process and in two."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from gankit.errors import CheckpointError
from gankit.training import Checkpoint, MetricsCSV, Trainer, load_checkpoint
from tests.gans.translation_nets import SIZE, cyclegan_step, trainer_of
from tests.gans.translation_processes import everything
from tests.training.test_distributed import ended, started

SETTINGS = {"pix2pix": {"ema": 0.9}, "cyclegan": {"ema": 0.9, "pool_size": 10, "accumulate": 2}}


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_a_run_that_was_stopped_goes_on_exactly(kind: str, tmp_path: Path) -> None:
    def make(name: str) -> Trainer:
        torch.manual_seed(1)
        file = tmp_path / f"{name}.pt"
        log = MetricsCSV(tmp_path / f"{name}.csv")
        return trainer_of(kind, log, Checkpoint(file), **SETTINGS[kind])

    straight = make("straight")
    straight.fit(steps=9)
    expected = everything(straight)
    make("stopped").fit(steps=5)
    resumed = make("stopped")
    resumed.load_state_dict(load_checkpoint(tmp_path / "stopped.pt"))
    resumed.fit(steps=9)
    torch.testing.assert_close(everything(resumed), expected, rtol=0, atol=0)
    last = []
    for name in ("straight", "stopped"):
        with open(tmp_path / f"{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        last.append({name: rows[-1][name] for name in ("step", *straight.gan_step.metrics)})
    assert last[0] == last[1]
    assert all(math.isfinite(float(value)) for value in last[0].values())
    if kind == "cyclegan":
        assert int(resumed.gan_step.pools["a"].filled) == 10


def test_another_pool_is_not_gone_on_from(tmp_path: Path) -> None:
    trainer_of("cyclegan", Checkpoint(tmp_path / "c.pt"), pool_size=10).fit(steps=2)
    other = trainer_of("cyclegan", pool_size=9)
    with pytest.raises(CheckpointError, match=r"gan_step.*size mismatch for .*images"):
        other.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    assert int(cyclegan_step().pools["a"].filled) == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("pools.a.filled", torch.tensor(-1), r"filled is tensor\(-1\); allowed are 0 to 10"),
        ("pools.b.filled", torch.tensor(11), r"filled is tensor\(11\); allowed are 0 to 10"),
        ("pools.a.filled", torch.tensor(math.nan), r"filled is tensor\(nan\)"),
        ("pools.a.images", torch.full((11, 3, SIZE, SIZE), math.inf), "pools.a.images of the step"),
    ],
)
def test_a_pool_that_no_run_had_is_refused(name: str, value: torch.Tensor, words: str) -> None:
    trainer = trainer_of("cyclegan", pool_size=10)
    state = trainer.state_dict()
    state["gan_step"] = {**state["gan_step"], name: value}
    with pytest.raises(CheckpointError, match=words):
        trainer.load_state_dict(state)
    trainer.fit(steps=1)  # as if nothing had been


@pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)
def test_two_processes_have_one_run(tmp_path: Path) -> None:
    children = started(["-m", "tests.gans.translation_processes", str(tmp_path)])
    for code, error in ended(children):
        assert code == 0, error
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    weights = [name for name in first if name.startswith(("G_", "D_", "aver", "aug"))]
    assert len(weights) > 20
    assert first["augmentation.p"] != 0.5  # which follows what both processes have seen
    for name in weights:
        assert torch.equal(first[name], second[name]), name
    assert not torch.equal(first["random"], second["random"])
