"""Metrics of the samples while the run goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import torch.distributed as dist

from gankit.errors import ConfigError, GankitError
from gankit.metrics.registry import metrics_named, values_of
from gankit.training.callbacks.base import Callback
from gankit.training.distributed import world
from gankit.training.reports import Curves

if TYPE_CHECKING:
    from gankit.training.trainer import Trainer

# The other processes wait so long for the one that evaluates.
_PATIENCE = timedelta(hours=2)


class Evaluator(Protocol):
    """What measures the samples of a run; it leaves all random states and networks as they are."""

    def prepare(self, trainer: Trainer) -> None:
        """Called before the first step. Raises GankitError if the run cannot be evaluated so."""

    def __call__(self, trainer: Trainer) -> Mapping[str, float]:
        """The values of all metrics."""


class Evaluate(Callback):
    """Measure the samples every ``every`` steps and after the last one.

    The values are columns of each log, and NaN where nothing was measured. In a run of many
    processes rank 0 measures, and the others wait for what it finds.

    Args:
        evaluator: what measures, in rank 0 alone.
        metrics: names in ``gankit.metrics.METRICS`` that the evaluator gives the values of.
        every: steps between two evaluations, a multiple of the trainer's ``log_every``.
    """

    def __init__(self, evaluator: Evaluator, metrics: Sequence[str], *, every: int) -> None:
        self.evaluator, self.every = evaluator, every
        self.measures = values_of(metrics)
        self.curves = tuple(
            Curves(metric.name, {name: value.label for name, value in metric.values.items()})
            for metric in metrics_named(metrics)
        )
        self._group: Any = None

    def on_start(self, trainer: Trainer) -> None:
        if self.every % trainer.log_every:
            raise ConfigError(
                f"every is {self.every}; allowed are multiples of log_every, {trainer.log_every}"
            )
        twice = [name for name, times in Counter(trainer.metric_names).items() if times > 1]
        if twice:
            raise ConfigError(
                f"evaluate gives {', '.join(twice)}, which this run has already; leave it out"
            )
        if world()[1] > 1:  # what training waits for is there sooner
            self._group = dist.new_group(timeout=_PATIENCE, backend="gloo")
        self._shared(trainer, prepare=True)

    def measure(self, trainer: Trainer) -> Mapping[str, float]:
        due = trainer.step % self.every == 0 or trainer.step == trainer.total_steps
        return self._shared(trainer) if due else {}

    def _shared(self, trainer: Trainer, *, prepare: bool = False) -> dict[str, float]:
        """What rank 0 measures, or raises, in every process."""
        outcome: list[Any] = [None]
        if world()[0] == 0:
            try:
                if prepare:
                    self.evaluator.prepare(trainer)
                else:
                    outcome[0] = dict(self.evaluator(trainer))
            except Exception as error:
                if self._group is None or not isinstance(error, GankitError):
                    raise  # torchrun ends the others
                outcome[0] = error
        if self._group is not None:
            dist.broadcast_object_list(outcome, src=0, group=self._group)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0] or {}

    def close(self) -> None:
        if self._group is not None and world()[1] > 1:
            dist.destroy_process_group(self._group)
        self._group = None
