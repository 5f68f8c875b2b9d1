"""The settings of a run, as they stand in config.yaml, and recipes, which are settings with names.

They stand below :mod:`gankit.gans`, so that a family's file can hold its recipes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from gankit.data.sources import storage_arguments
from gankit.errors import ConfigError, shortened
from gankit.scalars import plain

Spec = str | dict[str, Any]


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes.

    Args:
        recipe: the recipe that the settings began as.
        data: a name that ``gankit.data.load`` knows, or the import path of a callable.
        data_root: the data folder; null: ``$GANKIT_DATA``, else ``~/.cache/gankit/data``.
        image_size: height and width of the images, in pixels.
        flip: mirror every second real image on average, left to right; null: as the data set does.
        augment: "none", "diffaugment" or "ada": what D is shown (DiffAugment, ADA).
        generator: import path of G's class or function. Its arguments ``z_dim``, ``image_shape``
            and ``n_classes`` are filled in where it takes them and ``init_args`` has none.
        discriminator: the same for D.
        step: the family: a class that derives from ``gankit.training.Step``. Its ``init_args`` are
            what that family alone can be told; they are bound to the class's own signature.
        z_dim: length of the noise vector.
        epochs: length of the run; an epoch is n // batch_size steps. Exactly one of ``epochs`` and
            ``steps`` is set.
        steps: length of the run, in calls of the step.
        batch_size: samples of a batch, of all processes together.
        replacement: draw each sample of a batch on its own, in place of shuffled epochs.
        optimizer: of both networks.
        lr: learning rate.
        d_lr: learning rate of the discriminators; null: ``lr``.
        betas: Adam's.
        eps: Adam's; RMSprop has its own.
        schedule: import path of a class of ``torch.optim.lr_scheduler``; each optimizer gets one,
            stepped after each step of training.
        clip_gradients: largest norm of the gradient of what one optimizer trains.
        accumulate: micro-batches that a batch is worked through in, for less memory.
        precision: "bf16" runs the forwards in bfloat16 under autocast.
        ema: decay of the moving average of G, in [0, 1); null: none.
        channels_last: keep images and weights of convolutions channels last; "auto": where that is
            faster.
        cuda_graph: replay steps as CUDA graphs; "auto": on CUDA.
        sync_batch_norm: statistics of batch norm over all processes.
        sample_first: the epoch of the first sample picture.
        sample_every: a sample picture after each multiple of so many epochs, and at the end.
        grid_rows: rows of images in a sample picture.
        grid_columns: columns of images in a sample picture.
        grid_inverted: draw sample pictures in reversed grey.
        log_every: steps between rows of ``metrics.csv``.
        checkpoint_every: steps between checkpoints.
        checkpoint_keep: checkpoints that stay, with the newest.
        checkpoint_best: the column of ``metrics.csv`` whose best value a checkpoint is kept for.
        evaluate: metrics (``gankit.metrics.METRICS``) that are measured while the run goes on.
        evaluate_every: steps between evaluations, a multiple of ``log_every``.
        evaluate_n: samples of an evaluation; null: as many as there are real images.
        evaluate_features: features of an evaluation.
        tensorboard: write TensorBoard's files.
        callbacks: classes of your own that derive from ``gankit.training.Callback``; one with a
            parameter ``folder`` is told the run's.
        device: "auto" takes CUDA, then MPS, then the CPU.
        seed: of every random number of the run, from 0.
        trusted: no setting of a file: False where the settings came out of a checkpoint, whose
            import paths ``gankit.runs.build.build_trainer`` then does not follow.

    ``generator``, ``discriminator``, ``step``, ``data`` and ``schedule`` may be
    ``{class_path: ..., init_args: {...}}`` in place of a path or name.

    Raises ConfigError for a value outside what is allowed.
    """

    recipe: str = "gan"
    data: Spec = "digits"
    data_root: str | None = None
    image_size: int = 28
    flip: bool | None = None
    augment: Spec = "none"
    generator: Spec = "gankit.models.mlp.Generator"
    discriminator: Spec = "gankit.models.mlp.Discriminator"
    step: Spec = "gankit.training.GANStep"
    z_dim: int = 100
    epochs: int | None = 100
    steps: int | None = None
    batch_size: int = 60
    replacement: bool = False
    optimizer: Literal["adam", "rmsprop"] = "adam"
    lr: float = 2e-4
    d_lr: float | None = None
    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-8
    schedule: Spec | None = None
    clip_gradients: float | None = None
    accumulate: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    ema: float | None = None
    channels_last: bool | Literal["auto"] = "auto"
    cuda_graph: bool | Literal["auto"] = "auto"
    sync_batch_norm: bool = False
    sample_first: int = 1
    sample_every: int = 10
    grid_rows: int = 8
    grid_columns: int = 8
    grid_inverted: bool = False
    log_every: int = 50
    checkpoint_every: int = 1000
    checkpoint_keep: int = 2
    checkpoint_best: str | None = None
    evaluate: tuple[str, ...] = ()
    evaluate_every: int = 1000
    evaluate_n: int | None = None
    evaluate_features: str = "auto"
    tensorboard: bool = False
    callbacks: tuple[Spec, ...] = ()
    device: str = "auto"
    seed: int = 0
    trusted: bool = field(default=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in FIELDS:
            value = getattr(self, name)
            # What a checkpoint holds is plain already, and may be nested without end.
            if self.trusted or not isinstance(value, (dict, list, tuple)):
                object.__setattr__(self, name, plain(value))
        object.__setattr__(self, "betas", tuple(self.betas))
        if not isinstance(self.callbacks, (list, tuple)):
            raise ConfigError(f"callbacks is {shortened(self.callbacks)}; allowed is a list")
        object.__setattr__(self, "callbacks", tuple(self.callbacks))
        self._check_evaluation()
        for name in ("recipe", "data_root"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name == "recipe" or value is not None):
                raise ConfigError(f"{name} is {said(value)}; allowed is text")
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        for name in ("generator", "discriminator", "step", "data", "schedule", "augment"):
            value = getattr(self, name)
            optional = name == "schedule" and value is None
            if not isinstance(value, (str, dict)) and not optional:
                raise ConfigError(
                    f"{name} is {said(value)}; allowed is a name, an import path, or class_path "
                    "with init_args"
                )
        object.__setattr__(self, "step", _as_dict(self.step))
        if (self.epochs is None) == (self.steps is None):
            raise ConfigError(
                f"epochs is {self.epochs} and steps is {self.steps}; exactly one must be set"
            )
        length = "epochs" if self.steps is None else "steps"
        _check_count(length, getattr(self, length))
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"accumulate is {self.accumulate}, which does not divide the {self.batch_size} "
                "samples of a batch"
            )
        for name in ("lr", "eps"):
            value = getattr(self, name)
            if not (_is_number(value) and math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {said(value)}; allowed are finite numbers above 0")
        for name in ("d_lr", "clip_gradients"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"{name} is {said(value)}; allowed are null and finite numbers above 0"
                )
        if len(self.betas) != 2 or not all(_is_number(b) and 0 <= b < 1 for b in self.betas):
            raise ConfigError(
                f"betas is {shortened(list(self.betas))}; allowed are two numbers in [0, 1)"
            )
        if self.flip is not None and not isinstance(self.flip, bool):
            raise ConfigError(f"flip is {said(self.flip)}; allowed are null, true and false")
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            # A checkpoint may hold a tensor, whose comparison is one.
            if not isinstance(value, (str, int)) or value not in allowed:
                words = ", ".join(each if isinstance(each, str) else said(each) for each in allowed)
                raise ConfigError(f"{name} is {said(value)}; allowed are {words}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed is {said(self.seed)}; allowed are integers from 0")
        if self.seed >= 2**63:
            raise ConfigError(f"seed is {said(self.seed)}; allowed are integers below 2**63")

    def _check_evaluation(self) -> None:
        names: Any = self.evaluate
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",")]
        if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
            raise ConfigError(
                f"evaluate is {shortened(self.evaluate)}; allowed is a list of metrics, such as "
                "[fid, prc]"
            )
        object.__setattr__(self, "evaluate", tuple(names))
        _check_count("evaluate_every", self.evaluate_every)
        if self.evaluate_n is not None:
            _check_count("evaluate_n", self.evaluate_n)
        if not isinstance(self.evaluate_features, str):
            raise ConfigError(
                f"evaluate_features is {said(self.evaluate_features)}; allowed is a name, or an "
                "import path"
            )
        _check_count("log_every", self.log_every)
        if self.evaluate and self.evaluate_every % self.log_every:
            raise ConfigError(
                f"evaluate_every is {self.evaluate_every}; allowed are multiples of log_every, "
                f"which is {self.log_every}: what is measured stands in a log"
            )

    def updated(self, **changes: Any) -> RunConfig:
        """A copy with ``changes``; setting one of epochs and steps unsets the other.

        A name that is no field is an argument of the step: ``updated(n_critic=5)`` changes that one
        alone, in ``step``'s ``init_args``. A name that the step has not is an error when the run is
        built.
        """
        knobs = {name: changes.pop(name) for name in [*changes] if name not in _NAMES}
        if changes.get("steps") is not None:
            changes.setdefault("epochs", None)
        elif changes.get("epochs") is not None:
            changes.setdefault("steps", None)
        config = replace(self, **changes)
        if not knobs:
            return config
        step = {**config.step, "init_args": {**config.knobs, **knobs}}  # type: ignore[dict-item]
        return replace(config, step=step)

    @property
    def knobs(self) -> dict[str, Any]:
        """The arguments of the step: a copy of its ``init_args``."""
        arguments = self.step.get("init_args") if isinstance(self.step, dict) else None
        return dict(arguments) if isinstance(arguments, dict) else {}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and checkpoints."""
        values = {name: value for name, value in asdict(self).items() if name in FIELDS}
        return {
            **values,
            "betas": list(self.betas),
            "callbacks": list(self.callbacks),
            "evaluate": list(self.evaluate),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> RunConfig:
        """The config that ``as_dict`` gave, not ``trusted``; ``source`` is named in errors."""
        unknown = sorted(set(values) - set(FIELDS))
        if unknown:
            raise ConfigError(f"{source} has the unknown setting {', '.join(unknown)}")
        return cls(**values, trusted=False)


_NAMES = frozenset(f.name for f in fields(RunConfig))
TYPES = {f.name: str(f.type) for f in fields(RunConfig) if f.name != "trusted"}
FIELDS: tuple[str, ...] = tuple(TYPES)
_COUNTS = (
    "image_size",
    "z_dim",
    "batch_size",
    "accumulate",
    "sample_first",
    "sample_every",
    "grid_rows",
    "grid_columns",
    "log_every",
    "checkpoint_every",
    "checkpoint_keep",
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "optimizer": ("adam", "rmsprop"),
    "precision": ("fp32", "bf16"),
    "channels_last": ("auto", True, False),
    "cuda_graph": ("auto", True, False),
    "sync_batch_norm": (True, False),
    "tensorboard": (True, False),
    "device": ("auto", "cpu", "cuda", "mps"),
}


def said(value: Any) -> str:
    """A value in a message, as one would write it in YAML, and not too long."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else shortened(value)


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float)


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**63:
        raise ConfigError(f"{name} is {said(value)}; allowed are integers from 1")


