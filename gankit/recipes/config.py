"""The settings of a run, as they stand in config.yaml."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from gankit.errors import ConfigError, MissingExtra, shortened

Spec = str | dict[str, Any]


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes.

    ``generator``, ``discriminator``, ``loss`` and ``data`` are an import path, or
    ``{class_path: ..., init_args: {...}}``. ``loss`` and ``data`` may also be a name that
    ``gankit.losses.resolve`` and ``gankit.data.load`` know. Arguments ``z_dim``, ``image_shape``
    and ``from_logits`` are filled in where the callable takes them and ``init_args`` has none.
    ``from_logits`` says whether the discriminator returns logits; "auto" looks at its last layer.

    ``penalty`` names a function of D, real and fake, such as ``gankit.losses.gradient_penalty``;
    its ``init_args`` are further arguments. ``schedule`` names a class of
    ``torch.optim.lr_scheduler``; both optimizers get one, stepped after each step of training.
    ``clip_gradients`` is the largest norm of each network's gradient; ``accumulate`` says in how
    many parts a batch is worked through, for less memory. ``betas`` and ``eps`` are Adam's.
    ``callbacks`` name classes of your own that derive from ``gankit.training.Callback``; one with a
    parameter ``folder`` is told the run's.

    ``labelled`` images keep their label, the others are used without; a penalty with a parameter of
    that name gets them.

    In a run of many processes ``batch_size`` counts the images of all of them, and
    ``sync_batch_norm`` takes the statistics of batch norms over all of them.

    Exactly one of ``epochs`` and ``steps`` is set; an epoch is n // batch_size steps.

    ``trusted`` is no setting of a file: it is False where the settings came out of a checkpoint,
    whose import paths ``gankit.recipes.build.build_trainer`` then does not follow.

    Raises ConfigError for a value outside what is allowed.
    """

    recipe: str = "gan"
    data: Spec = "digits"
    data_root: str | None = None
    image_size: int = 28
    labelled: int | None = None
    generator: Spec = "gankit.models.mlp.Generator"
    discriminator: Spec = "gankit.models.mlp.Discriminator"
    loss: Spec = "non-saturating"
    penalty: Spec | None = None
    penalty_every: int = 1
    z_dim: int = 100
    z_distribution: Literal["normal", "uniform"] = "normal"
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
    n_critic: int = 1
    clip_weights: float | None = None
    paired: bool | Literal["auto"] = "auto"
    from_logits: bool | Literal["auto"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    reuse_fakes: bool = False
    eval_fakes: bool = False
    ema: float | None = None
    channels_last: bool | Literal["auto"] = "auto"
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
    tensorboard: bool = False
    callbacks: tuple[Spec, ...] = ()
    device: str = "auto"
    seed: int = 0
    trusted: bool = field(default=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        if not isinstance(self.callbacks, (list, tuple)):
            raise ConfigError(f"callbacks is {self.callbacks!r}; allowed is a list")
        object.__setattr__(self, "callbacks", tuple(self.callbacks))
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        for name in ("generator", "discriminator", "loss", "data", "penalty", "schedule"):
            value = getattr(self, name)
            optional = name in ("penalty", "schedule") and value is None
            if not isinstance(value, (str, dict)) and not optional:
                raise ConfigError(
                    f"{name} is {value!r}; allowed is a name, an import path, or class_path with "
                    "init_args"
                )
        if (self.epochs is None) == (self.steps is None):
            raise ConfigError(
                f"epochs is {self.epochs} and steps is {self.steps}; exactly one must be set"
            )
        length = "epochs" if self.steps is None else "steps"
        _check_count(length, getattr(self, length))
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"accumulate is {self.accumulate}, which does not divide the {self.batch_size} "
                "images of a batch"
            )
        if self.labelled is not None:
            _check_count("labelled", self.labelled)
        for name in ("lr", "eps"):
            value = getattr(self, name)
            if not (_is_number(value) and math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value!r}; allowed are finite numbers above 0")
        for name in ("d_lr", "clip_weights", "clip_gradients"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"{name} is {value!r}; allowed are null and finite numbers above 0"
                )
        if len(self.betas) != 2 or not all(_is_number(b) and 0 <= b < 1 for b in self.betas):
            raise ConfigError(f"betas is {list(self.betas)}; allowed are two numbers in [0, 1)")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; allowed are {', '.join(map(str, allowed))}"
                )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed is {self.seed!r}; allowed are integers from 0")
        if self.seed >= 2**63:
            raise ConfigError(f"seed is {self.seed}; allowed are integers below 2**63")

    def updated(self, **changes: Any) -> RunConfig:
        """A copy with ``changes``; setting one of epochs and steps unsets the other."""
        if changes.get("steps") is not None:
            changes.setdefault("epochs", None)
        elif changes.get("epochs") is not None:
            changes.setdefault("steps", None)
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and checkpoints."""
        values = {name: value for name, value in asdict(self).items() if name in FIELDS}
        return {
            **values,
            "betas": list(self.betas),
            "callbacks": list(self.callbacks),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> RunConfig:
        """The config that ``as_dict`` gave, not ``trusted``; ``source`` is named in errors."""
        unknown = sorted(set(values) - set(FIELDS))
        if unknown:
            raise ConfigError(f"{source} has the unknown setting {', '.join(unknown)}")
        return cls(**values, trusted=False)


_TYPES = {f.name: str(f.type) for f in fields(RunConfig) if f.name != "trusted"}
FIELDS: tuple[str, ...] = tuple(_TYPES)
_COUNTS = (
    "image_size",
    "z_dim",
    "batch_size",
    "n_critic",
    "penalty_every",
    "accumulate",
    "sample_first",
    "sample_every",
    "grid_rows",
    "grid_columns",
    "log_every",
    "checkpoint_every",
    "checkpoint_keep",
)
_CHOICES: dict[str, tuple[Any, ...]] = {
    "z_distribution": ("normal", "uniform"),
    "optimizer": ("adam", "rmsprop"),
    "precision": ("fp32", "bf16"),
    "paired": ("auto", True, False),
    "from_logits": ("auto", True, False),
    "channels_last": ("auto", True, False),
    "sync_batch_norm": (True, False),
    "tensorboard": (True, False),
    "device": ("auto", "cpu", "cuda", "mps"),
}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; allowed are integers from 1")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, each checked against the type of its field in RunConfig.

    Raises ConfigError if the file is absent, is not YAML, or has an unknown setting or a value of
    the wrong type.
    """
    path = Path(path)
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("pyyaml", "train") from error
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a YAML file: {_one_line(str(error))}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path} holds no settings; allowed are lines such as 'batch_size: 60'")
    return checked_settings(values, str(path))


