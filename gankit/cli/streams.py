"""Output that nobody reads any more."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from typing import TextIO


def say(text: str) -> None:
    """Print a line, if there is someone to read it; a run goes on in either case."""
    try:
        print(text, flush=True)
    except OSError:
        abandon(sys.stdout)


def gone(stream: TextIO | None) -> bool:
    """Whether ``stream`` is a pipe whose reader has gone."""
    if stream is None:
        return False
    try:
        stream.write("")
        stream.flush()  # what could not be written is still there, but in an unbuffered stream
        if not hasattr(select, "poll"):  # as on Windows
            return False
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # closed, or no file at all
        return False


def abandon(stream: TextIO | None) -> None:
    """Let what ``stream`` still holds go nowhere: Python would try again at its end, and say so."""
    with suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]
