"""The numbers of a run, one row per log."""

from __future__ import annotations

import csv
import errno
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gankit.training.atomic import atomic_write
from gankit.training.callbacks.base import Callback

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer

_LOG = logging.getLogger(__name__)
COLUMNS = (
    "step",
    "epoch",
    "d_loss",
    "g_loss",
    "d_real",
    "d_fake",
    "critic_distance",
    "images_per_second",
)


class MetricsCSV(Callback):
    """One row per log in ``path``. Rows past the step a run resumes at are dropped first."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_start(self, trainer: Trainer) -> None:
        rows = [row for row in read_metrics(self.path) if int(row["step"]) <= trainer.step]
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
            lines = [",".join(COLUMNS)] + [",".join(row[c] for c in COLUMNS) for row in rows]
            file.write(("\n".join(lines) + "\n").encode())

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        values = (getattr(metrics, column) for column in COLUMNS)
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
    """The whole rows of a metrics.csv; an empty list if there is none.

    A file of an earlier gankit may lack columns: ``critic_distance`` follows from two others, and
    what follows from nothing is ``nan``. Half a row, left by a crash, is passed over.
    """
    path = Path(path)
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        rows = [dict(zip(header, line, strict=True)) for line in lines if len(line) == len(header)]
    return [_completed(row) for row in rows if row.get("step", "").isdigit()]


def _completed(row: dict[str, str]) -> dict[str, str]:
    if not row.get("critic_distance"):
        with suppress(KeyError, ValueError):
            row["critic_distance"] = f"{float(row['d_real']) - float(row['d_fake']):.6g}"
    return {column: row.get(column) or "nan" for column in COLUMNS}
