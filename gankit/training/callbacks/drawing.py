"""Pictures of a whole run, drawn again and again while it goes on."""

from __future__ import annotations

import logging
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gankit.errors import GankitError, MissingExtra
from gankit.training.callbacks.base import Callback

if TYPE_CHECKING:
    from gankit.training.trainer import Trainer

_LOG = logging.getLogger(__name__)
# Drawing may take one part in this many of the time of a run.
_SPARING = 50


class Drawing(Callback):
    """Base of ``LossCurves`` and ``SamplesGif``: when ``path`` is drawn.

    A subclass sets ``_changed`` where something new is to be seen, calls ``_draw_if_cheap`` where
    it may be drawn, and does it in ``_draw``. It is drawn the first time that it may be, then only
    where that takes at most a fiftieth of the time since, and always where the run ends: at its
    last step, by an interrupt or by an error. Whatever goes wrong is a warning: a picture must not
    cost the run.
    """

    # The module that draws, as Python and as pip know it.
    _needs = ("", "")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._trainer: Trainer | None = None
        self._changed = True
        self._took, self._drawn_at = 0.0, -float("inf")
        self._said: set[str] = set()

    def _draw(self, trainer: Trainer) -> None:
        """Write ``path``."""
        raise TypeError(f"{type(self).__name__} does not say how it is drawn")

    def on_start(self, trainer: Trainer) -> None:
        module, package = self._needs
        if find_spec(module) is None:
            raise MissingExtra(package, "train")
        self._trainer, self._changed, self._drawn_at = trainer, False, -float("inf")

    def _draw_if_cheap(self, trainer: Trainer) -> None:
        if self._changed and time.monotonic() - self._drawn_at >= _SPARING * self._took:
            self._draw_or_warn(trainer)

    def _draw_or_warn(self, trainer: Trainer) -> None:
        start = time.monotonic()
        self._changed = False
        try:
            self._draw(trainer)
        except Exception as error:  # of whatever kind: Pillow and Matplotlib raise a dozen
            what = str(error) if isinstance(error, GankitError) else _in_words(error)
            self._warn(f"{self.path.name} was not drawn: {what}")
        self._drawn_at = time.monotonic()
        self._took = self._drawn_at - start

    def _warn(self, sentence: str) -> None:
        """Say it once in a run."""
        if sentence not in self._said:
            self._said.add(sentence)
            _LOG.warning("%s", sentence)

    def on_end(self, trainer: Trainer) -> None:
        # A run that was complete when it was taken up is drawn anew all the same.
        if self._changed or self._drawn_at < 0:
            self._draw_or_warn(trainer)

    def close(self) -> None:
        if self._trainer is not None and self._changed:
            self._draw_or_warn(self._trainer)
        self._trainer = None


def _in_words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
