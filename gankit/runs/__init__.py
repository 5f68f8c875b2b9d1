"""Training runs: their settings, their folders, and how one starts and goes on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .resuming import resume
    from .training import Run, train

__all__ = ["Run", "resume", "train"]

_HOMES = {"Run": ".training", "resume": ".resuming", "train": ".training"}


def __getattr__(name: str) -> Any:
    # On first use: `gankit.load` needs a few files of this folder, and not all that training does.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
