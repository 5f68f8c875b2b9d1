"""``gankit train``: what it writes, repeats and continues."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from gankit.cli import main
from gankit.training import diagnostics, load_checkpoint
from tests import small_runs

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
SMALL = f"{small_runs.SMALL}sample_every: 1\nlog_every: 5\n"
WATCHFUL = {"every": 1, "samples": 8, "patience": 3, "after": 1}
WRITTEN = [
    *("checkpoint.pt", "config.yaml", "losses.png", "metrics.csv"),
    *("report.html", "samples", "samples.gif"),
]


def train(*arguments: Any, recipe: str = "gan", config: str | None = "small.yaml") -> int:
    options = ["--config", config] if config else []
    return main(["train", recipe, *options, *map(str, arguments)])


def weights(folder: str) -> dict[str, torch.Tensor]:
    state = load_checkpoint(Path(folder) / "checkpoint.pt")
    return {k: v for k, v in state["gan_step"].items() if k != "_extra_state"}


def same_weights(a: str, b: str) -> bool:
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def steps_logged(folder: str) -> list[int]:
    with open(Path(folder) / "metrics.csv", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_a_run_leaves_everything_it_promises(capfd: pytest.CaptureFixture[str]) -> None:
    assert train("--epochs", 2) == 0
    run = Path("runs/gan")
    assert sorted(os.listdir(run)) == WRITTEN
    assert sorted(os.listdir(run / "samples")) == [
        "epoch_0001_step_0000024.png",
        "epoch_0002_step_0000048.png",
    ]
    assert steps_logged("runs/gan") == [*range(5, 50, 5), 48]
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 48
    for name in ("losses.png", "samples.gif"):
        with Image.open(run / name) as picture:
            picture.load()
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["recipe"] == "gan"
    assert settings["epochs"] == 2
    captured = capfd.readouterr()
    assert "step 48/48  epoch 2.0  D loss" in captured.err
    assert "images/s" in captured.err
    assert "the run is in runs/gan" in captured.out


def test_quiet_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", 3, "--quiet") == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_quiet_or_not_the_run_is_watched(
    quiet: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = iter([{}, *[{"weak D": "D is too weak"}] * 3])
    monkeypatch.setattr(diagnostics, "complaints", lambda health, loss: next(looks))
    monkeypatch.setattr(diagnostics.Diagnostics.__init__, "__kwdefaults__", WATCHFUL)
    assert train("--steps", 17, *quiet) == 0
    state = load_checkpoint("runs/gan/checkpoint.pt")["callbacks"]["Diagnostics"]
    assert state == {"logs": 3, "looks": 3, "streaks": {"weak D": 2}, "said": []}
    assert train("--resume", "--steps", 20, *quiet, config=None) == 0
    assert caplog.messages == ["step 20: D is too weak"]


def test_a_run_of_steps_ends_with_a_grid() -> None:
    assert train("--steps", 7, "--quiet") == 0
    assert os.listdir("runs/gan/samples") == ["epoch_0001_step_0000007.png"]


def test_config_yaml_repeats_the_run() -> None:
    assert train("--steps", 12, "--seed", 5, "--lr", 1e-3, "--z-dim", 9, "--out", "a") == 0
    assert main(["train", "--config", "a/config.yaml", "--out", "b", "--quiet"]) == 0
    assert Path("a/config.yaml").read_text() == Path("b/config.yaml").read_text()
    assert same_weights("a", "b")
    assert main(["train", "--config", "a/config.yaml", "--out", "c", "--quiet", "--seed", "6"]) == 0
    assert not same_weights("a", "c")


def test_flags_win_over_the_file_and_the_file_over_the_recipe() -> None:
    Path("more.yaml").write_text(SMALL + "batch_size: 9\nlr: 0.001\nepochs: 3\n")
    assert train("--lr", 0.002, "--steps", 2, "--quiet", config="more.yaml") == 0
    settings = yaml.safe_load(Path("runs/gan/config.yaml").read_text())
    assert (settings["batch_size"], settings["lr"], settings["eps"]) == (9, 0.002, 1e-8)
    assert (settings["steps"], settings["epochs"]) == (2, None)


def test_a_rate_for_g_alone_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    Path("two.yaml").write_text(SMALL + "d_lr: 0.0001\n")
    for number, (given, said) in enumerate(
        (
            (("--lr", 0.002), True),
            (("--set", "lr=0.002"), True),
            (("--lr", 0.002, "--set", "d_lr=0.003"), False),
            ((), False),
        )
    ):
        assert train(*given, "--steps", 1, "--out", number, config="two.yaml") == 0
        note = "The learning rate 0.002 is G's; D keeps its own, d_lr 0.0001.\n"
        assert (note in capfd.readouterr().out) is said


def test_resume_is_exact() -> None:
    assert train("--steps", 40, "--out", "straight", "--quiet") == 0
    assert train("--steps", 17, "--out", "halves", "--quiet") == 0
    assert main(["train", "gan", "--out", "halves", "--resume", "--steps", "40", "--quiet"]) == 0
    assert same_weights("straight", "halves")
    assert steps_logged("halves") == steps_logged("straight") == [*range(5, 41, 5)]
    assert yaml.safe_load(Path("halves/config.yaml").read_text())["steps"] == 40


def test_resuming_a_finished_run_changes_no_weight(capfd: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", 4, "--quiet") == 0
    before = weights("runs/gan")
    assert main(["train", "gan", "--resume"]) == 0
    assert "Nothing is left to train: the run has all its 4 steps" in capfd.readouterr().out
    after = weights("runs/gan")
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_overwrite_removes_what_gankit_wrote_and_nothing_else() -> None:
    assert train("--steps", 30, "--quiet") == 0
    run = Path("runs/gan")
    (run / "notes.txt").write_text("mine")
    (run / "samples" / "favourite.png").write_bytes(b"mine")
    (run / ".checkpoint.pt.123.tmp").write_bytes(b"left by a crash")
    assert train("--steps", 2, "--overwrite", "--quiet") == 0
    assert sorted(os.listdir(run)) == sorted([*WRITTEN, "notes.txt"])
    assert sorted(os.listdir(run / "samples")) == ["epoch_0001_step_0000002.png", "favourite.png"]
    assert steps_logged("runs/gan") == [2]


def test_an_empty_folder_is_fine() -> None:
    Path("here").mkdir()
    assert train("--steps", 1, "--out", "here", "--quiet") == 0


def test_what_a_killed_process_left_half_written_is_swept_away() -> None:
    Path("run").mkdir()
    leftovers = [Path("run", f".{name}.99.tmp") for name in ("config.yaml", "metrics.csv")]
    leftovers[0].touch()
    assert train("--steps", 2, "--quiet", "--out", "run") == 0
    assert not leftovers[0].exists()
    leftovers += [Path("run/samples/.epoch_0001_step_0000002.png.99.tmp")]
    for path in leftovers:
        path.touch()
    assert main(["train", "--resume", "--out", "run", "--steps", "3", "--quiet"]) == 0
    assert not any(path.exists() for path in leftovers)


def test_own_networks_from_the_folder_at_hand(tmp_path: Path) -> None:
    Path("my_nets.py").write_text(
        "import gankit.models.mlp as mlp\n"
        "class MyG(mlp.Generator):\n"
        "    def __init__(self, z_dim, image_shape, width):\n"
        "        super().__init__(z_dim, image_shape, hidden=(width,))\n"
    )
    Path("mine.yaml").write_text(
        "generator: {class_path: my_nets.MyG, init_args: {width: 11}}\n"
        "discriminator: {class_path: gankit.models.mlp.Discriminator, init_args: {hidden: [8]}}\n"
    )
    here = os.path.realpath(os.getcwd())
    sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != here]
    assert train("--steps", 2, "--device", "cpu", config="mine.yaml") == 0
    del sys.modules["my_nets"]
    assert main(["sample", "runs/gan", "--n", "3"]) == 2
    assert "my_nets" not in sys.modules
    assert main(["sample", "runs/gan", "--n", "3", "--trust"]) == 0
    assert os.getcwd() not in sys.path
    assert weights("runs/gan")["G.main.0.weight"].shape == (11, 100)
