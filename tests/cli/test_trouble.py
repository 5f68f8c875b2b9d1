"""What breaks in the middle of a run: one sentence, and the last good checkpoint is intact."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gankit.cli import main
from gankit.training import GANStep
from tests import small_runs

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
SMALL = f"{small_runs.SMALL}batch_size: 6\ncheckpoint_every: 5\nlog_every: 2\n"
TRAIN = ["train", "gan", "--config", "small.yaml", "--steps", "20", "--quiet", "--out", "run"]


def at_step(monkeypatch: pytest.MonkeyPatch, n: int, happens: Any) -> None:
    turn = GANStep._g_loss

    left = [happens]

    def eventful(step: GANStep, *arguments: Any) -> Any:
        if step.calls == n - 1 and left:
            left.pop()()
        return turn(step, *arguments)

    monkeypatch.setattr(GANStep, "_g_loss", eventful)


def test_a_disk_that_fills_up(monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    at_step(monkeypatch, 13, lambda: monkeypatch.setattr(os, "fsync", full))
    assert "run/checkpoint.pt: No space left on device" in refused(*TRAIN)
    assert torch.load("run/checkpoint.pt", weights_only=True)["step"] == 10
    assert not [name for name in os.listdir("run") if name.endswith(".tmp")]


def test_the_folder_is_removed(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    at_step(monkeypatch, 12, lambda: shutil.rmtree("run"))
    assert "run/metrics.csv: No such file or directory" in refused(*TRAIN)


def test_the_folder_is_moved(monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    at_step(monkeypatch, 12, lambda: os.rename("run", "moved"))
    assert "run/metrics.csv: No such file or directory" in refused(*TRAIN)
    assert torch.load("moved/checkpoint.pt", weights_only=True)["step"] == 10
    assert main(["train", "--out", "moved", "--resume", "--quiet"]) == 0
    assert torch.load("moved/checkpoint.pt", weights_only=True)["step"] == 20


def test_the_data_disappears(monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    """In the middle nothing happens, for the set is in memory; a resume says what is missing."""
    data = Path("data")
    data.mkdir()
    images = torch.randint(0, 256, (12, 28, 28), dtype=torch.uint8).numpy().tobytes()
    name = "train-images-idx3-ubyte"
    (data / name).write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 12, 28, 28) + images)
    at_step(monkeypatch, 12, lambda: shutil.rmtree("data"))
    assert main([*TRAIN, "--data", "idx:data"]) == 0
    before = Path("run/checkpoint.pt").read_bytes()
    assert "data" in refused("train", "--out", "run", "--resume", "--steps", "30", "--quiet")
    assert Path("run/checkpoint.pt").read_bytes() == before
