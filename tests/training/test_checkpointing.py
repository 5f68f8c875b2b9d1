"""Which checkpoints stay, and what is said of one that cannot be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gankit.data import BatchSampler
from gankit.errors import CheckpointError, ConfigError
from gankit.gans.autoencoder import AutoencoderStep
from gankit.models import mlp
from gankit.training import Checkpoint, Metrics, Trainer, load_checkpoint
from gankit.training.callbacks import read_metrics
from tests.training.nets import small_images
from tests.training.test_trainer import make_trainer


def steps_in(folder: Path) -> dict[str, int]:
    return {name: load_checkpoint(folder / name)["step"] for name in sorted(os.listdir(folder))}


def test_the_last_k_stay(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    make_trainer(Checkpoint(path, every=2, keep=3)).fit(steps=9)
    assert steps_in(tmp_path) == {
        "checkpoint.pt": 9,
        "checkpoint.step_0000006.pt": 6,
        "checkpoint.step_0000008.pt": 8,
    }
    (tmp_path / ".checkpoint.pt.123.tmp").write_bytes(b"left by a kill")
    (tmp_path / ".checkpoint.step_0000008.pt.123.tmp").write_bytes(b"left by a kill")
    resumed = make_trainer(Checkpoint(path, every=2, keep=2))
    resumed.load_state_dict(load_checkpoint(path))
    resumed.fit(steps=10)
    assert steps_in(tmp_path) == {"checkpoint.pt": 10, "checkpoint.step_0000009.pt": 9}


@pytest.mark.parametrize("links", [True, False])
def test_one_is_enough_where_one_is_asked_for(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(*_: Any) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
    make_trainer(Checkpoint(tmp_path / "c.pt", every=2)).fit(steps=4)
    assert steps_in(tmp_path) == {"c.pt": 4}
    make_trainer(Checkpoint(tmp_path / "c.pt", every=2, keep=2)).fit(steps=4)
    assert steps_in(tmp_path) == {"c.pt": 4, "c.step_0000002.pt": 2}


def test_the_best_stays_also_over_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"

    def at(step: int, value: float) -> Metrics:
        return Metrics(step, 0.0, 0.0, {"g_loss": value})

    checkpoint = Checkpoint(path, best="g_loss")
    trainer = make_trainer(checkpoint)
    for step, value in ((1, 5.0), (2, 3.0), (3, 4.0)):
        trainer.step = step
        checkpoint.on_log(trainer, at(step, value))
        checkpoint.save(trainer)
    assert steps_in(tmp_path) == {"c.best.pt": 2, "c.pt": 3}
    again = Checkpoint(path, best="g_loss")
    trainer = make_trainer(again)
    trainer.load_state_dict(load_checkpoint(path))
    for step, value, best in ((4, 3.5, 2), (5, float("nan"), 2), (6, 2.5, 6)):
        trainer.step = step
        again.on_log(trainer, at(step, value))
        again.save(trainer)
        assert steps_in(tmp_path)["c.best.pt"] == best


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-300]),
        lambda path: torch.save({"main.0.weight": torch.ones(1)}, path),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["truncated", "foreign", "empty", "absent"],
)
def test_the_previous_good_one_is_named(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "c.pt"
    make_trainer(Checkpoint(path, every=2, keep=3)).fit(steps=6)
    damage(path)
    good = tmp_path / "c.step_0000004.pt"
    with pytest.raises(CheckpointError, match=f"{good} of step 4 is good: copy it to {path}"):
        load_checkpoint(path)
    good.write_bytes(b"damaged too")
    with pytest.raises(CheckpointError, match=r"c\.step_0000002\.pt of step 2 is good") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    trainer = make_trainer(Checkpoint(path, every=2, keep=3))
    trainer.load_state_dict(load_checkpoint(tmp_path / "c.step_0000002.pt"))
    trainer.fit(steps=6)
    assert steps_in(tmp_path)["c.pt"] == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"every": 0}, "checkpoint_every is 0"),
        ({"keep": 0}, "checkpoint_keep is 0"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, arguments: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Checkpoint(tmp_path / "c.pt", **arguments)


@pytest.mark.parametrize("best", ["beauty", "step", "images_per_second"])
def test_what_no_log_reports_decides_nothing(tmp_path: Path, best: str) -> None:
    trainer = make_trainer(Checkpoint(tmp_path / "c.pt", best=best))
    with pytest.raises(ConfigError, match=rf"is '{best}', .* allowed are null, d_loss, g_loss"):
        trainer.fit(steps=2)


@pytest.mark.parametrize("best", ["d_real", "critic_distance", "d_loss"])
def test_a_column_that_the_run_does_not_have_is_refused(tmp_path: Path, best: str) -> None:
    G, D = mlp.Generator(5, (1, 6, 6), hidden=(8,)), nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    step = AutoencoderStep(G, D, torch.optim.Adam([*G.parameters(), *D.parameters()]))
    callbacks = [Checkpoint(tmp_path / "c.pt", best=best)]
    trainer = Trainer(step, small_images(), BatchSampler(40, 8), callbacks=callbacks)
    with pytest.raises(ConfigError, match=rf"is '{best}', .* allowed are null, reconstruction$"):
        trainer.fit(steps=2)
    assert os.listdir(tmp_path) == []


def test_rows_of_an_older_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "step,epoch,d_loss,g_loss,d_real,d_fake,images_per_second\n"
        "5,0.2,-1.5,nan,2.5,1,900\n"
        "10,0.4,-2,0.5,3,1,901\n"
        "15,0.6,-2,0"
    )
    rows = read_metrics(path)
    assert [(row["step"], row["d_real"], row["g_loss"]) for row in rows] == [
        ("5", "2.5", "nan"),
        ("10", "3", "0.5"),
    ]
