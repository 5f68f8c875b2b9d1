"""One file per GAN: what it computes, as a :class:`gankit.training.Step`, and its recipes.

A file is found by being here: its ``RECIPES`` are those of ``gankit recipes``, and the steps that
it defines are gankit's own, which a run of somebody else may name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from gankit.training.config import Recipe
from gankit.training.step import Step


def _families() -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(__path__):
        yield importlib.import_module(f"{__name__}.{info.name}")


@cache
def recipes() -> dict[str, Recipe]:
    """The recipes of all families by name."""
    return {recipe.name: recipe for module in _families() for recipe in _recipes_of(module)}


def _recipes_of(module: ModuleType) -> tuple[Recipe, ...]:
    return getattr(module, "RECIPES", ())


@cache
def steps() -> frozenset[str]:
    """The import paths of the steps that the families define."""
    return frozenset(
        f"{module.__name__}.{name}"
        for module in _families()
        for name, found in vars(module).items()
        if isinstance(found, type)
        and issubclass(found, Step)
        and found.__module__ == module.__name__
    )
