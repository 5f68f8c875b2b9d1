"""What surrounds a command: other runs, closed streams, little memory."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from gankit.cli import main
from gankit.errors import ConfigError
from gankit.runs import folder as rundir
from gankit.runs.lock import locked
from gankit.training import GANStep, Progress, load_checkpoint
from gankit.training.config import RunConfig
from tests.small_runs import environment
from tests.training.test_trainer import make_trainer

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
TRAIN = ["train", "gan", "--config", "small.yaml", "--steps", "3"]

fcntl = pytest.importorskip("fcntl", reason="this system has no locks on folders")


def test_two_runs_do_not_write_to_one_folder(refused: Callable[..., str]) -> None:
    assert main([*TRAIN, "--quiet", "--out", "run"]) == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    resume = ["train", "--resume", "--out", "run", "--steps", "5", "--quiet"]
    with locked(Path("run")):
        for argv in (resume, [*TRAIN, "--quiet", "--out", "run", "--overwrite"]):
            assert "--out run is in use: another process trains there" in refused(*argv)
    assert {path: path.read_bytes() for path in before} == before
    assert main(resume) == 0
    Path("empty").mkdir()
    with locked(Path("empty")):
        assert "--out empty is in use" in refused(*TRAIN, "--out", "empty", "--quiet")
    assert Path("empty").is_dir()
    assert not os.listdir("empty")


def test_a_run_that_came_and_went_meanwhile_stays() -> None:
    """It is looked for again behind the lock: building networks and data takes a while."""
    folder = Path("run")
    claim = partial(rundir.claimed, folder, RunConfig(), overwrite=False, started=lambda: True)
    with claim():
        (folder / "checkpoint.pt").write_bytes(b"theirs")
    with pytest.raises(ConfigError, match="run is not empty"), claim():
        raise AssertionError
    assert (folder / "checkpoint.pt").read_bytes() == b"theirs"
    assert (folder / "config.yaml").is_file()


def test_a_file_system_without_locks_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert main([*TRAIN, "--quiet"]) == 0


class Broken(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class BrokenTerminal(Broken):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Broken, BrokenTerminal, None])
def test_a_run_goes_on_when_nobody_reads(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None if stream is None else stream())
    trainer = make_trainer(Progress(seconds=0.0))
    trainer.fit(steps=9)
    assert trainer.step == 9


def test_notes_that_nobody_reads_do_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    monkeypatch.setattr(sys, "stderr", Broken())
    assert main(TRAIN) == 0
    assert load_checkpoint("runs/gan/checkpoint.pt")["step"] == 3


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_other_commands_end_quietly(unbuffered: str) -> None:
    """As in ``gankit recipes | true``."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gankit", "recipes"],
            env=environment(PYTHONUNBUFFERED=unbuffered),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_too_little_memory_is_one_sentence(
    error: Exception, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("gankit.runs.training.build_trainer", fail)
    sentence = refused(*TRAIN)
    assert sentence.startswith("gankit: error: not enough memory: ")
    assert not Path("runs").exists()


def test_other_faults_of_torch_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("gankit.runs.training.build_trainer", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        main(TRAIN)


def test_a_checkpoint_may_be_drawn_from(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--quiet"]) == 0
    for run, out in (("runs/gan", "a.png"), ("runs/gan/checkpoint.pt", "b.png")):
        assert main(["sample", run, "--n", "4", "--out", out]) == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_a_connection_that_is_lost_is_an_error(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    """Such as that of a callback or of a data set."""
    turn = GANStep._g_loss

    def lost(step: GANStep, *arguments: Any) -> Any:
        if step.calls == 1:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return turn(step, *arguments)

    monkeypatch.setattr(GANStep, "_g_loss", lost)
    assert "gankit: error: Broken pipe; no checkpoint was written" in refused(*TRAIN, "--quiet")
    monkeypatch.setattr(sys, "stdout", Broken())
    assert main([*TRAIN, "--quiet", "--overwrite"]) == 141
