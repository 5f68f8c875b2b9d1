"""The settings of a run, as they stand in config.yaml."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from gankit.errors import ConfigError, MissingExtra, shortened
from gankit.scalars import plain

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
        for name in FIELDS:
            value = getattr(self, name)
            # What a checkpoint holds is plain already, and may be nested without end.
            if self.trusted or not isinstance(value, (dict, list, tuple)):
                object.__setattr__(self, name, plain(value))
        object.__setattr__(self, "betas", tuple(self.betas))
        if not isinstance(self.callbacks, (list, tuple)):
            raise ConfigError(f"callbacks is {shortened(self.callbacks)}; allowed is a list")
        object.__setattr__(self, "callbacks", tuple(self.callbacks))
        for name in ("recipe", "data_root"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name == "recipe" or value is not None):
                raise ConfigError(f"{name} is {_said(value)}; allowed is text")
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        for name in ("generator", "discriminator", "loss", "data", "penalty", "schedule"):
            value = getattr(self, name)
            optional = name in ("penalty", "schedule") and value is None
            if not isinstance(value, (str, dict)) and not optional:
                raise ConfigError(
                    f"{name} is {_said(value)}; allowed is a name, an import path, or class_path "
                    "with init_args"
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
                raise ConfigError(f"{name} is {_said(value)}; allowed are finite numbers above 0")
        for name in ("d_lr", "clip_weights", "clip_gradients"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"{name} is {_said(value)}; allowed are null and finite numbers above 0"
                )
        if len(self.betas) != 2 or not all(_is_number(b) and 0 <= b < 1 for b in self.betas):
            raise ConfigError(
                f"betas is {shortened(list(self.betas))}; allowed are two numbers in [0, 1)"
            )
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                words = ", ".join(
                    each if isinstance(each, str) else _said(each) for each in allowed
                )
                raise ConfigError(f"{name} is {_said(value)}; allowed are {words}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed is {_said(self.seed)}; allowed are integers from 0")
        if self.seed >= 2**63:
            raise ConfigError(f"seed is {_said(self.seed)}; allowed are integers below 2**63")

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


def _said(value: Any) -> str:
    """A value in a message, as one would write it in YAML, and not too long."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else shortened(value)


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float)


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**63:
        raise ConfigError(f"{name} is {_said(value)}; allowed are integers from 1")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, each checked against the type of its field in RunConfig.

    Raises ConfigError if the file is absent, is not YAML, or has an unknown setting or a value of
    the wrong type.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            text = file.read(_BYTES + 1).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {path}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a YAML file: it is not text in UTF-8") from error
    values = _yaml_text().read(text, str(path))
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path} holds no settings; allowed are lines such as 'batch_size: 60'")
    return checked_settings(values, str(path))


# More than a file of settings has; of an endless one no more is read.
_BYTES = 1_000_000


def _yaml_text() -> ModuleType:
    """What reads and writes YAML, which ``gankit.load`` can do without."""
    try:
        from gankit.recipes import yaml_text
    except ModuleNotFoundError as error:
        raise MissingExtra("pyyaml", "train") from error
    return yaml_text


def parse_settings(texts: Sequence[str], config: RunConfig) -> dict[str, Any]:
    """The settings of ``--set NAME=VALUE``, the values in YAML, checked as those of a file are.

    ``NAME.ARGUMENT=VALUE`` sets one of the ``init_args`` that ``config`` has for NAME, such as
    ``discriminator.dropout=0``; so does ``NAME.init_args.ARGUMENT``. ``NAME.class_path=PATH`` names
    another class, which gets the arguments that ``texts`` have alone.
    """
    values: dict[str, Any] = {}
    given: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, found, written = text.partition("=")
        if not found or not name.strip():
            raise ConfigError(
                f"--set is {shortened(text)}; allowed are NAME=VALUE and NAME.ARGUMENT=VALUE"
            )
        value = _yaml_text().read(written, f"--set {shortened(text)}")
        name, _, argument = name.strip().replace("-", "_").partition(".")
        if not argument:
            given.pop(name, None)
        elif name not in WITH_ARGUMENTS:
            raise ConfigError(
                f"--set is {shortened(text)}; arguments have {', '.join(WITH_ARGUMENTS)} alone"
            )
        elif argument == "class_path":
            value = {"class_path": value, "init_args": given.get(name, {})}
        else:
            spec = values.get(name, getattr(config, name))
            new = _arguments(text, argument, value)
            given[name] = {**given.get(name, {}), **new}
            value = _with_arguments(name, spec, new)
        values[name] = value
    return checked_settings(values, "--set", config)


