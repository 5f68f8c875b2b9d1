"""The step of a run: its class, and the arguments that settings may give it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from gankit.errors import ConfigError, shortened
from gankit.runs.component import import_object, split_spec
from gankit.training.config import FIELDS, Spec
from gankit.training.step import Step


def step_class(spec: Spec) -> type[Step]:
    """The class that the setting ``step`` names, which is imported.

    Raises ConfigError unless it derives from ``gankit.training.Step``.
    """
    path, _ = split_spec("step", spec)
    found = import_object("step", path)
    if not isinstance(found, type) or not issubclass(found, Step):
        raise ConfigError(f"step is {shortened(path)}; allowed is a subclass of Step")
    return found


def knobs(kind: type[Step]) -> dict[str, inspect.Parameter]:
    """The arguments that settings may give a step of class ``kind``, by name.

    They are the keyword parameters of its ``from_parts`` and, where that passes any on, those of
    the constructor that have a default, except what every run has and what ``supplied`` names.
    """
    own, open_ended = _keywords(kind, "from_parts", 2)  # beside cls and parts
    found = {p.name: p for p in own}
    if open_ended:
        for parameter in _keywords(kind, "__init__", 1)[0]:
            if parameter.default is not parameter.empty:
                found.setdefault(parameter.name, parameter)
    without = _OF_EVERY_STEP | set(kind.supplied)
    return {name: p for name, p in found.items() if name not in without}


def _keywords(kind: type[Step], method: str, first: int) -> tuple[list[inspect.Parameter], bool]:
    """What ``method`` can be given by name, and those of the bases as far as it passes others on.

    Without the ``first`` parameters of each. Also whether it passes on what no base takes.
    """
    found: list[inspect.Parameter] = []
    for base in kind.__mro__:
        if base is Step:
            break
        if method in vars(base):
            made = vars(base)[method]
            signature = inspect.signature(getattr(made, "__func__", made))
            parameters = [*signature.parameters.values()][first:]
            found += [p for p in parameters if p.kind in _BY_NAME]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                return found, False
    return found, True


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_OF_EVERY_STEP = frozenset(inspect.signature(Step.__init__).parameters)


def check_knobs(kind: type[Step], arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError unless ``arguments`` are such as settings may give a step of that class."""
    known = knobs(kind)
    made = {p.name for p in _keywords(kind, "__init__", 1)[0]} | _OF_EVERY_STEP
    for name in arguments:
        if name in known:
            continue
        if name in FIELDS:
            raise ConfigError(
                f"step has the argument {name}, which is a setting of every run; allowed is {name} "
                "beside step"
            )
        if name in made:
            raise ConfigError(
                f"step has the argument {name}, which {kind.__name__} sets itself; allowed are "
                f"{', '.join(known)}"
            )
        near = get_close_matches(str(name), [*known, *FIELDS], n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
        raise ConfigError(f"step ({kind.__name__}) has no argument {shortened(name)}; {hint}")
    missing = [name for name, p in known.items() if p.default is p.empty and name not in arguments]
    if missing:
        raise ConfigError(
            f"step ({kind.__name__}) lacks the argument {', '.join(missing)}; set step.{missing[0]}"
        )
