"""Recipes: a model, a loss, data and hyper-parameters, with the sources of the numbers.

Each stands in its family's file in :mod:`gankit.gans`.
"""

from __future__ import annotations

from gankit import gans
from gankit.errors import ConfigError, shortened
from gankit.training.config import Recipe, RunConfig

__all__ = ["Recipe", "RunConfig", "get", "names"]


def names() -> tuple[str, ...]:
    """The names of all recipes."""
    return tuple(gans.recipes())


def get(name: str) -> Recipe:
    """The recipe of that name. Raises ConfigError for an unknown one."""
    found = gans.recipes().get(name)
    if found is None:
        raise ConfigError(f"there is no recipe {shortened(name)}; allowed are {', '.join(names())}")
    return found
