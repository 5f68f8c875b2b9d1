"""How far the training is, on a terminal or in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from gankit.errors import MissingExtra
from gankit.training.autoencoder_step import AutoencoderStep
from gankit.training.callbacks.base import Callback

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer

_NAMES = {"d_loss": "D loss", "g_loss": "G loss", "d_real": "D(real)", "d_fake": "D(fake)"}


class Progress(Callback):
    """A tqdm bar where ``stream`` is a terminal, else a plain line every ``seconds``.

    What is said through ``logging`` meanwhile stands above the bar, on lines of its own. Where the
    stream is closed, then or later, the run goes on without.
    """

    def __init__(self, stream: TextIO | None = None, seconds: float = 5.0) -> None:
        self.stream: TextIO | None = stream if stream is not None else sys.stderr
        self.seconds = seconds
        self._bar: Any = None
        self._redirected = ExitStack()
        self._last_line = 0.0

    def on_start(self, trainer: Trainer) -> None:
        self._last_line = time.monotonic()
        if self.stream is not None and self.stream.isatty():
            try:
                from tqdm import tqdm
                from tqdm.contrib.logging import logging_redirect_tqdm
            except ImportError as error:
                raise MissingExtra("tqdm", "train") from error
            self._redirected.enter_context(logging_redirect_tqdm())
            with self._while_someone_reads():
                self._bar = tqdm(
                    total=trainer.total_steps,
                    initial=trainer.step,
                    file=self.stream,
                    unit="step",
                    dynamic_ncols=True,
                )

    def on_step(self, trainer: Trainer) -> None:
        if self._bar is not None:
            with self._while_someone_reads():
                self._bar.update(1)

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        parts = [
            f"{name} {getattr(metrics, key):.{3 if key.endswith('loss') else 2}f}"
            for key, name in names_of(trainer).items()
        ]
        text = "  ".join([*parts, f"{metrics.images_per_second:,.0f} images/s"])
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            return
        if self.stream is None:
            return
        now = time.monotonic()
        if now - self._last_line >= self.seconds or trainer.step == trainer.total_steps:
            self._last_line = now
            where = f"step {metrics.step}/{trainer.total_steps}  epoch {metrics.epoch:.1f}"
            with self._while_someone_reads():
                print(f"{where}  {text}", file=self.stream, flush=True)

    @contextmanager
    def _while_someone_reads(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            if self._bar is not None:
                with suppress(OSError):
                    self._bar.close()
            self.stream = self._bar = None

    def close(self) -> None:
        if self._bar is not None:
            with self._while_someone_reads():
                self._bar.close()
        self._redirected.close()


def names_of(trainer: Trainer) -> dict[str, str]:
    """The words for those of the four numbers of a step that this run has."""
    step = trainer.gan_step
    return step.names if isinstance(step, AutoencoderStep) else _NAMES