def flat(run: Mapping[str, Any]) -> dict[str, Any]:
    """``RunConfig.as_dict`` with each argument of the step under a name of its own.

    Such as ``step.n_critic``; ``step`` is then the class alone. So it is with the arguments of the
    data that say how it is stored (``with_storage_apart``).
    """
    run = with_storage_apart(run)
    step = run.get("step")
    if not isinstance(step, dict) or not isinstance(step.get("init_args"), dict):
        return run
    arguments = {f"step.{name}": value for name, value in step["init_args"].items()}
    return {**run, "step": step.get("class_path"), **arguments}


def with_storage_apart(run: Mapping[str, Any]) -> dict[str, Any]:
    """``RunConfig.as_dict`` with ``data.resident`` and its kin, which decide no batch, by name.

    ``data`` is then without them, and what was left out has its default.
    """
    data = run.get("data")
    name = data.get("class_path") if isinstance(data, dict) else data
    arguments = data.get("init_args") if isinstance(data, dict) else None
    storage = storage_arguments(name) if isinstance(name, str) else {}
    if not storage or not isinstance(arguments, (dict, type(None))):
        return dict(run)
    arguments = arguments or {}
    rest = {key: value for key, value in arguments.items() if key not in storage}
    apart = {f"data.{key}": arguments.get(key, default) for key, default in storage.items()}
    return {**run, "data": {"class_path": name, "init_args": rest} if rest else name, **apart}


def _as_dict(spec: Any) -> Any:
    """The short form of ``step`` written out, so that one run has one config.yaml."""
    if isinstance(spec, str):
        return {"class_path": spec, "init_args": {}}
    if isinstance(spec, dict) and spec.get("init_args") is None:
        return {**spec, "init_args": {}}
    return spec


@dataclass(frozen=True)
class Recipe:
    """A named run: its settings, and one line per group of numbers saying where it comes from."""

    name: str
    summary: str
    config: RunConfig
    sources: tuple[str, ...]
