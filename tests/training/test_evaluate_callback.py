"""Evaluation while a run goes on: what is logged, what stays, and that no bit changes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from gankit import runs
from gankit.errors import ConfigError, DataError
from gankit.runs.evaluating import evaluate
from gankit.training import Checkpoint, Trainer, load_checkpoint
from gankit.training.callbacks import Evaluate, MetricsCSV, read_metrics
from gankit.training.shared_work import Share
from tests.training.test_distributed import ended, started
from tests.training.test_trainer import make_trainer

SMALL: dict[str, Any] = {
    "generator.hidden": [16],
    "discriminator.hidden": [16],
    "device": "cpu",
    "grid_rows": 1,
    "grid_columns": 1,
    "log_every": 2,
    "sample_every": 1000,
}
# Whose seed is not that of an evaluation.
SEEDED: dict[str, Any] = {**SMALL, "seed": 3}
EVALUATED: dict[str, Any] = {"evaluate": ["fid", "prc"], "evaluate_every": 4, "evaluate_n": 50}


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 5)
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "data"))


class Listed:
    """Gives the numbers of a list, whatever the run."""

    def __init__(self, metric: str, values: list[float]) -> None:
        self.metric, self.values = metric, iter(values)

    def prepare(self, trainer: Trainer, share: Share) -> None:
        """Nothing is needed."""

    def __call__(self, trainer: Trainer, share: Share) -> Mapping[str, float]:
        return {self.metric: next(self.values)}


@pytest.mark.parametrize(
    ("metric", "values", "best"), [("fid", [5, 3, 4, 9], 6), ("is", [5, 7, 8, 9, 6], 12)]
)
def test_the_best_evaluation_is_a_checkpoint(
    metric: str, values: list[float], best: int, tmp_path: Path
) -> None:
    def trainer() -> Trainer:
        return make_trainer(
            Evaluate(Listed(metric, values), [metric], every=3),
            MetricsCSV(tmp_path / "metrics.csv"),
            Checkpoint(tmp_path / "c.pt", every=50, best=metric),
            log_every=1,
        )

    one = trainer()
    one.fit(steps=3 * len(values) - 1)
    assert load_checkpoint(tmp_path / "c.best.pt")["step"] == best
    kept = load_checkpoint(tmp_path / "c.best.pt")["callbacks"]["Checkpoint"]
    assert kept["best"] == metric
    assert abs(kept["lowest"]) == values[best // 3 - 1]
    rows = read_metrics(tmp_path / "metrics.csv")
    measured = {int(row["step"]): float(row[metric]) for row in rows}
    expected = {3 * (i + 1): float(v) for i, v in enumerate(values[:-1])}
    last = 3 * len(values) - 1
    assert {s: v for s, v in measured.items() if not math.isnan(v)} == {
        **expected,
        last: values[-1],
    }
    assert [plot.label for plot in one.curves()][-1] == metric


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def test_evaluation_and_a_resume_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs.train("gan", "plain", steps=10, **SEEDED)
    runs.train("gan", "whole", steps=10, **SEEDED, **EVALUATED, checkpoint_best="fid")
    runs.train("gan", "parts", steps=5, **SEEDED, **EVALUATED, checkpoint_best="fid")
    runs.resume("parts", steps=10)
    plain, whole, parts = (
        load_checkpoint(Path(name, "checkpoint.pt")) for name in ("plain", "whole", "parts")
    )
    for key in ("gan_step", "optimizers", "sampler", "rng", "pending", "generators"):
        assert same(plain[key], whole[key]), key
        assert same(whole[key], parts[key]), key
    assert same(whole["callbacks"]["Checkpoint"], parts["callbacks"]["Checkpoint"])
    tables = [read_metrics(Path(name, "metrics.csv")) for name in ("whole", "parts")]
    for table in tables:
        for row in table:
            row.pop("images_per_second")
    assert tables[0] == tables[1]
    assert [row["step"] for row in tables[0] if row["fid"] != "nan"] == ["4", "8", "10"]
    assert Path("whole", "checkpoint.best.pt").exists()

    # The command's own numbers, which take the place of the same ones.
    (kept,) = json.loads(Path("whole", "evaluation.json").read_text())["results"]
    again = evaluate("whole", metrics=["fid", "prc"], n=50)
    assert again.as_dict() == kept
    assert f"{again.values['fid']:.6g}" == tables[0][-1]["fid"]


def test_no_metric_changes_a_bit(tmp_path: Path) -> None:
    """A generator with batch norms learns otherwise once it is in eval mode."""
    all_of_them = ["fid", "kid", "is", "prc", "coverage", "ppl", "classes", "nearest"]
    asked = {"evaluate": all_of_them, "evaluate_every": 2, "evaluate_n": 20}
    few = {"generator.width": 2, "discriminator.width": 2, "batch_size": 4, "device": "cpu"}
    few = {**few, "log_every": 2, "sample_every": 1000, "data": "digits"}
    states = []
    for name, settings in {"plain": {}, "measured": asked}.items():
        runs.train("dcgan", tmp_path / name, steps=4, **few, **settings)
        states.append(load_checkpoint(tmp_path / name / "checkpoint.pt"))
    for key in ("gan_step", "optimizers", "sampler", "rng", "pending", "generators"):
        assert same(states[0][key], states[1][key]), key


def test_translations_are_compared_with_their_targets(tmp_path: Path) -> None:
    few = {"generator.width": 2, "data.n": 8, "device": "cpu", "log_every": 1}
    settings = {"evaluate": "l1,ssim", "evaluate_every": 2, "checkpoint_best": "ssim"}
    runs.train("pix2pix-toy", tmp_path / "p", steps=2, **few, **settings)
    rows = read_metrics(tmp_path / "p" / "metrics.csv")
    assert [row["ssim"] == "nan" for row in rows] == [True, False]
    # Training's own L1, of values in [-1, 1], has the column l1.
    assert all(float(row["l1"]) > 0 for row in rows)
    assert 0 < float(rows[-1]["mae"]) < 1


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"evaluate": ["fit"]}, ConfigError, "metrics has 'fit'; allowed are fid"),
        ({"evaluate": 3}, ConfigError, "evaluate is 3; allowed is a list of names"),
        ({"evaluate": ["l1"]}, ConfigError, "l1 needs images with a target each"),
        ({"evaluate_every": 5}, ConfigError, "evaluate_every is 5; allowed are multiples of log"),
        ({"evaluate_features": "larg"}, ConfigError, "features is 'larg'; allowed are auto, small"),
        ({"data": "npz:data.npz"}, DataError, "has no labels, and features small"),
        ({"checkpoint_best": "kid"}, ConfigError, "checkpoint_best is 'kid', which this run does"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_anything_is_written(
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", images=np.full((80, 28, 28), 9, dtype=np.uint8))
    asked = {**SMALL, **EVALUATED, "evaluate_features": "small", **settings}
    with pytest.raises(error, match=message):
        runs.train("gan", "run", steps=4, **asked)
    assert not Path("run").exists()


FLAT = """
import torch
from pathlib import Path
Path("ran").touch()
class Flat(torch.nn.Module):
    def forward(self, images):
        return images[:, 0, ::7, ::7].float().flatten(1)
