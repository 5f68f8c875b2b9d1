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

from gankit.data import Batch, BatchSampler, ImageData
from gankit.data.labelled import check_all_labelled
from gankit.errors import CheckpointError, ConfigError, GankitError
from gankit.scalars import plain
from gankit.training.arguments import whole
from gankit.training.autoencoder_step import AutoencoderStep
from gankit.training.callbacks import Callback
from gankit.training.checkpoint import rng_state, set_rng_state
from gankit.training.distributed import broadcast_state, gathered, mean_over_processes, world
from gankit.training.entries import average_not_finite, check_entries, check_optimizer, named
from gankit.training.environment import BESIDE_TRAINING, differences, environment
from gankit.training.inputs import as_images, check_callbacks, check_sampler
from gankit.training.modules import not_finite
from gankit.training.running import RunningMeans
from gankit.training.step import KEYS, GANStep
from gankit.training.weights import load_weights

_LOG = logging.getLogger(__name__)


class DivergedError(GankitError, ArithmeticError):
    """A loss or a weight became NaN or infinite."""


@dataclass(frozen=True)
class Metrics:
    """Means over the steps since the last log.

    ``g_loss`` is NaN while G has not had its first turn (n_critic > 1). ``d_real`` and ``d_fake``
    are D's mean probabilities, or a critic's mean scores.
    """

    step: int
    epoch: float
    d_loss: float
    g_loss: float
    d_real: float
    d_fake: float
    images_per_second: float

    @property
    def critic_distance(self) -> float:
        """``d_real - d_fake``: for a Wasserstein critic its estimate of the distance between the
        images, the curve that says when to stop (Arjovsky et al., 2017, arXiv 1701.07875)."""
        return self.d_real - self.d_fake


