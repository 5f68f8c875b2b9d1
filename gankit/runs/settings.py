"""From what users write, in a YAML file, with --set or as keywords, to the settings of a run.

The one place that resolves short forms: a name that is no setting of every run but an argument of
the run's step stands for that argument, so ``n_critic: 5`` is ``step``'s ``init_args: {n_critic:
5}``, and ``penalty.weight=10`` is ``step.penalty.weight=10``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from gankit.errors import ConfigError, MissingExtra, shortened
from gankit.runs.hints import about_unknown
from gankit.runs.steps import knobs, step_class
from gankit.runs.trust import check_own, own
from gankit.scalars import plain
from gankit.training.config import CHOICES, FIELDS, TYPES, RunConfig, Spec, said

_LOG = logging.getLogger(__name__)
# More than a file of settings has; of an endless one no more is read.
_BYTES = 1_000_000
# Settings whose arguments `NAME.ARGUMENT` sets.
WITH_ARGUMENTS = ("generator", "discriminator", "step", "data", "schedule", "augment")
# What a config.yaml of gankit 0.1.0 has flat, with its default there.
_RELEASED: dict[str, Any] = {
    "loss": "non-saturating",
    "penalty": None,
    "penalty_every": 1,
    "z_distribution": "normal",
    "n_critic": 1,
    "clip_weights": None,
    "paired": "auto",
    "from_logits": "auto",
    "reuse_fakes": False,
    "eval_fakes": False,
    "labelled": None,
}
# Losses and penalties there that are now steps.
_GONE = (
    "gankit.losses.began",
    "gankit.losses.ebgan",
    "gankit.losses.supervised_cross_entropy",
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, by name, as they are written.

    Raises ConfigError if the file is absent, is not YAML, or holds no settings.
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
    return values


def write_yaml(config: RunConfig) -> bytes:
    """The text of config.yaml: every setting, in the order of the class."""
    text: str = _yaml_text().write(config.as_dict())
    return text.encode()


def _yaml_text() -> ModuleType:
    """What reads and writes YAML, which ``gankit.load`` can do without."""
    try:
        from gankit.runs import yaml_text
    except ModuleNotFoundError as error:
        raise MissingExtra("pyyaml", "train") from error
    return yaml_text


def configured(config: RunConfig, values: Mapping[str, Any], source: str) -> RunConfig:
    """``config`` with ``values``, the settings in the file ``source``, each checked.

    Raises ConfigError, naming ``source``, for an unknown setting or a value of the wrong type.
    """
    fields = {name: value for name, value in values.items() if name in FIELDS}
    config = config.updated(**_checked(fields, source))
    short = {name: value for name, value in values.items() if name not in FIELDS}
    if not short:
        return config
    known = knobs_of(config, source)
    if "step" not in values and _RELEASED.keys() <= values.keys():
        short = _converted(short, known, config, source)
    for name in short:
        if name not in known:
            what = about_unknown(name, config, known, in_a_file=True)
            raise ConfigError(f"{source} has the unknown setting {what}")
    return config.updated(**short)


def _converted(
    short: dict[str, Any], known: Iterable[str], config: RunConfig, source: str
) -> dict[str, Any]:
    """What the flat settings of gankit 0.1.0 are as arguments of the step."""
    unused = [k for k in _RELEASED if k not in known and short[k] == _RELEASED[k]]
    used = {name: value for name, value in short.items() if name not in unused}
    strange = [name for name in used if name in _RELEASED and name not in known]
    strange += [name for name in used if _class_path(used[name]) in _GONE and name not in strange]
    if strange:
        raise ConfigError(
            f"{source} is of gankit 0.1.0, and the step of the recipe {config.recipe!r} has no "
            f"such {', '.join(strange)}; take out its lines {', '.join(_RELEASED)}, and look for "
            f"the same in the config.yaml of a new run of {config.recipe!r}"
        )
    _LOG.warning(
        "%s is of gankit 0.1.0: what it says of %s is now said of the step", source, ", ".join(used)
    )
    return used


def _class_path(spec: Any) -> Any:
    return spec.get("class_path") if isinstance(spec, dict) else spec


def knobs_of(config: RunConfig, source: str) -> dict[str, inspect.Parameter]:
    """The arguments that the step of ``config`` can be given; its class is imported for that.

    Raises ConfigError where it is not gankit's and ``config`` is not trusted.
    """
    if not config.trusted and _class_path(config.step) not in own("step"):
        check_own(source, "step", config.step)
    return knobs(step_class(config.step))


def written(texts: Sequence[str]) -> list[tuple[str, Any]]:
    """Names and values of ``--set NAME=VALUE``, the values in YAML.

    Raises ConfigError for a text of another form.
    """
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(
                f"--set is {shortened(text)}; allowed are NAME=VALUE and NAME.ARGUMENT=VALUE"
            )
        value = _yaml_text().read(value, f"--set {shortened(text)}")
        found.append((name.strip().replace("-", "_"), value))
    return found


def full_name(name: str, config: RunConfig, source: str) -> str:
    """``name`` without a short form: ``step.penalty.weight`` for ``penalty.weight``.

    Raises ConfigError, with the nearest right names, if ``config`` has no such setting.
    """
    first = name.partition(".")[0]
    if first in FIELDS:
        return name
    known = knobs_of(config, source)
    if first in known:
        return f"step.{name}"
    what = about_unknown(first, config, known)
    raise ConfigError(f"{source} has the unknown setting {what}")


def changed(config: RunConfig, given: Iterable[tuple[str, Any]], source: str) -> RunConfig:
    """``config`` with settings and arguments of settings: ``("discriminator.dropout", 0)``.

    ``NAME.ARGUMENT`` sets one of the ``init_args`` that NAME has, at any depth;
    ``NAME.init_args.ARGUMENT`` does so too. ``NAME.class_path`` names another class, which gets the
    arguments that ``given`` has alone. Raises ConfigError as ``configured`` does.
    """
    done: list[tuple[tuple[str, ...], Any]] = []
    whole: dict[str, Any] = {}
    for name, value in given:
        path = tuple(full_name(name, config, source).split("."))
        path = tuple(part for part in path[:-1] if part != "init_args") + path[-1:]
        if path[0] not in WITH_ARGUMENTS:
            if len(path) > 1:
                raise ConfigError(
                    f"{source} gives {path[0]} the argument {'.'.join(path[1:])}; arguments have "
                    f"{', '.join(WITH_ARGUMENTS)} alone"
                )
            whole[name] = value
            continue
        config = _assigned(config, path, value, source)
        if path[-1] == "class_path":
            for earlier, argument in done:
                if earlier[: len(path) - 1] == path[:-1] and len(earlier) >= len(path):
                    config = _assigned(config, earlier, argument, source)
        else:
            done = [each for each in done if each[0][: len(path)] != path]
            done.append((path, value))
    return config.updated(**_checked(whole, source))  # at once, for one may ask for another


def _assigned(config: RunConfig, path: tuple[str, ...], value: Any, source: str) -> RunConfig:
    name, *arguments = path
    if arguments:
        value = _with_argument(name, getattr(config, name), arguments, value, source)
    return config.updated(**_checked({name: value}, source))


def _with_argument(what: str, spec: Any, names: list[str], value: Any, source: str) -> Spec:
    """``spec`` with the argument ``names``, each inside the one before it, set to ``value``."""
    if names == ["class_path"]:
        return {"class_path": value, "init_args": {}}
    if isinstance(spec, str) and ("." in spec or what in ("data", "augment")):
        spec = {"class_path": spec}
    if not isinstance(spec, dict):
        raise ConfigError(
            f"{source} gives {what} the argument {names[0]}, but {what} is {said(spec)}; allowed "
            "is an import path, or class_path with init_args"
        )
    name, *inner = names
    arguments = dict(spec.get("init_args") or {})
    if name == "init_args":
        if not isinstance(value, dict):
            raise ConfigError(
                f"{source} gives {what} the init_args {said(value)}; allowed as init_args are "
                "{NAME: VALUE}"
            )
        arguments |= value
    elif inner:
        arguments[name] = _with_argument(name, arguments.get(name), inner, value, source)
    else:
        arguments[name] = value
    return {**spec, "init_args": arguments}


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """``values``, each checked against the type of its field in RunConfig.

    Raises ConfigError, naming ``source``, for a value of the wrong type.
    """
    try:
        from jsonargparse import ArgumentError, ArgumentParser
    except ImportError as error:
        raise MissingExtra("jsonargparse", "train") from error
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RunConfig)
    checked = {}
    # One setting at a time, so that only the given settings come back, not the defaults.
    for name, value in plain(dict(values)).items():
        if "Spec" in TYPES[name]:  # jsonargparse imports every class_path, however deep it lies
            checked[name] = _checked_spec(name, value, source)
            continue
        if TYPES[name] == "tuple[str, ...]" and isinstance(value, (str, list)):
            checked[name] = value  # a list of names, which the class checks
            continue
        if isinstance(value, str) and "str" in TYPES[name].split(" | "):
            checked[name] = value  # jsonargparse would read "null" as YAML once more
            continue
        if _has_text(value) and value not in CHOICES.get(name, ()):  # and "1_000" as a number
            raise ConfigError(f"{source}: {name} is {said(value)}; allowed is {_allowed(name)}")
        try:
            checked[name] = parser.parse_object({name: value}).as_dict()[name]
        except ArgumentError as error:
            raise ConfigError(
                f"{source}: {name} is {said(value)}; allowed is {_allowed(name)}"
            ) from error
    return checked


def _has_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(map(_has_text, value)))


def _checked_spec(name: str, value: Any, source: str) -> Any:
    """``value`` for a setting that names code, which is imported only where it is built."""
    listed = TYPES[name].startswith("tuple")
    specs = value if listed else [value]
    fits = isinstance(specs, (list, tuple)) and all(
        isinstance(spec, (str, dict)) or (spec is None and "None" in TYPES[name]) for spec in specs
    )
    if not fits:
        raise ConfigError(f"{source}: {name} is {said(value)}; allowed is {_allowed(name)}")
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
    "tuple[str, ...]": "a list of names",
    "tuple[Spec, ...]": "a list of import paths, or of class_path with init_args",
}


def _allowed(name: str) -> str:
    kinds = TYPES[name].split(" | ")
    words = [_IN_WORDS.get(kind, kind.removeprefix("Literal[").rstrip("]")) for kind in kinds]
    return " or ".join(words).replace('"', "'")
