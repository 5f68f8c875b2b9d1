"""The curves of a run."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gankit.atomic import atomic_write
from gankit.errors import DataError, MissingExtra
from gankit.training.callbacks.drawing import Drawing
from gankit.training.callbacks.metrics_csv import read_metrics
from gankit.training.reports import Curves

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer

# More points than a plot has pixels take time and show nothing.
_MOST_POINTS = 1000
# Axes fail on numbers beyond.
_LARGEST = 1e300
# The average follows a fiftieth of what is shown.
_SMOOTHING = 50


class LossCurves(Drawing):
    """Plot the losses and D's mean outputs of a metrics.csv in the PNG ``path``.

    Each curve is drawn with its moving average. While the run goes on they are drawn at checkpoints
    and at sample pictures, where that costs little (see ``Drawing``).
    """

    _needs = ("matplotlib", "matplotlib")

    def __init__(self, metrics: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.metrics = Path(metrics)

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        self._changed = True

    def on_picture(self, trainer: Trainer, path: Path) -> None:
        self._draw_if_cheap(trainer)

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        self._draw_if_cheap(trainer)

    def _draw(self, trainer: Trainer) -> None:
        run = trainer.config.get("run")
        recipe = run.get("recipe") if isinstance(run, dict) else None
        title = trainer.data.name if recipe is None else f"{recipe} on {trainer.data.name}"
        draw_curves(self.metrics, self.path, trainer.curves(), title=title)


def curves_of(columns: Sequence[str]) -> list[Curves]:
    """The plots of a metrics.csv of which nothing but its ``columns`` is known."""
    names = [c for c in columns if c not in ("step", "epoch", "images_per_second")]
    losses = {name: name for name in names if name.endswith("loss")}
    others = {name: name for name in names if name not in losses}
    plots = (Curves("loss", losses), Curves("other metrics", others))
    return [plot for plot in plots if plot.columns]


def draw_curves(
    metrics: Path, path: Path, curves: Sequence[Curves] = (), *, title: str | None = None
) -> None:
    """Write the PNG ``path`` of ``metrics``, a metrics.csv, the plots ``curves`` above one another.

    Without ``curves`` they follow from the names of the columns.

    Raises DataError if the file has no rows, MissingExtra without matplotlib, OSError if one of the
    two cannot be read or written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "train") from error
    rows = read_metrics(metrics)
    if not rows:
        raise DataError(f"{metrics} has no rows to draw")
    curves = curves or curves_of(list(rows[0]))
    # A number may be too large for an axis, a letter of the title in none of the fonts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(8, 3.2 * len(curves)))
        canvas = FigureCanvasAgg(figure)
        _fill(figure, rows, curves, title)
        with atomic_write(path) as file:
            canvas.print_png(file)


def _fill(
    figure: Any, rows: Sequence[dict[str, str]], curves: Sequence[Curves], title: str | None
) -> None:
    figure.subplots_adjust(0.1, 0.09, 0.98, 0.94, hspace=0.08)
    plots = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for axes, plot in zip(plots, curves, strict=True):
        for column, name in plot.columns.items():
            _plot(axes, rows, column, name)
        axes.set_ylabel(plot.label)
        axes.set_ylim(plot.limits)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right", framealpha=0.5)
    plots[-1].set_xlabel("step")
    if title is not None:
        # A path may have a dollar sign, which is no formula.
        plots[0].set_title(title, parse_math=False)


def points_of(
    rows: Sequence[Mapping[str, str]], column: str, most: int = _MOST_POINTS
) -> tuple[list[int], list[float]]:
    """Steps and values of ``column``, without NaN and what no axis can show.

    Of more than ``most`` rows the means of as many neighbors as leave no more.
    """
    pairs = [(int(row["step"]), float(row.get(column, "nan"))) for row in rows]
    pairs = [(step, value) for step, value in pairs if abs(value) < _LARGEST]
    size = max(1, -(-len(pairs) // most))
    groups = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    x = [group[-1][0] for group in groups]
    return x, [math.fsum(value / len(group) for _, value in group) for group in groups]


def _plot(axes: Any, rows: Sequence[Mapping[str, str]], column: str, name: str) -> None:
    x, y = points_of(rows, column)
    if not x:
        return
    smooth = smoothed(y)
    (line,) = axes.plot(x, smooth, label=name, marker="." if len(x) == 1 else None)
    if smooth != y:
        axes.plot(x, y, color=line.get_color(), alpha=0.3, linewidth=0.8, zorder=1)


def smoothed(values: list[float]) -> list[float]:
    """The moving average that forgets exponentially, each a true mean of what came before it."""
    keep = 1 - 1 / max(1.0, len(values) / _SMOOTHING)
    total = weight = 0.0
    averages = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        averages.append(total / weight)
    return averages