class Trainer:
    """Runs a ``GANStep`` over batches of ``data`` and calls ``callbacks`` on the way.

    Args:
        gan_step: the step to run.
        data: images on the device where the step's models are, or a tensor ``[N, C, H, W]``, uint8
            or floats in [-1, 1], which then becomes such a set (floats at 256 levels). They are
            given to the step in its networks' dtype.
        sampler: gives index tensors into ``data``.
        callbacks: called in this order; see ``gankit.training.callbacks``.
        log_every: steps between two logs. The device is waited for only at a log.
        config: plain values that describe the run; kept in its checkpoints.
        conditional: give the step the labels of each batch too.
        schedulers: torch's learning rate schedulers over the step's optimizers, stepped after each
            step of training; their state is part of a checkpoint.

    ``step`` counts the steps done, also those before a resume. ``differences`` says in sentences,
    after a resume, what is not as it was when the checkpoint was written, and what that means.
    """

    def __init__(
        self,
        gan_step: GANStep | AutoencoderStep,
        data: ImageData | Tensor,
        sampler: BatchSampler,
        *,
        callbacks: Sequence[Callback] = (),
        log_every: int = 50,
        config: Mapping[str, Any] | None = None,
        conditional: bool = False,
        schedulers: Sequence[torch.optim.lr_scheduler.LRScheduler] = (),
    ) -> None:
        if not isinstance(gan_step, (GANStep, AutoencoderStep)):
            raise ConfigError(
                f"gan_step is a {type(gan_step).__name__}; allowed are a GANStep and an "
                "AutoencoderStep"
            )
        like = next(gan_step.D.parameters())
        data = as_images(data, like)
        check_sampler(sampler, len(data))
        check_callbacks(tuple(callbacks))
        if conditional and data.labels is None:
            raise ConfigError(f"{data.name} has no labels; a conditional run needs them")
        if conditional:
            check_all_labelled(data)
        self.gan_step = gan_step
        self.data = data
        self.conditional = conditional
        self.schedulers = tuple(schedulers)
        self.sampler = sampler
        self.callbacks = tuple(callbacks)
        self.log_every = whole("log_every", log_every)
        self.config = dict(config or {})
        self.step = 0
        self.total_steps = 0
        self.differences: tuple[str, ...] = ()
        self._pending = RunningMeans(KEYS)
        self._images = 0
        self._seconds = 0.0
        self._dtype = like.dtype

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

        That is a weight or running statistic of G or D, or an average of their optimizers. Waits
        for the device.
        """
        bad = self._not_finite()
        if bad is not None:
            raise DivergedError(self._diverged(bad))

    def _not_finite(self) -> str | None:
        step = self.gan_step
        networks = [("G", step.G), ("D", step.D)]
        if step.ema is not None:
            networks.append(("G's moving average", step.ema))
        for owner, module in networks:
            name = not_finite(module)
            if name is not None:
                return f"{name} of {owner}"
        for owner, optimizer in (("G", step.g_optimizer), ("D", step.d_optimizer)):
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
            broadcast_state(step.G, step.D, buffers_only=True)
        pending = self._pending.rows()
        own = [float(value) for row in pending.values() for value in row]
        shared = iter(mean_over_processes(own, self.data.device))
        random_states = gathered(rng_state())
        return {
            "generator": step.G.state_dict(),
            "discriminator": step.D.state_dict(),
            "g_optimizer": plain(step.g_optimizer.state_dict()),
            "d_optimizer": plain(step.d_optimizer.state_dict()),
            "gan_step": step.state_dict(),
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
            "noise": None if self._own_noise is None else self._own_noise.get_state(),
            "schedulers": [plain(scheduler.state_dict()) for scheduler in self.schedulers],
            "callbacks": {name: plain(c.state_dict()) for name, c in self._named_callbacks()},
            "environment": environment(self.data.device, world()[1]),
        }

    def _named_callbacks(self) -> Iterator[tuple[str, Callback]]:
        seen: Counter[str] = Counter()
        for callback in self.callbacks:
            name = type(callback).__name__
            seen[name] += 1
            yield name if seen[name] == 1 else f"{name} {seen[name]}", callback

    @property
    def _own_noise(self) -> torch.Generator | None:
        """The generator of the noise where it does not follow torch's."""
        found = getattr(self.gan_step.noise, "generator", None)
        return found if isinstance(found, torch.Generator) else None

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run that ``state`` was taken from.

        Raises CheckpointError if it is damaged or does not fit the models or optimizers at hand;
        this trainer and the random generators are then as before.
        """
        before = copy.deepcopy(self.state_dict())
        optimizers = self.gan_step.g_optimizer, self.gan_step.d_optimizer
        groups = [_settings(optimizer) for optimizer in optimizers]
        try:
            check_entries(state)
            self._restore(state)
            self._check_restored(*groups)
        except CheckpointError as error:
            self._restore(before)
            raise CheckpointError(f"the checkpoint does not fit this run: {error}") from error

    def _restore(self, state: Mapping[str, Any]) -> None:
        step = self.gan_step
        with named("generator"):
            load_weights(step.G, state["generator"])
        with named("discriminator"):
            load_weights(step.D, state["discriminator"])
        with named("g_optimizer"):
            step.g_optimizer.load_state_dict(state["g_optimizer"])
        with named("d_optimizer"):
            step.d_optimizer.load_state_dict(state["d_optimizer"])
        with named("gan_step"):
            step.load_state_dict(state["gan_step"])
        with named("sampler"):
            self.sampler.load_state_dict(state["sampler"])
        with named("pending"):
            self._pending.restore(state["pending"], next(step.D.parameters()).device)
        self.step = state["step"]
        if self._own_noise is not None and state["noise"] is not None:
            with named("noise"):
                self._own_noise.set_state(state["noise"].cpu())
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
        )

    def _check_restored(
        self, g_groups: list[dict[str, Any]], d_groups: list[dict[str, Any]]
    ) -> None:
        """Raise CheckpointError if torch took what training cannot go on from."""
        step = self.gan_step
        bad = self._not_finite()
        if bad is not None:
            raise CheckpointError(f"{bad} is NaN or infinite in it")
        turns = step.calls // step.n_critic
        check_optimizer("g_optimizer", step.g_optimizer, g_groups, turns=turns)
        check_optimizer("d_optimizer", step.d_optimizer, d_groups, turns=step.calls)

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
        indices = next(self.sampler).to(self.data.device, non_blocking=True)
        # On CUDA the images are gathered as a part of the step's graph.
        in_step = self.data.device.type == "cuda" and isinstance(self.gan_step, GANStep)
        real: Any = Batch(self.data, indices)
        if not in_step:
            real = self.data.gather(indices).to(self._dtype)
        labels = (self.data.gather_labels(indices),) if self.conditional else ()
        try:
            scalars = self.gan_step(real, *labels)
        except RuntimeError:
            # Cross entropies refuse a probability that is NaN before any log can notice it.
            self.check_finite()
            raise
        for key in KEYS:
            # Before G's first turn its loss does not exist, and its NaN means no harm.
            if key in scalars and (
                key != "g_loss" or self.gan_step.calls >= self.gan_step.n_critic
            ):
                self._pending.add(key, scalars[key])
        for scheduler in self.schedulers:
            advance(scheduler)
        self.step += 1
        self._images += len(indices) * world()[1]
        self._seconds += time.perf_counter() - start

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
        means = dict.fromkeys(KEYS, math.nan)
        own = self._pending.means()
        shared = mean_over_processes(list(own.values()), self.data.device)
        for key, mean in zip(own, shared, strict=True):
            if not math.isfinite(mean):
                raise DivergedError(self._diverged(key))
            means[key] = mean
        if self.step % self.log_every == 0:  # else a longer run counts them again
            self._pending.clear()
        self._seconds += time.perf_counter() - start
        rate = self._images / self._seconds if self._seconds > 0 else 0.0
        self._images, self._seconds = 0, 0.0
        epoch = self.step / self.steps_per_epoch
        return Metrics(step=self.step, epoch=epoch, images_per_second=rate, **means)

    def _diverged(self, what: str) -> str:
        return (
            f"training stopped at step {self.step}: {what} is not finite; try a smaller learning "
            "rate"
        )


def _changed_settings(before: Any, now: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each setting of the description that differs."""
    if not isinstance(before, dict):
        return
    pairs = [(before, now)]
    if isinstance(before.get("run"), dict) and isinstance(now.get("run"), dict):
        pairs = [(before["run"], now["run"])]
    for old, new in pairs:
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