"""


def test_features_of_somebody_elses_run_need_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("theirs_of_features.py").write_text(FLAT)
    own = {**EVALUATED, "evaluate_features": "theirs_of_features.Flat"}
    runs.train("gan", "run", steps=4, **SMALL, **own)
    Path("ran").unlink()
    monkeypatch.delitem(sys.modules, "theirs_of_features")
    with pytest.raises(ConfigError, match="evaluate_features is 'theirs_of_features"):
        runs.resume("run", steps=8)
    assert not Path("ran").exists()
    runs.resume("run", steps=8, trust=True)
    assert Path("ran").exists()


COUNTED = """
import os
import torch
from gankit.errors import DataError
class Counted(torch.nn.Module):
    def forward(self, images):
        with open(f"seen.{os.environ.get('RANK', 'alone')}", "a") as file:
            file.write(f"{len(images)}\\n")
        if os.environ.get("FAILS") == os.environ.get("RANK", "alone"):
            raise DataError("this process has had enough")
        return images[:, 0, ::7, ::7].float().flatten(1)
"""


# With running statistics, which the MLP has not.
NORMED = """
import torch
from gankit.models import mlp
class Normed(mlp.Generator):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.norm = torch.nn.BatchNorm1d(784)
    def forward(self, z):
        images = super().forward(z)
        return self.norm(images.flatten(1)).view_as(images).tanh()
"""


def command_of(folder: Path, **changed: Any) -> list[str]:
    (folder / "counted.py").write_text(COUNTED)
    (folder / "normed.py").write_text(NORMED)
    asked = {**SMALL, **EVALUATED, "evaluate_every": 2, "evaluate_features": "counted.Counted"}
    config = [f"{name}={json.dumps(value)}" for name, value in {**asked, **changed}.items()]
    options = [word for each in config for word in ("--set", each)]
    return ["-m", "gankit", "train", "gan", "--steps", "4", "--quiet", "--out", "run", *options]


def test_processes_share_an_evaluation_and_find_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each process has running statistics of its own, and a checkpoint has rank 0's.
    normed = {"class_path": "normed.Normed", "init_args": {"hidden": [16]}}
    asked = {"evaluate_n": 600, "checkpoint_best": "fid", "generator": normed}
    command = command_of(tmp_path, **asked)
    for code, error in ended(started(command, cwd=tmp_path), seconds=300):
        assert code == 0, error
    # Of 1,442 real images once and 600 drawn ones twice, blocks of 256 in turn.
    seen = [sum(map(int, (tmp_path / f"seen.{rank}").read_text().split())) for rank in (0, 1)]
    assert seen == [3 * 256 + 2 * (256 + 88), 2 * 256 + 162 + 2 * 256]
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows if row["fid"] != "nan"] == ["2", "4"]
    best = load_checkpoint(tmp_path / "run" / "checkpoint.best.pt")["step"]
    assert best == min((float(row["fid"]), int(row["step"])) for row in rows)[1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (kept,) = json.loads(Path("run", "evaluation.json").read_text())["results"]
    names = ["fid", "prc"]
    alone = evaluate("run", metrics=names, n=600, features="counted.Counted", trust=True)
    assert alone.values == pytest.approx(kept["values"], rel=1e-6)
    assert {**alone.as_dict(), "values": 0} == {**kept, "values": 0}


def test_what_one_process_raises_ends_all_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "1")
    command = command_of(tmp_path, evaluate_n=600)
    for code, error in ended(started(command, cwd=tmp_path), seconds=300):
        assert code == 2
        assert "Traceback" not in error
        assert "this process has had enough" in error
