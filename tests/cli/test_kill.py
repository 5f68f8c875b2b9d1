"""kill -9 at any moment loses nothing but time."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import small_runs

SMALL = f"""{small_runs.SMALL}
ema: 0.9
clip_gradients: 0.5
accumulate: 2
schedule: {{class_path: torch.optim.lr_scheduler.ExponentialLR, init_args: {{gamma: 0.99}}}}
checkpoint_every: 10
log_every: 15
"""
Run = Callable[..., tuple[int, float]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run a command in a fork: ``(exit code, seconds)``."""
    (tmp_path / "small.yaml").write_text(SMALL)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.forked"],
        cwd=tmp_path,
        env=small_runs.environment(GANKIT_DATA=str(tmp_path / "data")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    stdin, stdout = server.stdin, server.stdout

    def ask(*argv: str, **kill: Any) -> tuple[int, float]:
        print(json.dumps({"argv": argv, **kill}), file=stdin, flush=True)
        code, seconds = stdout.readline().split()
        return int(code), float(seconds)

    yield ask
    stdin.close()
    server.wait(30)
    stdout.close()


def rows(folder: Path) -> list[list[str]]:
    """The rows of metrics.csv without the measured speed."""
    with open(folder / "metrics.csv", newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def check(tmp_path: Path, run: Run, kills: list[dict[str, Any]], steps: int) -> None:
    new = ["train", "gan", "--config", "small.yaml", "--steps", str(steps), "--quiet", "--out"]
    code, seconds = run(*new, "straight")
    assert code == 0
    folder = tmp_path / "killed"
    killed = 0
    for kill in kills:
        if (folder / "checkpoint.pt").is_file():
            argv = ["train", "--resume", "--quiet", "--out", "killed"]
        else:
            argv = [*new, "killed", "--overwrite"]
        if "share" in kill:
            kill = {"seconds": kill["share"] * seconds}
        code, _ = run(*argv, **kill)
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        if code == 0:  # it was faster than the kill: the next one meets a new run
            shutil.rmtree(folder)
    assert killed >= 0.6 * len(kills)
    again = ["--resume"] if (folder / "checkpoint.pt").is_file() else [*new[1:-1], "--overwrite"]
    assert run("train", *again, "--quiet", "--out", "killed")[0] == 0
    ours, theirs = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("killed", "straight")
    )
    assert ours["step"] == steps
    assert same(ours, theirs)
    assert rows(folder) == rows(tmp_path / "straight")
    names = sorted(os.listdir(folder))
    assert names == sorted(os.listdir(tmp_path / "straight"))


def test_three_kills(tmp_path: Path, run: Run) -> None:
    inside = [{"write": 4, "at": "bytes"}, {"write": 3, "at": "fsync"}]
    check(tmp_path, run, [*inside, {"share": 0.3}], steps=60)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path, run: Run) -> None:
    draw = random.Random()
    kills: list[dict[str, Any]] = [{"share": draw.uniform(0.02, 0.6)} for _ in range(14)]
    for at in ("bytes", "fsync", "rename"):
        kills += [{"write": draw.randint(1, 3), "at": at} for _ in range(2)]
    draw.shuffle(kills)
    check(tmp_path, run, kills, steps=120)


STREAMED = """
data: {class_path: "folder:images", init_args: {resident: false, workers: 2}}
batch_size: 4
"""


def write_images(folder: Path, count: int) -> None:
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = random.integers(0, 256, (40, 32), dtype=np.uint8)
        image.fromarray(pixels).save(folder / f"{number}.jpg")


def check_streamed(tmp_path: Path, run: Run, kills: list[dict[str, Any]]) -> None:
    """An epoch has 27 steps, and checkpoints are written at steps of which none ends one."""
    text = SMALL.replace("checkpoint_every: 10", "checkpoint_every: 7")
    (tmp_path / "small.yaml").write_text(text + STREAMED)
    write_images(tmp_path / "images", 111)
    check(tmp_path, run, kills, steps=50)


def test_a_streamed_run_killed_in_an_epoch(tmp_path: Path, run: Run) -> None:
    check_streamed(tmp_path, run, [{"write": 2, "at": "rename"}])


@pytest.mark.slow
def test_a_streamed_run_killed_five_times(tmp_path: Path, run: Run) -> None:
    kills: list[dict[str, Any]] = [{"write": 2, "at": at} for at in ("rename", "bytes", "fsync")]
    check_streamed(tmp_path, run, [{"share": 0.5}, *kills, {"share": 0.6}])
