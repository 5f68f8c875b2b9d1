"""Ctrl-C, or a scheduler's SIGTERM, in the middle of a run."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from gankit.training.callbacks import Callback
from gankit.training.checkpointing import Checkpoint
from gankit.training.distributed import largest_over_processes, world
from gankit.training.trainer import Trainer


class Terminated(KeyboardInterrupt):
    """SIGTERM asked the run to end."""


# What each signal does where nobody has asked for anything else.
_DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class SaveOnInterrupt(Callback):
    """The first Ctrl-C or SIGTERM lets the step at hand end and writes a checkpoint.

    A second one is at once. In the middle of a step D has learned and G has not, which no
    checkpoint could continue. Where something else handles or ignores a signal, as under nohup, it
    is left alone. A run of many processes ends after its next log, in all of them.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._listening: list[int] = []
        self._asked = 0

    def on_start(self, trainer: Trainer) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default in _DEFAULTS.items():
            if signal.getsignal(number) is default:
                signal.signal(number, self._note)
                self._listening.append(number)

    def on_step(self, trainer: Trainer) -> None:
        if world()[1] > 1:  # the signal reaches each process at another step
            if trainer.step % trainer.log_every:
                return
            self._asked = largest_over_processes(self._asked, trainer.data.device)
        if self._asked:
            self.checkpoint.save(trainer)
            raise Terminated if self._asked == signal.SIGTERM else KeyboardInterrupt

    def close(self) -> None:
        for number in self._listening:
            signal.signal(number, _DEFAULTS[number])
        self._listening.clear()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._asked = signum
        for number in self._listening:
            signal.signal(number, _DEFAULTS[number])