def parse_settings(texts: Sequence[str], config: RunConfig) -> dict[str, Any]:
    """The settings of ``--set NAME=VALUE``, the values in YAML, checked as those of a file are.

    ``NAME.ARGUMENT=VALUE`` sets one of the ``init_args`` that ``config`` has for NAME, such as
    ``discriminator.dropout=0``.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("pyyaml", "train") from error
    values: dict[str, Any] = {}
    for text in texts:
        name, found, written = text.partition("=")
        if not found or not name.strip():
            raise ConfigError(f"--set is {text!r}; allowed are NAME=VALUE and NAME.ARGUMENT=VALUE")
        try:
            value = yaml.safe_load(written)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text!r} is not YAML: {_one_line(str(error))}") from error
        name, _, argument = name.strip().replace("-", "_").partition(".")
        if argument:
            if name not in _WITH_ARGUMENTS:
                raise ConfigError(
                    f"--set is {text!r}; arguments have {', '.join(_WITH_ARGUMENTS)} alone"
                )
            spec = values.get(name, getattr(config, name))
            value = _with_argument(name, spec, argument.removeprefix("init_args."), value)
        values[name] = value
    return checked_settings(values, "--set")


_WITH_ARGUMENTS = ("generator", "discriminator", "loss", "penalty", "data", "schedule")


def _with_argument(name: str, spec: Any, argument: str, value: Any) -> Spec:
    if isinstance(spec, str) and "." in spec:
        spec = {"class_path": spec}
    if not isinstance(spec, dict):
        raise ConfigError(
            f"--set gives {name} the argument {argument}, but {name} is {spec!r}; allowed is an "
            "import path, or class_path with init_args"
        )
    return {**spec, "init_args": {**(spec.get("init_args") or {}), argument: value}}


def checked_settings(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """``values``, each checked against the type of its field in RunConfig.

    Raises ConfigError, naming ``source``, for an unknown setting or a value of the wrong type.
    """
    try:
        from jsonargparse import ArgumentError, ArgumentParser
    except ImportError as error:
        raise MissingExtra("jsonargparse", "train") from error
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise ConfigError(
            f"{source} has the unknown setting {', '.join(unknown)}; allowed are "
            f"{', '.join(FIELDS)}"
        )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RunConfig)
    checked = {}
    # One setting at a time, so that only the given settings come back, not the defaults.
    for name, value in values.items():
        if "Spec" in _TYPES[name]:  # jsonargparse imports every class_path, however deep it lies
            checked[name] = _checked_spec(name, value, source)
            continue
        try:
            checked[name] = parser.parse_object({name: value}).as_dict()[name]
        except ArgumentError as error:
            raise ConfigError(
                f"{source}: {name} is {value!r}; allowed is {_allowed(name)}"
            ) from error
    return checked


def _checked_spec(name: str, value: Any, source: str) -> Any:
    """``value`` for a setting that names code, which is imported only where it is built."""
    listed = _TYPES[name].startswith("tuple")
    specs = value if listed else [value]
    fits = isinstance(specs, (list, tuple)) and all(
        isinstance(spec, (str, dict)) or (spec is None and "None" in _TYPES[name]) for spec in specs
    )
    if not fits:
        raise ConfigError(f"{source}: {name} is {shortened(value)}; allowed is {_allowed(name)}")
    return tuple(specs) if listed else value


# What the types of the fields are in YAML.
_IN_WORDS = {
    "str": "text",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "None": "null",
    "Spec": "a name, an import path, or class_path with init_args",
    "tuple[float, float]": "a list of two numbers",
    "tuple[Spec, ...]": "a list of import paths, or of class_path with init_args",
}


def _allowed(name: str) -> str:
    kinds = _TYPES[name].split(" | ")
    words = [_IN_WORDS.get(kind, kind.removeprefix("Literal[").rstrip("]")) for kind in kinds]
    return " or ".join(words).replace('"', "'")


def write_yaml(config: RunConfig) -> bytes:
    """The text of config.yaml: every setting, in the order of the class."""
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("jsonargparse", "train") from error
    text: str = yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True)
    return text.encode()


def _one_line(text: str) -> str:
    return " ".join(text.replace("<class '", "").replace("'>", "").split())
