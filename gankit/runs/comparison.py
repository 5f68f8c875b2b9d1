"""Runs beside one another: what differs, how far they came, and what they draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from gankit.errors import ConfigError, GankitError
from gankit.loaded import LoadedGenerator
from gankit.metrics.registry import METRICS, values_of
from gankit.runs.protocols import Measured, by_protocol, protocol_notes
from gankit.runs.record import RunRecord, distinct_names, read_record
from gankit.runs.setting_rows import differing
from gankit.runs.wording import duration, number
from gankit.saved import CHECKPOINT, load
from gankit.training.point_pictures import are_points

# Samples of a run; of points, as many make a cloud.
IMAGES, _POINTS = 36, 1000
# Characters of a column of the table.
_WIDEST = 44


@dataclass(frozen=True)
class Drawn:
    """What stands for a run in the picture: ``samples``, float ``[N, C, H, W]``, or a ``picture``
    of its own; ``noise`` says which runs have the same z."""

    samples: Tensor | None = None
    picture: Path | None = None
    noise: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Comparison:
    """Runs by names that tell them apart, and what is drawn of each.

    ``notes`` says in sentences what could not be compared.
    """

    runs: dict[str, RunRecord]
    drawn: dict[str, Drawn] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, dict[str, str]]:
        """The settings that differ, by name; those that each run has are in it."""
        configs = {name: run.config for name, run in self.runs.items() if run.config is not None}
        return differing(configs)

    @property
    def columns(self) -> list[str]:
        """The metrics of all runs, those that more runs have first."""
        every = [column for run in self.runs.values() for column in run.columns]
        first = values_of(METRICS)
        return sorted(dict.fromkeys(every), key=lambda c: (c not in first, -every.count(c)))

    @property
    def evaluations(self) -> dict[str, Measured]:
        """What ``gankit evaluate`` found, by metric and protocol (``protocols.by_protocol``)."""
        return by_protocol({name: run.evaluations for name, run in self.runs.items()})


def compare(folders: Sequence[Path], *, seed: int, trust: bool) -> Comparison:
    """Read the runs in ``folders`` and draw samples of each, from the same z where its shape and
    distribution are the same.

    Raises ConfigError for fewer than two runs, the same one twice, or a folder that is no run.
    """
    if len(folders) < 2:
        raise ConfigError(f"{folders[0]} is one run; allowed are two or more")
    names = distinct_names(list(folders))
    runs = {name: read_record(folder) for name, folder in zip(names, folders, strict=True)}
    notes = [f"{name}: {trouble}" for name, run in runs.items() for trouble in run.troubles]
    drawn = {name: _drawn(name, run, seed, trust, notes) for name, run in runs.items()}
    notes += protocol_notes(runs)
    if len({each.noise for each in drawn.values() if each.noise is not None}) > 1:
        notes.append("the runs draw from noise of other shapes, so not all have the same z")
    return Comparison(runs, drawn, notes)


def _drawn(name: str, run: RunRecord, seed: int, trust: bool, notes: list[str]) -> Drawn:
    reason = "it has no checkpoint"
    if (run.folder / CHECKPOINT).is_file():
        try:
            network = load(run.folder, trust=trust)
            if isinstance(network, LoadedGenerator):
                n = _POINTS if are_points(network.image_shape) else IMAGES
                noise = (network.z_dim, network.z_distribution)
                return Drawn(samples=network.sample(n, seed=seed), noise=noise)
            reason = "it does not draw from noise alone"
        except GankitError as error:
            reason = str(error)
    if not run.pictures:
        notes.append(f"{name} is not drawn: {reason}, and it has no sample picture")
        return Drawn()
    notes.append(f"{name} is shown by its newest sample picture: {reason}")
    return Drawn(picture=run.pictures[-1])


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Plain values, for JSON: what is NaN or not known is None."""
    runs = []
    for name, run in comparison.runs.items():
        metrics = {}
        for column in run.columns:
            found = run.summary(column)
            if found is not None:
                (low, low_at), (high, high_at) = found.lowest, found.highest
                metrics[column] = {
                    "last": found.last,
                    "lowest": low,
                    "lowest_step": low_at,
                    "highest": high,
                    "highest_step": high_at,
                }
        config = run.config
        runs.append(
            {
                "name": name,
                "folder": str(run.folder),
                "recipe": None if config is None else config.recipe,
                "step": run.step,
                "epoch": _finite(run.epoch),
                "finished": run.finished,
                "seconds": _finite(run.seconds) if run.rows else None,
                "images_per_second": _finite(run.images_per_second),
                "parameters": run.parameters or None,
                "metrics": metrics,
                "evaluations": run.evaluations,
            }
        )
    return {"runs": runs, "settings": comparison.settings, "notes": comparison.notes}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_table(comparison: Comparison) -> str:
    """The same for people: a column per run, and a row per setting that differs and per number."""
    runs = comparison.runs
    rows: list[list[str]] = [["", *runs]]

    def add(name: str, of: Callable[[RunRecord], str]) -> None:
        rows.append([name, *map(of, runs.values())])

    add("recipe and data", lambda run: run.title or "unknown")
    for setting, values in comparison.settings.items():
        if setting not in ("recipe", "data"):
            rows.append([setting, *(values.get(name, "unknown") for name in runs)])
    add("step", lambda run: f"{run.step:,}" + ("" if run.finished else ", not finished"))
    add("epochs", lambda run: number(run.epoch))
    add("training time", lambda run: duration(run.seconds) if run.rows else "unknown")
    add("images/s", lambda run: number(run.images_per_second))
    for network in dict.fromkeys(name for run in runs.values() for name in run.parameters):
        add(f"parameters of {network}", partial(_count, network))
    for label, measured in comparison.evaluations.items():
        rows.append([label, *(measured.words(name) for name in runs)])
    for column in comparison.columns:
        add(column, partial(_said, column))
    return _laid_out(rows)


def _count(network: str, run: RunRecord) -> str:
    count = run.parameters.get(network)
    return "-" if count is None else f"{count:,}"


def _said(column: str, run: RunRecord) -> str:
    found = run.summary(column)
    if found is None:
        return "-"
    known = values_of(METRICS).get(column)
    value, step = found.highest if known and known.higher_is_better else found.lowest
    return f"{number(found.last)} ({'best' if known else 'lowest'} {number(value)} at {step:,})"


def _laid_out(rows: list[list[str]]) -> str:
    rows = [[row[0], *map(_cut, row[1:])] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _cut(cell: str) -> str:
    cell = " ".join(cell.split())
    return cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 3]}..."
