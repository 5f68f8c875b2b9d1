"""The picture of ``gankit compare``."""

from __future__ import annotations

import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.errors import DataError, MissingExtra
from gankit.runs.comparison import Comparison
from gankit.training.callbacks.curves import points_of, smoothed
from gankit.training.pictures import drawable, to_bytes
from gankit.training.point_pictures import are_points

# Images in a row of a run's samples, runs beside one another, and curves at most.
_COLUMNS, _RUNS, _PLOTS = 6, 6, 12
# Results of an evaluation above the samples.
_VALUES = 3


def draw(comparison: Comparison, path: Path) -> None:
    """Write the PNG ``path``: samples of the runs side by side, and below them their curves.

    A plot for each metric, with a curve for each run that has it. Raises MissingExtra without
    matplotlib, OSError if the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "train") from error
    columns = comparison.columns[:_PLOTS]
    if len(comparison.columns) > _PLOTS:
        comparison.notes.append(f"{_PLOTS} of {len(comparison.columns)} metrics have a plot")
    count = len(comparison.runs)
    wide = max(3 * min(count, _RUNS), 9)
    across = 3 if len(columns) > 2 else max(len(columns), 1)
    rows = -(-len(columns) // across)
    of_samples = -(-count // _RUNS)
    heights = [3.3 * of_samples, 2.6 * rows]
    # A number may be too large for an axis, a letter of a name in none of the fonts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(wide, sum(heights)), layout="constrained", dpi=100)
        canvas = FigureCanvasAgg(figure)
        parts: Any = [figure]
        if columns:
            parts = figure.subfigures(2, 1, height_ratios=heights)
            _draw_curves(parts[1], comparison, columns, rows, across)
        _draw_samples(parts[0], comparison, of_samples)
        with atomic_write(path) as file:
            canvas.print_png(file)


def _draw_samples(figure: Any, comparison: Comparison, rows: int) -> None:
    places = figure.subplots(rows, -(-len(comparison.runs) // rows), squeeze=False).flatten()
    for axes in places:
        axes.axis("off")
    measured: dict[str, list[str]] = {}
    shared = (row for row in comparison.evaluations.items() if len(row[1].numbers) > 1)
    for label, row in islice(shared, _VALUES):
        for name, value in row.numbers.items():
            measured.setdefault(name, []).append(f"{label}: {value}")
    for axes, (name, run) in zip(places, comparison.runs.items(), strict=False):
        drawn = comparison.drawn[name]
        lines = [name, f"step {run.step:,}", *measured.get(name, ())]
        axes.set_title("\n".join(lines), fontsize=9, parse_math=False)
        inverted = run.config is not None and run.config.grid_inverted
        if drawn.samples is not None and are_points(tuple(drawn.samples.shape[1:])):
            _draw_points(axes, drawn.samples)
        elif drawn.samples is not None:
            axes.imshow(_tiled(drawn.samples, inverted), cmap="gray", vmin=0, vmax=255)
        elif drawn.picture is not None:
            try:
                axes.imshow(_read(drawn.picture), interpolation="antialiased")
            except Exception as error:  # Pillow raises a dozen kinds for damaged files
                what = " ".join(str(error).split()) or type(error).__name__
                comparison.notes.append(f"{drawn.picture} cannot be read: {what}")
        else:
            axes.text(0.5, 0.5, "no picture", ha="center", va="center")


def _draw_points(axes: Any, samples: Tensor) -> None:
    points = samples.flatten(1).numpy()
    axes.axis("on")
    axes.set_xlim(-1.05, 1.05)
    if points.shape[1] == 1:
        axes.hist(points[:, 0], bins=50, range=(-1, 1), density=True)
    else:
        axes.plot(points[:, 0], points[:, 1], ".", markersize=2)
        axes.set_ylim(-1.05, 1.05)
        axes.set_aspect("equal")


def _draw_curves(
    figure: Any, comparison: Comparison, columns: list[str], rows: int, across: int
) -> None:
    places = figure.subplots(rows, across, squeeze=False).flatten()
    for axes in places[len(columns) :]:
        axes.axis("off")
    for axes, column in zip(places, columns, strict=False):
        for index, run in enumerate(comparison.runs.values()):
            x, y = points_of(run.rows, column)
            if x:
                marker = "." if len(x) == 1 else None
                axes.plot(x, smoothed(y), color=f"C{index % 10}", marker=marker)
        axes.set_title(column, fontsize=9, parse_math=False)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    for index, name in enumerate(comparison.runs):  # a line in the legend also without numbers
        places[0].plot([], [], color=f"C{index % 10}", label=name)
    legend = figure.legend(loc="outside upper center", ncols=min(len(comparison.runs), 4))
    for text in legend.get_texts():
        text.set(fontsize=8, parse_math=False)


def _tiled(images: Tensor, inverted: bool) -> Any:
    """Images as one of uint8 ``[H, W]`` or ``[H, W, C]``, in six columns, a pixel apart."""
    tiles = torch.nn.functional.pad(to_bytes(drawable(images), inverted=inverted), (0, 1, 0, 1))
    n, channels, height, width = tiles.shape
    grid = tiles.view(n // _COLUMNS, _COLUMNS, channels, height, width)
    page = grid.permute(0, 3, 1, 4, 2).reshape(n // _COLUMNS * height, _COLUMNS * width, channels)
    return (page[:, :, 0] if channels == 1 else page).numpy()


def _read(path: Path) -> Any:
    from PIL import Image

    if not path.is_file():
        raise DataError("it is not a file")
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
