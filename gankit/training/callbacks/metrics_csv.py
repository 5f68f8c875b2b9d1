"""The numbers of a run, one row per log."""

from __future__ import annotations

import codecs
import csv
import errno
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gankit.atomic import atomic_write
from gankit.training.callbacks.base import Callback

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer

_LOG = logging.getLogger(__name__)
# The order of a GAN's columns, where a file has rows without their names.
_OF_A_GAN = (
    *("step", "epoch", "d_loss", "g_loss", "d_real", "d_fake", "critic_distance"),
    "images_per_second",
)
# The csv module takes no longer field.
_LONGEST_LINE = 100_000
# Steps beyond this are no steps; float64 has every integer below it.
_LAST_STEP = 2**53


class MetricsCSV(Callback):
    """One row per log in ``path``. Rows past the step a run resumes at are dropped first.

    A file that was edited is read as far as it can be (see ``read_metrics``); where something in it
    cannot, it stays beside the new one under another name, and a warning says so.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: tuple[str, ...] = ()

    def on_start(self, trainer: Trainer) -> None:
        self._columns = ("step", "epoch", *trainer.metric_names, "images_per_second")
        found = _read(self.path, self._columns)
        rows = [row for row in found.rows if int(row["step"]) <= trainer.step]
        if found.lost:
            kept = _put_aside(self.path)
            _LOG.warning(
                "%s has %s, which the run cannot go on with: the file as it was is %s",
                self.path,
                found.lost[0],
                kept,
            )
        if trainer.step >= trainer.log_every and not rows:
            _LOG.warning(
                "%s has no rows up to step %d, where the run goes on; the curves begin here",
                self.path,
                trainer.step,
            )
        ended_between = trainer.step % trainer.log_every and trainer.step < trainer.total_steps
        if ended_between and rows and int(rows[-1]["step"]) == trainer.step:
            rows.pop()  # the steps of the run's last row are part of the next one
        with atomic_write(self.path) as file:
            lines = [",".join(row[c] for c in self._columns) for row in rows]
            lines.insert(0, ",".join(self._columns))
            file.write(("\n".join(lines) + "\n").encode())

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        values = (getattr(metrics, column) for column in self._columns)
        line = ",".join(
            f"{value:.6g}" if isinstance(value, float) else str(value) for value in values
        )
        append_line(self.path, line)


def append_line(path: Path, line: str) -> None:
    """Append a whole line to ``path``, or nothing if the disk is full (OSError naming ``path``)."""
    with open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        data = (line + "\n").encode()
        try:
            written = file.write(data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                file.truncate(end)
            raise OSError(error.errno, error.strerror, str(path)) from error


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows of a metrics.csv in the order of their steps; an empty list if there is none.

    Each has all columns of the file: ``step`` is an integer from 0, the others are numbers as text.
    What another program made of the file is understood: a byte order mark, semicolons (with a
    decimal comma) or tabs, other columns or another order, other line ends. What is no number is
    ``nan``. Lines that are no row, such as the half one that a crash left, are passed
    over. Raises OSError if the file cannot be read.
    """
    return _read(Path(path), None).rows


@dataclass
class _Found:
    rows: list[dict[str, str]] = field(default_factory=list)
    # What would be gone if the rows were written anew, in words.
    lost: list[str] = field(default_factory=list)


def _read(path: Path, columns: tuple[str, ...] | None) -> _Found:
    """The rows with ``columns``, those of the run, or with those of the file."""
    found = _Found()
    if not path.is_file():
        return found
    text = _decoded(path.read_bytes())
    lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip(" \t,;\0\x1a")]
    header, delimiter = _header(lines[0] if lines else "")
    if columns is None:
        columns = tuple(filter(None, header or ()))
        in_order = set(columns) <= set(_OF_A_GAN)
        own = list(_OF_A_GAN) if in_order else list(columns)
        columns = columns or _OF_A_GAN
    else:
        own = list(columns)
    if header is None:
        names, delimiter = own, ","
    else:
        names, lines = header, lines[1:]
        unknown = [name for name in names if name and name not in columns]
        if unknown:
            found.lost.append(f"a column {unknown[0][:80]!r}")
    whole = text.endswith(("\n", "\r"))
    for number, line in enumerate(lines, 1):
        row = _row(_split(line, delimiter), names)
        # Rows that gankit added to a file of another form.
        row = row or _row(_split(line, ","), own)
        if row is None:
            if whole or number < len(lines):  # else a crash left half a row
                found.lost.append(f"the line {line[:60]!r}")
            continue
        for column in columns:
            value = _number(row.get(column, ""), decimal_comma=delimiter == ";")
            if value is None and row.get(column):
                found.lost.append(f"the {column} {row[column][:60]!r}")
            row[column] = value or "nan"
        step = float(row["step"])
        if not (0 <= step < _LAST_STEP and step.is_integer()):
            found.lost.append(f"the line {line[:60]!r}")
            continue
        row["step"] = str(int(step))
        found.rows.append({column: row[column] for column in columns})
    found.rows.sort(key=lambda row: int(row["step"]))
    return found


def _decoded(data: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    return data.decode("utf-8", errors="replace")


def _header(line: str) -> tuple[list[str] | None, str]:
    """The names in the first line and what stands between them; None if it is not a header."""
    for delimiter in ",;\t":
        names = [name.lower() for name in _split(line, delimiter)]
        if "step" in names:
            return names, delimiter
    return None, ","


def _split(line: str, delimiter: str) -> list[str]:
    """Line by line, so that one quotation mark too many costs one line."""
    if len(line) > _LONGEST_LINE:
        return []
    try:
        return [text.strip() for text in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _row(texts: list[str], names: list[str]) -> dict[str, str] | None:
    while len(texts) > len(names) and not texts[-1]:  # a table program fills lines up
        texts = texts[:-1]
    return dict(zip(names, texts, strict=True)) if len(texts) == len(names) else None


def _number(text: str, *, decimal_comma: bool) -> str | None:
    """``text`` if it is a number, with a decimal point; None if it is not."""
    text = text.strip()
    if decimal_comma:
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return text if text.isascii() and len(text) < 40 else f"{value:.6g}"


def _put_aside(path: Path) -> Path:
    """Copy ``path`` to a name of its own beside it, and return that."""
    number = 1
    while True:
        kept = path.with_name(f"{path.stem}.edited{number}{path.suffix}")
        if not kept.exists():
            break
        number += 1
    with atomic_write(kept) as file:
        file.write(path.read_bytes())
    return kept
