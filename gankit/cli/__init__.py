"""The ``gankit`` command."""

from __future__ import annotations

from gankit.cli.main import main

__all__ = ["main"]
