"""What a callback is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gankit.metrics.metric import Value
from gankit.training.reports import Curves

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer


class Callback:
    """Base of all callbacks: override what is needed. None of them may draw from global RNGs.

    One that measures something names its numbers in ``measures``: they are logged beside those of
    the step, ``curves`` says how they are plotted.
    """

    measures: Mapping[str, Value] = MappingProxyType({})
    curves: tuple[Curves, ...] = ()

    def on_start(self, trainer: Trainer) -> None:
        """Called before the first step."""

    def on_step(self, trainer: Trainer) -> None:
        """Called after each step. It must not wait for the device."""

    def measure(self, trainer: Trainer) -> Mapping[str, float]:
        """Called before each log, in every process: those of ``measures`` that are known by then.

        What is not among them is NaN in the log. All processes must return the same.
        """
        return {}

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        """Called every ``log_every`` steps and after the last one."""

    def on_epoch(self, trainer: Trainer) -> None:
        """Called when an epoch is done."""

    def on_picture(self, trainer: Trainer, path: Path) -> None:
        """Called when ``SampleGrid`` has written the picture ``path``."""

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        """Called when ``Checkpoint`` has written ``path``; in the process that writes, rank 0."""

    def on_end(self, trainer: Trainer) -> None:
        """Called when the run has reached its end."""

    def close(self) -> None:
        """Called last, also when the run ended with an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run gives back to ``load_state_dict``: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave; also called with an empty ``state``."""
