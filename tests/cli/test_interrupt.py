"""Ctrl-C while a run trains."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gankit.cli import main
from gankit.runs import commands
from gankit.training import GANStep
from gankit.training.config import RunConfig

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
TRAIN = ["train", "gan", "--config", "small.yaml", "--steps", "6", "--quiet"]


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """A job started in the background ignores the signal, and so would these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGHUP, hangup)


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make Ctrl-C arrive ``times`` times in the middle of G's turn of the ``n``-th call.

    What comes first may be another signal, and ``then`` others.
    """
    turn = GANStep._g_loss

    def arrange(n: int, times: int, number: int = signal.SIGINT, *then: int) -> None:
        def interrupted(step: GANStep, *arguments: Any) -> Any:
            if step.calls == n - 1:
                for each in (*[number] * times, *then):
                    assert signal.getsignal(each) is not signal.SIG_DFL, "this process would end"
                    signal.raise_signal(each)
            return turn(step, *arguments)

        monkeypatch.setattr(GANStep, "_g_loss", interrupted)

    return arrange


def final_state(folder: str) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(Path(folder) / "checkpoint.pt", weights_only=True)
    return state


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_a_signal_saves_at_the_end_of_the_step_and_the_run_goes_on_exactly(
    number: int,
    code: int,
    words: str,
    ctrl_c: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main([*TRAIN, "--out", "straight"]) == 0
    ctrl_c(4, 1, number)
    assert main([*TRAIN, "--out", "halves"]) == code
    assert capfd.readouterr().err == (
        f"gankit: {words}; to go on from step 4: gankit train --resume --out halves\n"
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert final_state("halves")["step"] == 4
    assert main(["train", "--out", "halves", "--resume", "--quiet"]) == 0
    straight, halves = final_state("straight"), final_state("halves")
    assert straight["step"] == halves["step"] == 6
    before, after = straight["gan_step"], halves["gan_step"]
    assert all(torch.equal(before[name], after[name]) for name in before if name != "_extra_state")


def test_a_second_ctrl_c_does_not_wait_for_a_checkpoint(
    ctrl_c: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    ctrl_c(4, 2)
    assert main(TRAIN) == 130
    assert capfd.readouterr().err == (
        "gankit: interrupted; no checkpoint was written yet; what the run wrote until then is in "
        "runs/gan\n"
    )
    assert sorted(os.listdir("runs/gan")) == ["config.yaml", "metrics.csv"]
    assert main([*TRAIN, "--set", "checkpoint_every=2", "--out", "some other"]) == 130
    assert capfd.readouterr().err == (
        "gankit: interrupted; to go on from step 2: gankit train --resume --out 'some other'\n"
    )
    resume = shlex.split("gankit train --resume --out 'some other'")[1:]
    assert main([*resume, "--quiet"]) == 130  # at its fourth call, again
    assert final_state("some other")["step"] == 2


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ((signal.SIGHUP, signal.SIGHUP), 129),
        ((signal.SIGTERM, signal.SIGHUP, signal.SIGTERM), 143),
        ((signal.SIGTERM, signal.SIGINT), 143),
        ((signal.SIGINT, signal.SIGHUP, signal.SIGTERM), 130),
    ],
)
def test_what_follows_the_first_signal_waits_for_the_checkpoint(
    signals: tuple[int, ...], code: int, ctrl_c: Callable[..., None]
) -> None:
    ctrl_c(4, 1, *signals)
    assert main(TRAIN) == code
    assert final_state("runs/gan")["step"] == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    for number in (signal.SIGTERM, signal.SIGHUP):
        assert signal.getsignal(number) is signal.SIG_DFL


def test_an_ignored_signal_stays_ignored(ctrl_c: Callable[..., None]) -> None:
    ctrl_c(2, 1)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main(TRAIN) == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert final_state("runs/gan")["step"] == 6


def test_the_command_that_resumes_is_one_for_a_shell() -> None:
    folder = Path("my runs", "it's")
    ours, own = RunConfig(), RunConfig(generator="my.G")
    assert shlex.split(commands.how_to_resume(folder, ours))[-2:] == ["--out", str(folder)]
    assert "--trust" not in commands.how_to_resume(folder, ours)
    assert "train --resume --trust --out" in commands.how_to_resume(folder, own)
