"""The settings of a run as rows of a table: the name, the value, and who chose it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from gankit import recipes
from gankit.errors import ConfigError
from gankit.runs.component import import_object, split_spec
from gankit.runs.settings import WITH_ARGUMENTS
from gankit.runs.steps import knobs, step_class
from gankit.runs.trust import own
from gankit.runs.wording import in_words
from gankit.training.config import RunConfig

Origin = Literal["set", "recipe", "default"]
# Filled in by the run where the class takes them, so that its own defaults say nothing.
_FILLED_IN = ("z_dim", "image_shape", "n_classes")
_DEPTH = 8


class Setting(NamedTuple):
    """A setting, its value as one would write it, and whether the user, the recipe or nobody has
    chosen it."""

    name: str
    value: str
    origin: Origin


def setting_rows(config: RunConfig) -> list[Setting]:
    """Every setting of ``config`` and every argument of the classes that it names.

    Defaults of arguments are told for gankit's own classes, which alone are imported.
    """
    try:
        base = recipes.get(config.recipe).config
    except ConfigError:  # of another program
        base = RunConfig()
    values, of_recipe, defaults = (flattened(each) for each in (config, base, RunConfig()))
    rows = []
    for name, value in values.items():
        same = name in of_recipe and of_recipe[name] == value
        at_default = name in defaults and defaults[name] == value
        origin: Origin = "set" if not same else "default" if at_default else "recipe"
        rows.append(Setting(name, in_words(value), origin))
        rows += [
            Setting(f"{name}.{argument}", in_words(value), "default")
            for argument, value in _unset(name, value)
            if f"{name}.{argument}" not in values
        ]
    return rows


def flattened(config: RunConfig) -> dict[str, Any]:
    """The settings of ``config`` with each argument of a class under a name of its own.

    Such as ``step.penalty.weight``; ``step.penalty`` is then the class alone. Of ``epochs`` and
    ``steps`` the one that is set.
    """
    values = config.as_dict()
    values.pop("epochs" if config.epochs is None else "steps")
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _expanded(name, value, 0) if name in WITH_ARGUMENTS else {name: value}
    return found


def _expanded(name: str, value: Any, depth: int) -> dict[str, Any]:
    path = value.get("class_path") if isinstance(value, dict) else None
    if depth > _DEPTH or not isinstance(path, str):
        return {name: value}
    arguments = value.get("init_args")
    found: dict[str, Any] = {name: path}
    for argument, inner in (arguments if isinstance(arguments, dict) else {}).items():
        found |= _expanded(f"{name}.{argument}", inner, depth + 1)
    return found


def differing(configs: Mapping[str, RunConfig]) -> dict[str, dict[str, str]]:
    """The settings in which ``configs`` differ: by setting, the value in each of them.

    What one of them has not, as an argument of another step, is "-" there.
    """
    values = {name: {row.name: row.value for row in setting_rows(c)} for name, c in configs.items()}
    given = dict.fromkeys(each for config in configs.values() for each in flattened(config))
    order = [*dict.fromkeys(each.partition(".")[0] for each in given)]
    rows = {
        setting: {name: of_run.get(setting, "-") for name, of_run in values.items()}
        for setting in sorted(given, key=lambda each: order.index(each.partition(".")[0]))
    }
    return {setting: row for setting, row in rows.items() if len(set(row.values())) > 1}


def _unset(name: str, path: Any) -> Iterator[tuple[str, Any]]:
    """Arguments of the class ``path`` of setting ``name`` with their defaults."""
    last = name.rpartition(".")[2]
    if not isinstance(path, str) or path not in own(last):
        return
    if last == "step":
        parameters = knobs(step_class(path))
    else:
        target = import_object(last, split_spec(last, path)[0])
        parameters = dict(inspect.signature(target).parameters)
    for argument, parameter in parameters.items():
        if parameter.default is not parameter.empty and argument not in _FILLED_IN:
            yield argument, parameter.default
