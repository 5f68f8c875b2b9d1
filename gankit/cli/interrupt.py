"""Ctrl-C in the middle of a run."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from gankit.training.callbacks import Callback
from gankit.training.checkpointing import Checkpoint
from gankit.training.trainer import Trainer


class SaveOnInterrupt(Callback):
    """The first Ctrl-C lets the step at hand end and writes a checkpoint; a second one is at once.

    In the middle of a step D has learned and G has not, which no checkpoint could continue. Where
    something else handles or ignores the signal, as under nohup, it is left alone.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._listening = False
        self._asked = False

    def on_start(self, trainer: Trainer) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._listening = True

    def on_step(self, trainer: Trainer) -> None:
        if self._asked:
            self.checkpoint.save(trainer)
            raise KeyboardInterrupt

    def close(self) -> None:
        if self._listening:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._listening = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
