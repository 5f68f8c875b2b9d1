"""What the files of a run say of it, as they stand: nothing is built, and nothing is imported."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from gankit.errors import CheckpointError, ConfigError, GankitError
from gankit.runs.component import split_spec
from gankit.runs.evaluating import kept
from gankit.runs.runfiles import CONFIG, METRICS, SAMPLES
from gankit.runs.settings import read_yaml
from gankit.saved import CHECKPOINT, run_config
from gankit.training.callbacks import read_metrics
from gankit.training.callbacks.curves import curves_of
from gankit.training.callbacks.samples_gif import sample_pictures
from gankit.training.checkpoint import load_checkpoint
from gankit.training.config import FIELDS, RunConfig
from gankit.training.diagnostics import warnings_in
from gankit.training.reports import Curves

_NO_METRICS = ("step", "epoch", "images_per_second")


@dataclass(frozen=True)
class Summary:
    """One column of a metrics.csv: its last number, the lowest and the highest with their steps."""

    last: float
    lowest: tuple[float, int]
    highest: tuple[float, int]


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder shows it; also one that is going on, or of which files are missing.

    Attributes:
        folder: that of the run.
        config: its settings, never trusted; None where no file says them.
        rows: those of metrics.csv.
        curves: the plots that the run's step names; empty where no checkpoint says them.
        description: what the checkpoint says of networks, shapes and classes.
        environment: where the newest checkpoint was written.
        step: the last one that was logged or kept.
        pictures: the sample grids, the oldest first.
        warnings: those of the diagnostics, with their steps; None where it is not known.
        looks: how often the diagnostics have looked at the networks.
        evaluations: results of ``gankit evaluate`` and of evaluation while the run went on.
        troubles: what could not be read, a sentence each.
    """

    folder: Path
    config: RunConfig | None = None
    rows: list[dict[str, str]] = field(default_factory=list)
    curves: list[Curves] = field(default_factory=list)
    description: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    step: int = 0
    pictures: list[Path] = field(default_factory=list)
    warnings: list[tuple[int, str]] | None = None
    looks: int = 0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def title(self) -> str | None:
        """The recipe and the data, as on the run's curves; None where that is not known."""
        if self.config is None:
            return None
        return shorten(f"{self.config.recipe} on {data_name(self.config)}", 120)

    @property
    def columns(self) -> list[str]:
        """The metrics in metrics.csv."""
        return [c for c in self.rows[0] if c not in _NO_METRICS] if self.rows else []

    @property
    def all_curves(self) -> list[Curves]:
        """A plot for every column, those that no plot of the step shows by themselves."""
        if not self.curves:
            return curves_of([*(self.rows[0] if self.rows else ())])
        shown = {column for plot in self.curves for column in plot.columns}
        return [*self.curves, *(Curves(c, {c: c}) for c in self.columns if c not in shown)]

    @property
    def epoch(self) -> float:
        """Passes over the data at the last log; NaN before the first."""
        return float(self.rows[-1].get("epoch", "nan")) if self.rows else math.nan

    @property
    def finished(self) -> bool:
        """Whether it has made all the steps that it was asked for."""
        if self.config is None:
            return False
        if self.config.steps is not None:
            return self.step >= self.config.steps
        at_end = self.rows and int(self.rows[-1]["step"]) == self.step
        return bool(at_end and self.config.epochs is not None and self.epoch >= self.config.epochs)

    @property
    def seconds(self) -> float:
        """The time that the logged steps took, without pictures and checkpoints."""
        return sum(span for _, span in self._spans())

    @property
    def images_per_second(self) -> float:
        """The mean over the run; NaN where it is not known."""
        spans = self._spans()
        seconds = sum(span for _, span in spans)
        return sum(images for images, _ in spans) / seconds if seconds else math.nan

    def _spans(self) -> list[tuple[float, float]]:
        """Images and seconds between two rows of metrics.csv."""
        if self.config is None:
            return []
        found, before = [], 0
        for row in self.rows:
            step, rate = int(row["step"]), float(row.get("images_per_second", "nan"))
            images = (step - before) * self.config.batch_size
            if math.isfinite(rate) and rate > 0:
                found.append((float(images), images / rate))
            before = step
        return found

    @property
    def parameters(self) -> dict[str, int]:
        """How many each network has, by name; empty where the checkpoint does not say it."""
        counts = self.description.get("parameters")
        counts = counts if isinstance(counts, dict) else {}
        return {str(name): n for name, n in counts.items() if isinstance(n, int)}

    def summary(self, column: str) -> Summary | None:
        """The numbers of ``column``; None where all are NaN or infinite."""
        pairs = [(float(row.get(column, "nan")), int(row["step"])) for row in self.rows]
        pairs = [(value, step) for value, step in pairs if math.isfinite(value)]
        if not pairs:
            return None
        highest = max(pairs, key=lambda pair: (pair[0], -pair[1]))
        return Summary(pairs[-1][0], min(pairs), highest)


