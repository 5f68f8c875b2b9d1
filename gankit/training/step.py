"""What one kind of GAN computes: named networks, named optimizers, and phases.

A family (a GAN, an autoencoder, CycleGAN) says *what* is computed, as a subclass of ``Step``;
:mod:`gankit.training.phases` says *how*: zeroing, freezing, micro-batches, backward, updates,
moving averages, for all of them. So none of that stands in a family.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gankit.data import Batch as Resident
from gankit.errors import CheckpointError, ConfigError, shortened
from gankit.nn import spectral_layers
from gankit.scalars import is_integer
from gankit.training.arguments import Auto, auto, whole
from gankit.training.augmentation import Augmentation, Augmenting, check_augments
from gankit.training.average import Average
from gankit.training.batches import check_batch, check_source, in_dtype
from gankit.training.graph import graphs_for, make_eager
from gankit.training.modules import check_tensor, take_channels_last
from gankit.training.noise import Distribution
from gankit.training.optimizers import check_optimizers, match_layout
from gankit.training.phases import Batch, Phase, Scalars, dry_gradients, run_phases, split
from gankit.training.reports import Curves, Panel
from gankit.training.weights import load_weights, weights_under

if TYPE_CHECKING:
    from gankit.training.parts import Parts

Precision = Literal["fp32", "bf16"]
_PLAIN = frozenset({"stage", "phases", "calls", "_shapes_differ"})


class Step(Augmenting, nn.Module, ABC):
    """One training step: call it with a batch, a dict of tensors with one first dimension.

    A subclass gives its networks and optimizers to this constructor, declares ``fields`` and
    ``metrics``, and defines ``schedule`` and ``phase_loss``; the other hooks have defaults. What it
    remembers between calls it registers as buffers: ``state_dict`` is all there is to save.

    Args:
        networks: by name; they become submodules of that name.
        optimizers: by name; each holds parameters of the networks.
        averaged: networks of which ``ema`` keeps a moving average, each with the optimizer after
            whose updates it is taken.
        generators: random generators that the step draws from beside torch's default one.
        precision: "fp32" leaves the models' dtype alone; "bf16" runs each forward in its own
            autocast block and hands its result over in float32.
        accumulate: gradient accumulation: each phase works through the batch in that many equal
            micro-batches before its one update. What looks at a batch as a whole (batch norm) then
            looks at a micro-batch.
        ema: decay of the moving averages, in [0, 1), or None.
        channels_last: keep 4-d weights and images channels last; "auto" where that is faster
            (:func:`gankit.training.modules.take_channels_last`).
        cuda_graph: "auto" replays the step as CUDA graphs where the networks are on CUDA.
        augment: transforms what discriminators are shown, such as ``DiffAugment()`` or ``ADA()``.

    Raises ConfigError for arguments outside what is said here.

    Attributes: ``fields``, what it reads of a batch; ``metrics``, the names of the scalars that a
    call returns, each with its label; ``calls``, how many calls were made.
    """

    fields: tuple[str, ...] = ("image",)
    metrics: Mapping[str, str]
    # Kinds of data, by the name in front of a colon, that a run reads as another kind.
    data_kinds: ClassVar[Mapping[str, str]] = {}
    # Why the step cannot be a CUDA graph; empty where it can.
    eager_reason: ClassVar[str] = ""
    # Why a batch cannot be cut into micro-batches; empty where it can.
    whole_batch: ClassVar[str] = ""
    # Arguments of the constructor that `from_parts` gives itself, beside those without a default.
    supplied: ClassVar[tuple[str, ...]] = ()
    # What z is drawn from to sample the network of `inference`; None where it is not given noise.
    z_distribution: Distribution | None = None
    # D's output on points, drawn as a curve beside their densities.
    answer: Callable[[Tensor], Tensor] | None = None
    # What errors call a field, where that is not its name.
    _words: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        *,
        averaged: Mapping[str, str] | None = None,
        generators: Sequence[torch.Generator] = (),
        precision: Precision = "fp32",
        accumulate: int = 1,
        ema: float | None = None,
        channels_last: Auto = "auto",
        cuda_graph: Auto = "auto",
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__()
        check_augments(augment, type(self))
        check_optimizers(optimizers, networks)
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision is {precision!r}; allowed are 'fp32' and 'bf16'")
        self.accumulate = whole("accumulate", accumulate)
        if self.accumulate > 1 and self.whole_batch:
            raise ConfigError(f"accumulate is {accumulate}; allowed is 1: {self.whole_batch}")
        self.precision = precision
        self.generators = tuple(generators)
        for name, network in networks.items():
            self.add_module(name, network)
        self.networks: dict[str, nn.Module] = dict(networks)
        self.optimizers: dict[str, torch.optim.Optimizer] = dict(optimizers)
        self.calls = 0
        self.updates = dict.fromkeys(self.optimizers, 0)  # that each optimizer has made
        self.phases: tuple[str, ...] = ()  # of the present call
        self.stage = "the step"  # what is being computed, for the words of a dry run
        self._latest: dict[str, Tensor] = {}
        every = (p for network in networks.values() for p in network.parameters())
        self.trainable: list[Tensor] = list(dict.fromkeys(every))
        like = self.trainable[0]
        self.device, self.dtype = like.device, like.dtype
        layers = spectral_layers(*networks.values())
        # What two optimizers hold moves after the updates of both.
        self.spectral = {
            name: [layer for layer in layers if any(layer.weight is p for p in _held(optimizer))]
            for name, optimizer in self.optimizers.items()
        }
        self._nan = torch.full((), float("nan"), device=self.device)
        self.augmentation = None if augment is None else augment.to(self.device)
        if augment is not None:
            self.metrics = {**self.metrics, **augment.metrics}
        memory_format = auto("channels_last", channels_last)
        self.channels_last = take_channels_last(memory_format, precision, *networks.values())
        self._averages = {
            name: (optimizer, Average(networks[name], ema))
            for name, optimizer in (averaged or {}).items()
            if ema is not None
        }
        self.averages = nn.ModuleDict(
            {name: average.module for name, (_, average) in self._averages.items()}
        )
        for optimizer in self.optimizers.values():
            match_layout(optimizer)
            optimizer.register_load_state_dict_post_hook(_after_loading)
        self._graphs = graphs_for(
            auto("cuda_graph", cuda_graph),
            (self,),
            tuple(self.optimizers.values()),
            self.generators,
            reason=self.eager_reason,
        )

    # --- what a family defines ----------------------------------------------------------------

    @classmethod
    def from_parts(cls, parts: Parts, *_: Any, **knobs: Any) -> Step:
        """The step of a run: networks and optimizers from ``parts``, the rest from its settings.

        ``knobs`` are the ``init_args`` of the setting ``step``. A run may give the keyword
        parameters of this method and, if it takes ``**knobs``, those parameters of the constructor
        that have a default and are not ``supplied``.
        """
        raise ConfigError(
            f"{cls.__name__} cannot be built from settings: it defines no from_parts(parts, ...)"
        )

    @abstractmethod
    def schedule(self, call: int) -> tuple[Phase, ...]:
        """The updates of the ``call``-th call (the first is 1), in order."""

    @abstractmethod
    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        """The loss of a phase on one micro-batch, and what is reported of it, detached.

        Parameters that the phase's optimizer does not hold are frozen. ``batch`` has what ``draw``
        gave for the phase and what ``prepare`` and earlier phases of the call left in it.
        """

    def draw(self, phase: str, n: int) -> Batch:
        """Random inputs ``[n, ...]`` of a phase, or of "prepare", drawn for a whole batch.

        They are then cut into micro-batches, so that their number does not change them.
        """
        return {}

    def prepare(self, batch: Batch) -> None:
        """Put what several phases share into ``batch``, a micro-batch; nothing is frozen yet."""

    def after_update(self, phase: str) -> None:
        """Called after the optimizer's step of a phase, such as to clamp weights."""

    def all_phases(self) -> tuple[Phase, ...]:
        """Each phase that training has, as a dry run takes them."""
        return self.schedule(1)

    def check_outputs(self, batch: Batch) -> None:
        """Raise ConfigError, in a dry run, if a network's output cannot be trained with."""

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """What a log reports, given the means of the metrics since the last one."""
        return means

    def curves(self) -> tuple[Curves, ...]:
        """The plots of a run; by default one of all metrics."""
        return (Curves("metrics", self.metrics),)

    @abstractmethod
    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        """What a sample grid draws of ``batch``, decided by ``seed`` alone, on the CPU."""

    def inference(self) -> nn.Module:
        """The network that a finished run is used as; a moving average where there is one."""
        return self.get_submodule(next(iter(self.inference_keys.values())))

    @property
    def inference_keys(self) -> dict[str, str]:
        """Where the weights of a finished run stand in ``state_dict``, by what they are used for.

        By default those of the first network, under its own name.
        """
        name = next(iter(self.networks))
        return {name: self.key_of(name)}

    @property
    def interface(self) -> dict[str, Any]:
        """What a checkpoint says of how a finished run is used, beside networks: plain values."""
        return {}

    # --- what a family uses -------------------------------------------------------------------

    def run(self, network: Callable[..., Any], *inputs: Tensor) -> Any:
        """``network(*inputs)`` under the step's precision; tensors come back in float32 at least.

        ``network`` is one of the step's, or a method of one.

        One autocast block per forward: autocast caches the bf16 weights until its block ends, and a
        block around two phases would go on using the weights of before the first update.
        """
        name = self._name_of(network)
        self.stage = f"the forward of {name}"
        if self.precision == "fp32":
            out = network(*inputs)
        else:
            # A graph must cast the weights again in each replay.
            fresh = self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
            with torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=not fresh):
                out = _upcast(network(*inputs))
        self.stage = f"{type(self).__name__}, after the forward of {name},"
        return out

    def run_tensor(self, network: Callable[..., Any], *inputs: Tensor) -> Tensor:
        """``run`` of a network that returns a tensor. Raises ConfigError if it does not."""
        return check_tensor(self._name_of(network), self.run(network, *inputs))

    def key_of(self, name: str) -> str:
        """Where ``average_of`` the network ``name`` stands in ``state_dict``."""
        return f"averages.{name}" if name in self.averages else name

    def average_of(self, name: str) -> nn.Module:
        """The moving average of the network ``name`` where there is one, else the network."""
        return self.get_submodule(self.key_of(name))

    def moving_averages(self) -> Iterator[tuple[str, Average]]:
        """The averages that are kept, each with the optimizer after whose updates it is taken."""
        yield from self._averages.values()

    def loss_words(self, phase: str) -> str:
        """What errors call the loss of ``phase``."""
        return f"the loss of phase {phase!r}"

    def train(self, mode: bool = True) -> Step:
        """Training or eval mode of the networks; moving averages stay in eval mode."""
        super().train(mode)
        self.averages.eval()
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        # A call sets these a dozen times, and nn.Module's own way asks what each value is.
        if name in _PLAIN:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def _name_of(self, network: Callable[..., Any]) -> str:
        owner = network if isinstance(network, nn.Module) else getattr(network, "__self__", None)
        for name, own in self.networks.items():
            if own is owner:
                return name
        return "a network"

    def running_values(self) -> Iterator[tuple[str, Tensor]]:
        """The floating-point buffers that a checkpoint keeps beside networks and averages."""
        for name, value in self.state_dict().items():
            beside = name.split(".")[0] not in (*self.networks, "averages")
            if beside and isinstance(value, Tensor) and value.is_floating_point():
                yield name, value

    # --- calls --------------------------------------------------------------------------------

    def forward(self, batch: Batch | Resident | Tensor, extra: Batch | None = None) -> Scalars:
        """Train on one batch: ``fields`` of tensors ``[N, ...]``, or a ``gankit.data.Batch``.

        The latter names samples of a set on the device, which are gathered inside the CUDA graph. A
        tensor alone is the first of the fields.
        Returns detached 0-d tensors, one for each of ``metrics``, without synchronizing with the
        device; NaN for what no call has computed yet, and the latest value of what this one did
        not. ``extra`` are further fields.
        """
        source, given = self._checked(batch, extra)
        calls = self.calls + 1
        phases = self.schedule(calls)
        self._latest.update(self._graphs(phases, self._train, source, given))
        self.calls = calls
        for phase in phases:
            self.updates[phase.optimizer] += 1
        return {name: self._latest.get(name, self._nan) for name in self.metrics}

    @property
    def reported(self) -> frozenset[str]:
        """The metrics that some call has computed."""
        return frozenset(self._latest)

    def dry_run(self, batch: Batch | Resident | Tensor, extra: Batch | None = None) -> None:
        """All phases up to their gradients without learning, as a check before a long run.

        Nothing changes: not the weights, gradients, buffers and modes of the networks, not torch's,
        Python's or NumPy's random state.

        Raises ConfigError if something of it raises, or if what a network returns cannot be trained
        with.
        """
        source, given = self._checked(batch, extra)
        dry_gradients(self, self.all_phases(), lambda: self.parts(source, given))

    def _train(self, phases: Sequence[Phase], source: Any, given: Batch) -> Scalars:
        return run_phases(self, phases, self.parts(source, given))

    def _checked(self, batch: Any, extra: Batch | None) -> tuple[Any, Batch]:
        """The set and indices into it, or no set and the tensors themselves."""
        source, extra = None, extra or {}
        if isinstance(batch, Resident):
            source, given = batch.data, {"indices": batch.indices, **extra}
            check_source(batch, self.device)
        else:
            if not isinstance(batch, dict):
                batch = {self.fields[0]: batch}
            # A set may have more than the step reads.
            batch = {**batch, **extra}
            known = {k: v for k, v in batch.items() if k in self.fields or k in extra}
            given = self._check_fields(known or batch)
        n = len(next(iter(given.values())))
        if n % self.accumulate:
            raise ConfigError(
                f"accumulate is {self.accumulate}, which does not divide the {n} samples of a batch"
            )
        return source, given

    def _check_fields(self, batch: Any) -> Batch:
        # Under autocast halves of float32 networks are at home.
        halves = (torch.bfloat16, torch.float16) if self.precision == "bf16" else ()
        return check_batch(
            batch, self.fields, self.device, (self.dtype, *halves), words=self._words
        )

    def parts(self, source: Any, given: Batch) -> list[Batch]:
        """The micro-batches of a batch, in the networks' dtype and memory format."""
        if source is not None:
            gathered = self._gather(source, given["indices"])
            extra = {name: value for name, value in given.items() if name != "indices"}
            given = self._check_fields(in_dtype({**gathered, **extra}, self.dtype))
        batch = {
            name: value.contiguous(memory_format=torch.channels_last)
            if self.channels_last and value.ndim == 4
            else value
            for name, value in given.items()
        }
        return split(batch, self.accumulate)

    def _gather(self, source: Any, indices: Tensor) -> Batch:
        if not callable(getattr(source, "batch", None)):  # a set of images alone
            return {"image": source.gather(indices)}
        gathered: Batch = source.batch(indices)
        return {name: gathered[name] for name in self.fields if name in gathered}

    # --- notes and state ----------------------------------------------------------------------

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided and why, one sentence each."""
        notes = [self._graphs.note]
        if self.channels_last:
            notes.append("Images and 4-d weights are channels last.")
        if self.augmentation is not None:
            notes.append(self.augmentation.note)
        if self.accumulate > 1:
            notes.append(f"Gradients add up over {self.accumulate} equal parts of each batch.")
        return tuple(notes)

    def __repr__(self) -> str:
        networks = ", ".join(f"{name}={type(n).__name__}" for name, n in self.networks.items())
        return "\n  ".join([f"{type(self).__name__}({networks}, calls={self.calls})", *self.notes])

    def get_extra_state(self) -> dict[str, Any]:
        """What ``state_dict`` keeps beside weights and buffers."""
        return {
            "calls": self.calls,
            "updates": dict(self.updates),
            "latest": dict(self._latest),
        }

    def set_extra_state(self, state: Any) -> None:
        """Go on from what ``get_extra_state`` gave."""
        calls, updates, latest = state["calls"], state["updates"], state["latest"]
        for count in (calls, *updates.values()):
            if not is_integer(count) or count < 0:
                raise CheckpointError(
                    f"the step's calls are {count!r}; allowed are integers from 0"
                )
        if updates.keys() != self.updates.keys():
            raise CheckpointError(
                f"the step's updates are those of {', '.join(updates)}, not of "
                f"{', '.join(self.updates)}"
            )
        for name, value in latest.items():
            number = isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()
            if name not in self.metrics or not number or not bool(torch.isfinite(value)):
                raise CheckpointError(
                    f"the step's {name} is {shortened(value)}; allowed is a finite 0-d tensor"
                )
        self.calls, self.updates = calls, dict(updates)
        self._latest = {name: value.to(self.device) for name, value in latest.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], *_: Any, **__: Any) -> Any:
        """Continue as if the calls recorded in ``state_dict`` had been made here.

        Networks may be compiled or wrapped on one side alone. Raises CheckpointError if it is not
        what ``state_dict`` gave, whatever torch raises for weights that do not fit.
        """
        kept = {name.split(".")[1] for name in state_dict if name.startswith("averages.")}
        if kept != set(self.averages):
            has = ", ".join(sorted(kept)) or "nothing"
            here = ", ".join(sorted(self.averages)) or "nothing"
            raise CheckpointError(
                f"the step's state has a moving average of {has}, and here is one of {here}"
            )
        for name, module in self.named_children():
            if module is not self.averages:
                load_weights(module, weights_under(state_dict, name))
        for network, kept_average in self._averages.items():
            kept_average[1].load_state_dict(weights_under(state_dict, f"averages.{network}"))
        own: dict[str, Tensor | None] = {
            name: buffer
            for name, buffer in self.named_buffers(recurse=False)
            if name not in self._non_persistent_buffers_set
        }
        own["_extra_state"] = None
        for name in state_dict:
            if name not in own and name.split(".")[0] not in self._modules:
                raise CheckpointError(f"the step's state has {shortened(name)}, and here is none")
        for name, buffer in own.items():
            if name not in state_dict:
                raise CheckpointError(f"the step's state lacks {name}")
            if buffer is None:
                self.set_extra_state(state_dict[name])
                continue
            value = state_dict[name]
            if not isinstance(value, Tensor) or value.shape != buffer.shape:
                raise CheckpointError(
                    f"the step's {name} is {shortened(value)}; allowed is a tensor of shape "
                    f"{list(buffer.shape)}"
                )
            buffer.copy_(value)
        return None


def _held(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    return (p for group in optimizer.param_groups for p in group["params"])


def _upcast(out: Any) -> Any:
    if isinstance(out, Tensor):
        return out.float() if out.is_floating_point() else out
    if isinstance(out, Mapping):
        return {name: _upcast(item) for name, item in out.items()}
    if isinstance(out, (tuple, list)):
        items = [_upcast(item) for item in out]
        return items if isinstance(out, list) else tuple(items)
    return out


def _after_loading(optimizer: torch.optim.Optimizer) -> None:
    """A checkpoint may come from another device, layout, or a run with graphs."""
    make_eager(optimizer)
    match_layout(optimizer)
