"""Output that nobody reads any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def say(text: str) -> None:
    """Print a line, if there is someone to read it; a run goes on in either case."""
    try:
        print(text, flush=True)
    except OSError:
        abandon(sys.stdout)


def abandon(stream: TextIO | None) -> None:
    """Let what ``stream`` still holds go nowhere: Python would try again at its end, and say so."""
    with suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]
