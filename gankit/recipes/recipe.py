"""What a recipe is."""

from __future__ import annotations

from dataclasses import dataclass

from gankit.recipes.config import RunConfig


@dataclass(frozen=True)
class Recipe:
    """A named run: its settings, and one line per group of numbers saying where it comes from."""

    name: str
    summary: str
    config: RunConfig
    sources: tuple[str, ...]
