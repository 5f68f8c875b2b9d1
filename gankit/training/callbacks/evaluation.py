"""Metrics of the samples while the run goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from gankit.errors import ConfigError
from gankit.metrics.registry import metrics_named, values_of
from gankit.training.callbacks.base import Callback
from gankit.training.reports import Curves
from gankit.training.shared_work import Share

if TYPE_CHECKING:
    from gankit.training.trainer import Trainer

# A process waits so long for the others, of which rank 0 computes the metrics.
_PATIENCE = timedelta(hours=2)


class Evaluator(Protocol):
    """What measures the samples of a run; it leaves all random states and networks as they are.

    Both are called in every process of the run, which ``share`` divides the work among.
    """

    def prepare(self, trainer: Trainer, share: Share) -> None:
        """Called before the first step. Raises GankitError if the run cannot be evaluated so."""

    def __call__(self, trainer: Trainer, share: Share) -> Mapping[str, float]:
        """The values of all metrics, the same in every process."""


class Evaluate(Callback):
    """Measure the samples every ``every`` steps and after the last one.

    The values are columns of each log, and NaN where nothing was measured.

    Args:
        evaluator: what measures, in all processes of a run together.
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
        self._share: Share | None = None

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
        self._share = Share(_PATIENCE)
        self.evaluator.prepare(trainer, self._share)

    def measure(self, trainer: Trainer) -> Mapping[str, float]:
        if trainer.step % self.every and trainer.step != trainer.total_steps:
            return {}
        assert self._share is not None  # of on_start
        return dict(self.evaluator(trainer, self._share))

    def close(self) -> None:
        if self._share is not None:
            self._share.close()
        self._share = None