WITH_ARGUMENTS = ("generator", "discriminator", "loss", "penalty", "data", "schedule")


def _arguments(text: str, argument: str, value: Any) -> dict[str, Any]:
    if argument != "init_args":
        return {argument.removeprefix("init_args."): value}
    if not isinstance(value, dict):
        raise ConfigError(f"--set is {shortened(text)}; allowed as init_args are {{NAME: VALUE}}")
    return value


def _with_arguments(name: str, spec: Any, arguments: dict[str, Any]) -> Spec:
    if isinstance(spec, str) and "." in spec:
        spec = {"class_path": spec}
    if not isinstance(spec, dict):
        raise ConfigError(
            f"--set gives {name} the argument {', '.join(arguments)}, but {name} is "
            f"{_said(spec)}; allowed is an import path, or "
            "class_path with init_args"
        )
    return {**spec, "init_args": {**(spec.get("init_args") or {}), **arguments}}


def checked_settings(
    values: Mapping[str, Any], source: str, config: RunConfig | None = None
) -> dict[str, Any]:
    """``values``, each checked against the type of its field in RunConfig.

    ``config`` is what they are to change, if known.

    Raises ConfigError, naming ``source``, for an unknown setting or a value of the wrong type.
    """
    try:
        from jsonargparse import ArgumentError, ArgumentParser
    except ImportError as error:
        raise MissingExtra("jsonargparse", "train") from error
    for name in values:
        if name not in FIELDS:
            from gankit.recipes.hints import about_unknown  # which reads this file

            what = about_unknown(name, values, config)
            raise ConfigError(f"{source} has the unknown setting {what}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RunConfig)
    checked = {}
    # One setting at a time, so that only the given settings come back, not the defaults.
    for name, value in values.items():
        if "Spec" in _TYPES[name]:  # jsonargparse imports every class_path, however deep it lies
            checked[name] = _checked_spec(name, value, source)
            continue
        if isinstance(value, str) and "str" in _TYPES[name].split(" | "):
            checked[name] = value  # jsonargparse would read "null" as YAML once more
            continue
        if _has_text(value) and value not in _CHOICES.get(name, ()):  # and "1_000" as a number
            raise ConfigError(f"{source}: {name} is {_said(value)}; allowed is {_allowed(name)}")
        try:
            checked[name] = parser.parse_object({name: value}).as_dict()[name]
        except ArgumentError as error:
            raise ConfigError(
                f"{source}: {name} is {_said(value)}; allowed is {_allowed(name)}"
            ) from error
    return checked


def _has_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(map(_has_text, value)))


def _checked_spec(name: str, value: Any, source: str) -> Any:
    """``value`` for a setting that names code, which is imported only where it is built."""
    listed = _TYPES[name].startswith("tuple")
    specs = value if listed else [value]
    fits = isinstance(specs, (list, tuple)) and all(
        isinstance(spec, (str, dict)) or (spec is None and "None" in _TYPES[name]) for spec in specs
    )
    if not fits:
        raise ConfigError(f"{source}: {name} is {_said(value)}; allowed is {_allowed(name)}")
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
    text: str = _yaml_text().write(config.as_dict())
    return text.encode()
