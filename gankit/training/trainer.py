"""The training loop: batches, counters, callbacks, checkpoints."""

from __future__ import annotations

import copy
import logging
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gankit.data import Batch, BatchSampler, FieldData
from gankit.data.origin import Origin
from gankit.data.torch_data import MapData
from gankit.errors import CheckpointError, ConfigError, GankitError
from gankit.metrics.metric import Value
from gankit.scalars import plain
from gankit.training.arguments import whole
from gankit.training.batches import in_dtype
from gankit.training.callbacks import Callback
from gankit.training.checkpoint import rng_state, set_rng_state
from gankit.training.config import with_storage_apart
from gankit.training.distributed import broadcast_state, gathered, mean_over_processes, world
from gankit.training.entries import average_not_finite, check_entries, check_optimizer, named
from gankit.training.environment import BESIDE_TRAINING, differences, environment
from gankit.training.inputs import as_data, check_callbacks, check_fields, order_of
from gankit.training.modules import not_finite
from gankit.training.reports import Curves
from gankit.training.running import RunningMeans
from gankit.training.step import Step

_LOG = logging.getLogger(__name__)


class DivergedError(GankitError, ArithmeticError):
    """A loss or a weight became NaN or infinite."""


@dataclass(frozen=True)
class Metrics:
    """Means over the steps since the last log.

    ``values`` are those that the step reports and that callbacks measure, by name; they are
    attributes too, as ``metrics.d_loss``. One is NaN while the step has not computed it yet, as
    G's loss before its first update (n_critic > 1), and where it was not measured for this log.
    """

    step: int
    epoch: float
    images_per_second: float
    values: Mapping[str, float]

    def __getattr__(self, name: str) -> float:
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None


