"""Runs from Python: what the command line does, without its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gankit import recipes, runs
from gankit.cli import main
from gankit.errors import CheckpointError, ConfigError
from gankit.training import GANStep
from gankit.training.checkpoint import load_checkpoint

SMALL: dict[str, Any] = {
    "device": "cpu",
    "image_size": 8,
    "grid_rows": 2,
    "grid_columns": 2,
    "log_every": 2,
    "n_critic": 2,
    "generator.hidden": [16],
    "discriminator.hidden": [16],
}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = load_checkpoint(folder / "checkpoint.pt")["gan_step"]
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def test_a_run_is_that_of_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = runs.train("gan", tmp_path / "python", steps=4, **SMALL)
    run = runs.resume(tmp_path / "python", steps=7)
    assert capfd.readouterr() == ("", "")
    sets = [word for k, v in SMALL.items() for word in ("--set", f"{k}={v}")]
    argv = ["train", "gan", "--quiet", "--steps", "7", *sets, "--out", str(tmp_path / "shell")]
    assert main(argv) == 0
    mine, theirs = weights(tmp_path / "python"), weights(tmp_path / "shell")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    files = {path.name for path in (tmp_path / "shell").iterdir()}
    earlier = {"checkpoint.step_0000004.pt"}  # of the first half
    assert {path.name for path in run.folder.iterdir()} == files | earlier
    assert (run.folder, run.trainer.step, run.config.steps) == (tmp_path / "python", 7, 7)
    step = run.trainer.gan_step
    assert isinstance(step, GANStep)
    assert step.n_critic == 2


def test_what_was_decided_is_said_to_whom_asks(tmp_path: Path) -> None:
    said: list[str] = []
    config = recipes.get("gan").config.updated(d_lr=1e-4)
    runs.train(config, str(tmp_path / "run"), steps=1, lr=1e-3, say=said.append, **SMALL)
    assert "The learning rate 0.001 is G's; D keeps its own, d_lr 0.0001." in said
    said.clear()
    runs.resume(tmp_path / "run", say=said.append)
    assert any(note.startswith("Nothing is left to train") for note in said)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_crtic": 2}, r"train\(\) has the unknown setting n_crtic; did you mean n_critic\?"),
        ({"batch_size": "60"}, r"train\(\): batch_size is '60'; allowed is an integer"),
        ({"lr.x": 1}, r"train\(\) gives lr the argument x"),
        ({"z_dim": 3, "generator.z_dim": 8}, "z_dim is 3, but the generator's own arguments"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_written(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        runs.train("gan", tmp_path / "run", **{"steps": 1, **SMALL, **settings})
    assert not any(tmp_path.iterdir())


def test_a_folder_is_not_taken_twice_and_a_run_stays_what_it_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    runs.train("gan", run, steps=2, **SMALL)
    before = weights(run)
    with pytest.raises(ConfigError, match="is not empty; pass --overwrite"):
        runs.train("gan", run, steps=2, **SMALL)
    for settings, words in (
        ({"n_critic": 3}, "step.n_critic is 2, not 3"),
        ({"penalty": "gankit.losses.gradient_penalty"}, "step.penalty is None, not gankit"),
        ({"step": "gankit.gans.ebgan.EBGANStep"}, "step is gankit.training.GANStep, not gankit"),
        ({"generator.hidden": [8]}, "generator is"),
        ({"steps": 1}, "has 2 steps already"),
    ):
        with pytest.raises(ConfigError, match=words):
            runs.resume(run, **settings)
    runs.resume(run, n_critic=2, **{"step.loss": "non-saturating", "paired": "auto"})
    after = weights(run)
    assert all(torch.equal(before[name], after[name]) for name in before)
    runs.train("gan", run, steps=2, overwrite=True, seed=1, **SMALL)
    assert not all(torch.equal(before[name], value) for name, value in weights(run).items())
    with pytest.raises(CheckpointError, match=r"has no checkpoint\.pt to resume from"):
        runs.resume(tmp_path / "absent")
