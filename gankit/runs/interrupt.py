"""Ctrl-C, a scheduler's SIGTERM, or the end of a terminal, in the middle of a run."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from gankit.training.callbacks import Callback
from gankit.training.checkpointing import Checkpoint
from gankit.training.distributed import largest_over_processes, world
from gankit.training.trainer import Trainer

_MILLISECONDS_APART = 2000


class Terminated(KeyboardInterrupt):
    """SIGTERM asked the run to end."""

    code, words = 143, "ended by SIGTERM"


class HungUp(KeyboardInterrupt):
    """SIGHUP: the terminal has gone, or the connection to it."""

    code, words = 129, "ended by SIGHUP"


# What each signal does where nobody has asked for anything else.
_DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
_ENDS: dict[int, type[KeyboardInterrupt]] = {signal.SIGTERM: Terminated}
if hasattr(signal, "SIGHUP"):  # not on Windows
    _DEFAULTS[signal.SIGHUP] = signal.SIG_DFL
    _ENDS[signal.SIGHUP] = HungUp


class SaveOnInterrupt(Callback):
    """The first Ctrl-C, SIGTERM or SIGHUP lets the step at hand end and writes a checkpoint.

    In the middle of a step D has learned and G has not, which no checkpoint could continue. A
    second Ctrl-C is at once; a further SIGTERM or SIGHUP is not, since nobody need have meant it: a
    terminal that closes often sends SIGHUP twice, and a scheduler SIGTERM and then SIGHUP. Where
    something else handles or ignores a signal, as under nohup, it is left alone. Many processes ask
    each other every other second or so, and end together.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._listening: list[int] = []
        self._asked = 0
        # Where many processes ask each other next, and when they did last.
        self._next, self._last, self._since = 0, 0, 0.0

    def on_start(self, trainer: Trainer) -> None:
        self._next, self._last, self._since = trainer.step + 1, trainer.step, time.monotonic()
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default in _DEFAULTS.items():
            if signal.getsignal(number) is default:
                signal.signal(number, self._note)
                self._listening.append(number)

    def on_step(self, trainer: Trainer) -> None:
        if world()[1] > 1:  # the signal reaches each process at another step
            if trainer.step < self._next:
                return
            self._ask_all(trainer)
        if self._asked:
            self.checkpoint.save(trainer)
            raise _ENDS.get(self._asked, KeyboardInterrupt)

    def _ask_all(self, trainer: Trainer) -> None:
        """Asking waits for the device, so it is done at steps that lie some time apart.

        Which ones follows from what all of them know, so that all ask at the same step.
        """
        now = time.monotonic()
        given = [self._asked, int(1000 * (now - self._since))]
        self._asked, milliseconds = largest_over_processes(given, trainer.data.device)
        steps = trainer.step - self._last
        apart = min(2 * steps, steps * _MILLISECONDS_APART // max(milliseconds, 1))
        self._next, self._last, self._since = trainer.step + max(apart, 1), trainer.step, now

    def close(self) -> None:
        for number in self._listening:
            signal.signal(number, _DEFAULTS[number])
        self._listening.clear()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._asked = self._asked or signum
        if signum == signal.SIGINT:
            signal.signal(signum, _DEFAULTS[signum])
