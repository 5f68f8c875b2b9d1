"""Errors a user can cause. The command line prints each as one sentence and exits with code 2."""

from __future__ import annotations

import reprlib
import sys
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "GankitError",
    "GankitWarning",
    "MissingExtra",
]


class GankitError(Exception):
    """Base of every error gankit raises on purpose; its text is one sentence for the user."""


class ConfigError(GankitError, ValueError):
    """A setting has a value that is not allowed."""


class DataError(GankitError, ValueError):
    """Data is missing, damaged, empty, or of the wrong shape or type."""


class CheckpointError(GankitError, RuntimeError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class GankitWarning(UserWarning):
    """Training goes on, but is hardly what was meant; its text is one sentence for the user."""


class MissingExtra(GankitError, ImportError):
    """An optional package is not installed.

    Args:
        package: name of the package as pip knows it.
        extra: gankit's extra that brings it, such as ``"train"``.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'gankit[{extra}]'")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.package, self.extra)


def shortened(value: Any) -> str:
    """``repr(value)``, at most about a line of it, for messages on values of unknown size."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    short.maxlevel = 3
    try:
        return short.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"<{type(value).__name__}>"


def outside_gankit() -> int:
    """The ``stacklevel`` that makes a warning of the caller point at the first line of a user."""
    level, frame = 1, sys._getframe(1)
    # A step is called through torch's nn.Module.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        ("gankit.", "torch.nn.modules.module")
    ):
        level, frame = level + 1, frame.f_back
    return level
