"""Errors a user can cause. The command line prints each as one sentence and exits with code 2."""

from __future__ import annotations

import reprlib
from typing import Any

__all__ = ["CheckpointError", "ConfigError", "DataError", "GankitError", "MissingExtra"]


class GankitError(Exception):
    """Base of every error gankit raises on purpose; its text is one sentence for the user."""


class ConfigError(GankitError, ValueError):
    """A setting has a value that is not allowed."""


class DataError(GankitError, ValueError):
    """Data is missing, damaged, empty, or of the wrong shape or type."""


class CheckpointError(GankitError, RuntimeError):
    """A checkpoint is missing, damaged, or belongs to another run."""


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
