"""The race of a recipe's step: gankit's networks beside the same networks of torch's own layers.

All contenders run the step of the recipe, so phases, losses and what is frozen when are the same.
They differ in the layers, the backend of the ops, and the optimizer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import gankit
from gankit.bench.races import Call, Contender, Race, Role
from gankit.bench.twin import Fused, make_plain
from gankit.data import FieldData
from gankit.runs.build import build_step, load_data, pick_device, seed_all
from gankit.runs.parts import ConfiguredParts
from gankit.runs.steps import check_knobs, step_class
from gankit.training.batches import in_dtype
from gankit.training.config import RunConfig
from gankit.training.inputs import check_fields
from gankit.training.phases import Batch
from gankit.training.step import Step

BATCHES = 4  # as many different ones take turns
# Of the first metrics, between contenders: other orders of sums, and torch's spectral norm,
# which moves its vectors once before the forward.
TOLERANCE = 0.05


class PlainParts(ConfiguredParts):
    """The parts of a run without gankit: torch's layers, and its Adam as it is by default.

    ``fused`` says how many layers gankit's ops would have run.
    """

    tuned = False

    def __init__(self, config: RunConfig, data: FieldData) -> None:
        super().__init__(config, data)
        self.fused = Fused()

    def _network(self, *arguments: Any) -> nn.Module:
        network = super()._network(*arguments)
        found = make_plain(network)
        self.fused.layers += found.layers
        self.fused.fused += found.fused
        self.fused.kinds += found.kinds
        return network

    def optimizer(
        self, *modules: nn.Module, lr: float | None = None, weight_decay: float = 0.0
    ) -> torch.optim.Optimizer:
        config = self.config
        if self.tuned or config.optimizer != "adam":
            return super().optimizer(*modules, lr=lr, weight_decay=weight_decay)
        return torch.optim.Adam(
            [p for module in modules for p in module.parameters()],
            config.lr if lr is None else lr,
            (config.betas[0], config.betas[1]),
            config.eps,
            weight_decay,
        )


class TunedParts(PlainParts):
    """The same with the fused Adam."""

    tuned = True


class RecipeRace:
    """Makes the race of one recipe.

    Args:
        config: the settings of the run; its data is loaded at once.
        seconds: for each contender.

    ``fused`` says which layers gankit's ops run. Raises ConfigError or DataError for settings that
    do not fit.
    """

    def __init__(self, config: RunConfig, seconds: float) -> None:
        self.config, self.seconds = config, seconds
        self.kind = step_class(config.step)
        check_knobs(self.kind, config.knobs)
        self.device = pick_device(config.device)
        seed_all(config.seed)
        self.data = load_data(config, self.device)
        order = torch.Generator().manual_seed(config.seed)
        sampler = self.data.sampler(
            config.batch_size, generator=order, replacement=config.replacement
        )
        self.indices = list(itertools.islice(sampler, BATCHES))
        parts = PlainParts(config, self.data)
        step = self._step(parts)
        check_fields(self.data, step.fields)
        self.calls = period(step)
        self.fused = parts.fused
        self._first: dict[str, float] | None = None

    def race(self) -> Race:
        """The contenders, gankit the last."""
        contenders = (
            self._contender("plain eager", "plain", PlainParts, context=_without),
            self._contender("tuned eager", "peer", TunedParts, context=_without),
            self._contender("torch.compile", "peer", TunedParts, context=_without, compiled=True),
            self._contender("gankit", "gankit", ConfiguredParts),
        )
        what = "step" if self.calls == 1 else f"{self.calls} steps"
        group = f"{self.config.recipe} {what}, batch {self.config.batch_size}"
        if self.config.precision != "fp32":
            group += f", {self.config.precision}"
        return Race(group, contenders, self.device, self.seconds)

    def _contender(
        self,
        name: str,
        role: Role,
        parts: type[ConfiguredParts],
        *,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        compiled: bool = False,
    ) -> Contender:
        def build() -> Call:
            step = self._step(parts(self.config, self.data))
            if compiled:
                for network in step.networks.values():
                    network.compile(dynamic=False)
            batches = [in_dtype(self._batch(some, step), step.dtype) for some in self.indices]
            seed_all(self.config.seed)
            self._check(step, batches[0])
            following = itertools.cycle(batches)
            return lambda: [step(next(following)) for _ in range(self.calls)]

        info = {"images": self.calls * self.config.batch_size}
        return Contender(name, role, build, context, info)

    def _step(self, parts: ConfiguredParts) -> Step:
        seed_all(self.config.seed)
        return build_step(self.kind, parts)

    def _batch(self, some: Tensor, step: Step) -> Batch:
        batch = self.data.batch(some)
        return {name: batch[name] for name in step.fields}

    def _check(self, step: Step, batch: Batch) -> None:
        """Raise AssertionError unless the first updates report what the first contender's did.

        Of each metric its first value counts. Dropout draws its masks otherwise with and without
        gankit, so with it numbers must be finite alone.
        """
        found: dict[str, float] = {}
        for _ in range(self.calls):
            reported = step(batch)
            for name in step.reported - found.keys():
                found[name] = float(reported[name])
        self._first = self._first or found
        for name, value in found.items():
            other = self._first[name]
            assert math.isfinite(value), f"{name} is {value}"
            if not _has_dropout(step):
                assert abs(value - other) <= TOLERANCE * max(1.0, abs(other)), (name, value, other)


def period(step: Step) -> int:
    """After how many calls the phases of ``step`` begin again; 1 if that is not within 32.

    A critic's five updates and then one of G make five calls, which are timed as one.
    """
    phases = [step.schedule(call) for call in range(1, 65)]
    return next((n for n in range(1, 33) if phases[:32] == phases[n : n + 32]), 1)


def _without() -> AbstractContextManager[Any]:
    """Ops that are called outside of layers, as by losses, run by their definition."""
    return gankit.backend("reference")


def _has_dropout(step: Step) -> bool:
    layers = (layer for network in step.networks.values() for layer in network.modules())
    return any(float(getattr(layer, "p", 0) or 0) > 0 for layer in layers)
