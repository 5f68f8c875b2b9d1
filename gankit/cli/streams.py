"""Output that nobody reads any more, and names that the console cannot print."""

from __future__ import annotations

import io
import logging
import os
import select
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from gankit.errors import GankitWarning


@contextmanager
def every_name_printable() -> Iterator[None]:
    """In the block, what stdout or stderr cannot encode is written as an escape, as ``\\u5199``.

    Paths have any characters, also some that stand for bytes of no encoding at all.
    """
    changed = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not _takes_all(stream):
            changed.append((stream, stream.errors))
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in changed:
            with suppress(OSError, ValueError):  # it flushes, and the reader may have gone
                stream.reconfigure(errors=errors)


def _takes_all(stream: io.TextIOWrapper) -> bool:
    try:
        "\u00e9\u5199\U0001f600\udcff".encode(stream.encoding, stream.errors or "strict")
    except UnicodeError:
        return False
    return True


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


@contextmanager
def warnings_as_sentences(*, silent: bool = False) -> Iterator[None]:
    """Inside the block gankit's warnings are lines like those of ``logging``, without a place.

    With ``silent`` they are left out, for the processes of a run that print nothing.
    """
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if not issubclass(category, GankitWarning):
                others(message, category, *place)
            elif not silent:
                logging.getLogger("gankit").warning("%s", message)

        warnings.showwarning = show  # type: ignore[assignment]
        yield