def data_name(config: RunConfig) -> str:
    """The name or import path of the data."""
    try:
        return split_spec("data", config.data)[0]
    except ConfigError:
        return "data of an unknown name"


def read_record(folder: Path, state: Mapping[str, Any] | None = None) -> RunRecord:
    """What the files in ``folder`` say.

    ``state`` is what a checkpoint would hold of the run as it is, its entries ``step``, ``config``,
    ``environment`` and ``callbacks``; else they are read from the run's checkpoint, where there is
    one. Raises ConfigError where ``folder`` has no file of a run, OSError where one cannot be read.
    """
    names = (CONFIG, METRICS, CHECKPOINT)
    if not any((folder / name).is_file() for name in names) and not (folder / SAMPLES).is_dir():
        raise ConfigError(
            f"{folder} has none of {', '.join(names)} and {SAMPLES}/; expected the folder of a run"
        )
    troubles: list[str] = []
    if state is None and (folder / CHECKPOINT).is_file():
        try:
            state = load_checkpoint(folder / CHECKPOINT)
        except CheckpointError as error:
            troubles.append(f"what the checkpoint says is missing: {error}")
    state = {} if state is None else state
    description = _mapping(state.get("config"))
    rows = read_metrics(folder / METRICS)
    callbacks = _mapping(state.get("callbacks"))
    warnings, looks = _warnings(_mapping(callbacks.get("Diagnostics")), troubles)
    return RunRecord(
        folder,
        config=_config(folder, state, troubles),
        rows=rows,
        curves=_curves(description.get("curves")),
        description=description,
        environment=_mapping(state.get("environment")),
        step=max(int(rows[-1]["step"]) if rows else 0, state.get("step", 0)),
        pictures=sample_pictures(folder / SAMPLES),
        warnings=warnings if callbacks else None,
        looks=looks,
        evaluations=kept(folder),
        troubles=troubles,
    )


def distinct_names(folders: list[Path]) -> list[str]:
    """The shortest ends of the paths that tell ``folders`` apart.

    Raises ConfigError for one that is there twice.
    """
    places = [Path(os.path.abspath(folder)) for folder in folders]
    for number, place in enumerate(places):
        if any(other.resolve() == place.resolve() for other in places[:number]):
            raise ConfigError(f"{folders[number]} is given twice; allowed are different runs")
    names = []
    for place in places:
        for count in range(1, len(place.parts) + 1):
            end = place.parts[-count:]
            if sum(other.parts[-count:] == end for other in places) == 1:
                break
        names.append(str(Path(*end)))
    return names


def _config(folder: Path, state: Mapping[str, Any], troubles: list[str]) -> RunConfig | None:
    """The settings in the checkpoint, which is what was trained, or in config.yaml before one."""
    try:
        if "run" in _mapping(state.get("config")):
            return run_config(dict(state), folder / CHECKPOINT)
        if (folder / CONFIG).is_file():
            values = read_yaml(folder / CONFIG)
            if "recipe" not in values:
                raise ConfigError(f"{folder / CONFIG} names no recipe")
            if not values.keys() <= set(FIELDS):  # of gankit 0.1.0
                values = {name: value for name, value in values.items() if name in FIELDS}
                troubles.append(f"{folder / CONFIG} has settings of another version of gankit")
            return RunConfig.from_dict(values, str(folder / CONFIG))
    except (GankitError, TypeError) as error:
        troubles.append(f"the settings of the run are not known: {error}")
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _warnings(
    state: Mapping[str, Any], troubles: list[str]
) -> tuple[list[tuple[int, str]] | None, int]:
    try:
        looks = state.get("looks", 0)
        return (warnings_in(state) if state else None), looks if isinstance(looks, int) else 0
    except CheckpointError as error:
        troubles.append(f"the warnings of the diagnostics are not known: {error}")
        return None, 0


def _curves(stored: Any) -> list[Curves]:
    try:
        return [
            Curves(str(label), {str(k): str(v) for k, v in columns.items()}, _limits(limits))
            for label, columns, limits in stored
        ]
    except (TypeError, ValueError, AttributeError, IndexError):  # a file may say anything
        return []


def _limits(limits: Any) -> tuple[float, float] | None:
    return None if limits is None else (float(limits[0]), float(limits[1]))