class Trainer:
    """Runs a ``Step`` over batches of ``data`` and calls ``callbacks`` on the way.

    Args:
        gan_step: the step to run, such as a ``GANStep``.
        data: a set on the device where the step's models are, with the fields that the step reads;
            or a tensor of images ``[N, C, H, W]``, uint8 or floats in [-1, 1], which then becomes
            such a set (floats at 256 levels); or a map-style ``Dataset`` or a ``DataLoader`` of
            torch (:mod:`gankit.data.torch_data`). They are given to the step in its networks'
            dtype.
        sampler: gives index tensors into ``data``. None with a ``DataLoader``, whose order is its
            own, so that a resumed run is not the one that was interrupted; a warning says so.
        callbacks: called in this order; see ``gankit.training.callbacks``.
        log_every: steps between two logs. The device is waited for only at a log.
        config: plain values that describe the run; kept in its checkpoints.
        schedulers: torch's learning rate schedulers over the step's optimizers, stepped after each
            step of training; their state is part of a checkpoint.

    ``step`` counts the steps done, also those before a resume. ``differences`` says in sentences,
    after a resume, what is not as it was when the checkpoint was written, and what that means.
    """

    def __init__(
        self,
        gan_step: Step,
        data: FieldData | Tensor | Dataset[Any] | DataLoader[Any],
        sampler: BatchSampler | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        log_every: int = 50,
        config: Mapping[str, Any] | None = None,
        schedulers: Sequence[torch.optim.lr_scheduler.LRScheduler] = (),
    ) -> None:
        if not isinstance(gan_step, Step):
            raise ConfigError(f"gan_step is a {type(gan_step).__name__}; allowed is a Step")
        data = as_data(data, gan_step.device, gan_step.fields)
        order = order_of(data, sampler)
        check_callbacks(tuple(callbacks))
        check_fields(data, gan_step.fields)
        self.gan_step = gan_step
        self.data = data
        self.schedulers = tuple(schedulers)
        self.sampler: Any = order  # of index tensors, or of a loader's own batches
        self.callbacks = tuple(callbacks)
        self.log_every = whole("log_every", log_every)
        self.config = dict(config or {})
        self.step = 0
        self.total_steps = 0
        self.differences: tuple[str, ...] = ()
        self._pending = RunningMeans(gan_step.metrics)
        self._images = 0
        self._seconds = 0.0

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of what a log reports, in order."""
        of_step = self.gan_step.summarize(dict.fromkeys(self.gan_step.metrics, math.nan))
        return (*of_step, *self.measures)

    @property
    def measures(self) -> dict[str, Value]:
        """What callbacks measure, by the names of a log."""
        return {name: value for each in self.callbacks for name, value in each.measures.items()}

    def curves(self) -> tuple[Curves, ...]:
        """The plots of the run: those of the step, and those of what callbacks measure."""
        measured = (plot for each in self.callbacks for plot in each.curves)
        return (*self.gan_step.curves(), *measured)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the data."""
        return self.sampler.steps_per_epoch

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return self.step // self.steps_per_epoch

    def fit(self, *, steps: int | None = None, epochs: int | None = None) -> None:
        """Train until ``steps`` steps or ``epochs`` epochs are done in all (earlier ones count).

        Raises DivergedError when a loss or weight is not finite: nothing is written after that, so
        the last checkpoint is a good one. OSError from a callback that cannot write ends the run.
        """
        if (steps is None) == (epochs is None):
            raise ConfigError("fit needs either steps or epochs, one of them")
        name, value = ("steps", steps) if steps is not None else ("epochs", epochs)
        value = whole(name, value)
        self.total_steps = value if steps is not None else value * self.steps_per_epoch
        if self.step >= self.total_steps:
            _LOG.warning(
                "nothing is trained: %d steps are done, and the run was to end at step %d",
                self.step,
                self.total_steps,
            )
        on_step = [c for c in self.callbacks if type(c).on_step is not Callback.on_step]
        with ExitStack() as closing:
            for callback in self.callbacks:
                closing.callback(callback.close)
            closing.callback(getattr(self.sampler, "close", lambda: None))
            for callback in self.callbacks:
                callback.on_start(self)
            while self.step < self.total_steps:
                self._train_one()
                self._after_step()
                for callback in on_step:  # last, so that a checkpoint follows the log of its step
                    callback.on_step(self)
            for callback in self.callbacks:
                callback.on_end(self)

    def check_finite(self) -> None:
        """Raise DivergedError if something that a run goes on from is NaN or infinite.

        That is a weight, running statistic or moving average of a network, a running value of the
        step, or an average of an optimizer. Waits for the device.
        """
        bad = self._not_finite()
        if bad is not None:
            raise DivergedError(self._diverged(bad))

    def _not_finite(self) -> str | None:
        step = self.gan_step
        averages = ((f"{name}'s moving average", module) for name, module in step.averages.items())
        for owner, module in (*step.networks.items(), *averages):
            name = not_finite(module)
            if name is not None:
                return f"{name} of {owner}"
        for name, value in step.running_values():
            if not bool(torch.isfinite(value).all()):
                return f"{name} of the step"
        for owner, optimizer in step.optimizers.items():
            name = average_not_finite(optimizer)
            if name is not None:
                return f"{name} of {owner}'s optimizer"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``load_state_dict`` needs to go on exactly (a checkpoint's content).

        In a run of many processes all must call it. Their buffers are then rank 0's, as those of a
        resumed run would be: batch norms that are not synchronised have statistics of their own.
        """
        step = self.gan_step
        if world()[1] > 1:
            broadcast_state(step, buffers_only=True)
        pending = self._pending.rows()
        own = [float(value) for row in pending.values() for value in row]
        shared = iter(mean_over_processes(own, self.data.device))
        random_states = gathered(rng_state())
        return {
            "gan_step": step.state_dict(),
            "optimizers": {name: plain(o.state_dict()) for name, o in step.optimizers.items()},
            "sampler": plain(self.sampler.state_dict()),
            "rng": random_states[0],
            "rng_of_others": random_states[1:],
            "step": self.step,
            "epoch": self.epoch,
            "config": plain(self.config),
            "pending": {
                k: torch.tensor([next(shared) for _ in v], dtype=torch.float64)
                for k, v in pending.items()
            },
            "generators": [generator.get_state() for generator in step.generators],
            "schedulers": [plain(scheduler.state_dict()) for scheduler in self.schedulers],
            "callbacks": {name: plain(c.state_dict()) for name, c in self._named_callbacks()},
            "environment": environment(self.data.device, world()[1]),
            # The files that the samples come from, where it knows them.
            "data": None if self._origin is None else self._origin.state_dict(),
        }

    @property
    def _origin(self) -> Origin | None:
        return getattr(self.data, "origin", None)

    def _named_callbacks(self) -> Iterator[tuple[str, Callback]]:
        seen: Counter[str] = Counter()
        for callback in self.callbacks:
            name = type(callback).__name__
            seen[name] += 1
            yield name if seen[name] == 1 else f"{name} {seen[name]}", callback

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run that ``state`` was taken from.

        Raises CheckpointError if it is damaged or does not fit the models or optimizers at hand;
        this trainer and the random generators are then as before.
        """
        before = copy.deepcopy(self.state_dict())
        groups = {name: _settings(o) for name, o in self.gan_step.optimizers.items()}
        try:
            check_entries(state)
            self._restore(state)
            self._check_restored(groups)
        except CheckpointError as error:
            self._restore(before)
            raise CheckpointError(f"the checkpoint does not fit this run: {error}") from error

    def _restore(self, state: Mapping[str, Any]) -> None:
        step = self.gan_step
        with named("gan_step"):
            step.load_state_dict(state["gan_step"])
        optimizers = state["optimizers"]
        if optimizers.keys() != step.optimizers.keys():
            raise CheckpointError(
                f"it has the optimizers {', '.join(optimizers)}, and here are "
                f"{', '.join(step.optimizers)}"
            )
        for name, optimizer in step.optimizers.items():
            with named(f"optimizers.{name}"):
                optimizer.load_state_dict(optimizers[name])
        kept, changed = state.get("data"), None
        if isinstance(kept, Mapping) and self._origin is not None:
            with named("data"):
                changed = self._origin.compare(kept, self.data.name)
        with named("sampler"):
            self.sampler.load_state_dict(state["sampler"])
        with named("pending"):
            self._pending.restore(state["pending"], step.device)
        self.step = state["step"]
        # A run may go on with a generator of its own where it had none.
        with named("generators"):
            for generator, value in zip(step.generators, state["generators"], strict=False):
                generator.set_state(value.cpu())
        schedules = state["schedulers"]
        if len(schedules) != len(self.schedulers):
            raise CheckpointError(
                f"it has {len(schedules)} schedules of learning rates, and here are "
                f"{len(self.schedulers)}"
            )
        for scheduler, schedule in zip(self.schedulers, schedules, strict=True):
            with named("schedulers"):
                scheduler.load_state_dict(schedule)
        for name, callback in self._named_callbacks():
            with named(f"callbacks.{name}"):
                callback.load_state_dict(state["callbacks"].get(name, {}))
        with named("rng"):
            self._restore_random(state)
        here = environment(self.data.device, world()[1])
        self.differences = (
            *_changed_settings(state["config"], self.config),
            *differences(state["environment"], here),
            *([] if changed is None else [changed]),
        )

    def _check_restored(self, groups: Mapping[str, list[dict[str, Any]]]) -> None:
        """Raise CheckpointError if torch took what training cannot go on from."""
        step = self.gan_step
        bad = self._not_finite()
        if bad is not None:
            raise CheckpointError(f"{bad} is NaN or infinite in it")
        for name, optimizer in step.optimizers.items():
            before, updates = groups[name], step.updates[name]
            check_optimizer(f"optimizers.{name}", optimizer, before, updates=updates)

    def _restore_random(self, state: Mapping[str, Any]) -> None:
        rank, size = world()
        others = state.get("rng_of_others", [])
        if rank == 0 or len(others) == size - 1:
            set_rng_state(state["rng"] if rank == 0 else others[rank - 1])
        else:  # a process that the run did not have draws numbers of its own
            set_rng_state(state["rng"])
            torch.manual_seed(int(torch.randint(2**62, ())) + rank)

    def _train_one(self) -> None:
        start = time.perf_counter()
        batch, n = self._next_batch()
        try:
            scalars = self.gan_step(batch)
        except RuntimeError:
            # Cross entropies refuse a probability that is NaN before any log can notice it.
            self.check_finite()
            raise
        for name in self.gan_step.reported:
            self._pending.add(name, scalars[name])
        for scheduler in self.schedulers:
            advance(scheduler)
        self.step += 1
        self._images += n * world()[1]
        self._seconds += time.perf_counter() - start

    def _next_batch(self) -> tuple[Any, int]:
        """What the step is given next, and of how many samples it is."""
        drawn: Any = next(self.sampler)
        if isinstance(drawn, dict):
            return self._for_the_step(drawn), len(next(iter(drawn.values())))
        if isinstance(self.data, MapData):
            return self.batch(drawn), len(drawn)
        indices = drawn.to(self.data.device, non_blocking=True)
        if self.data.device.type == "cuda":  # they are gathered as a part of the step's graph
            return Batch(self.data, indices), len(indices)
        return self.batch(indices), len(indices)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The fields that the step reads of the samples ``indices``, in its networks' dtype."""
        return self._for_the_step(self.data.batch(indices))

    def _for_the_step(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        read = {name: found[name] for name in self.gan_step.fields}
        return in_dtype(read, self.gan_step.dtype)

    def _after_step(self) -> None:
        last = self.step == self.total_steps
        if self.step % self.log_every == 0 or last:
            metrics = self._log()
            for callback in self.callbacks:
                callback.on_log(self, metrics)
        if self.step % self.steps_per_epoch == 0:
            for callback in self.callbacks:
                callback.on_epoch(self)

    def _log(self) -> Metrics:
        start = time.perf_counter()
        means = dict.fromkeys(self.gan_step.metrics, math.nan)
        own = self._pending.means()
        shared = mean_over_processes(list(own.values()), self.data.device)
        for name, mean in zip(own, shared, strict=True):
            if not math.isfinite(mean):
                raise DivergedError(self._diverged(name))
            means[name] = mean
        if self.step % self.log_every == 0:  # else a longer run counts them again
            self._pending.clear()
        self._seconds += time.perf_counter() - start
        rate = self._images / self._seconds if self._seconds > 0 else 0.0
        self._images, self._seconds = 0, 0.0
        epoch = self.step / self.steps_per_epoch
        values = {**self.gan_step.summarize(means), **dict.fromkeys(self.measures, math.nan)}
        for callback in self.callbacks:
            values.update(callback.measure(self))
        return Metrics(self.step, epoch, rate, values)

    def _diverged(self, what: str) -> str:
        return (
            f"training stopped at step {self.step}: {what} is not finite; try a smaller learning "
            "rate"
        )


def _changed_settings(before: Any, now: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each setting of the description that differs."""
    if not isinstance(before, dict):
        return
    old, new = before, dict(now)
    if isinstance(old.get("run"), dict) and isinstance(new.get("run"), dict):
        old, new = with_storage_apart(old["run"]), with_storage_apart(new["run"])
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name] and name not in BESIDE_TRAINING:
            yield (
                f"The setting {name} was {old[name]!r} and is {new[name]!r} from here on: the "
                "run is no longer one that its settings repeat."
            )


def advance(scheduler: torch.optim.lr_scheduler.LRScheduler) -> None:
    """One step of ``scheduler``. Raises ConfigError if it cannot go on."""
    try:
        with warnings.catch_warnings():
            # G's first turn may come steps later (n_critic > 1): no mistake in the order of calls.
            warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before")
            scheduler.step()
    except Exception as error:  # OneCycleLR, for one, ends, and a checkpoint may hold anything
        name, what = type(scheduler).__name__, str(error)
        what += f" ({type(error).__name__})" if isinstance(error, LookupError) else ""
        raise ConfigError(f"the schedule {name} cannot go on: {what}") from error


def _settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What each group of ``optimizer`` has beside its parameters."""
    return [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
