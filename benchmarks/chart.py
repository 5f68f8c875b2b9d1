"""The report's chart: speed relative to plain eager PyTorch, one row per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gankit.bench.results import Group

PEER_COLOUR, OUR_COLOUR = "#8c8c8c", "#1f6fb4"


def draw(groups: Sequence[Group], environment: Mapping[str, Any], path: Path) -> None:
    """Writes a PNG: for each task the best baseline and gankit, and their rounds' middle halves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [group for group in groups if group.only("plain") and group.only("gankit")]
    figure = Figure(figsize=(10, 1.8 + 0.55 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row, group in enumerate(shown):
        _bars(axes, row, group)
    axes.set_yticks(range(len(shown)), [group.name for group in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.margins(x=0.15)
    axes.set_xlabel("times as fast as plain eager (log scale); bars: medians, lines: middle half")
    axes.set_title(
        f"{environment['device']}\ntorch {environment['torch']}, gankit {environment['gankit']} "
        f"at {environment['commit']}, {environment['date']}",
        fontsize=9,
    )
    axes.legend(
        handles=[
            axes.barh([0], [0], color=PEER_COLOUR, label="best baseline"),
            axes.barh([0], [0], color=OUR_COLOUR, label="gankit"),
        ],
        loc="best",
        fontsize=8,
    )
    figure.savefig(path, dpi=110)


def _bars(axes: Any, row: int, group: Group) -> None:
    plain = group.only("plain")
    assert plain is not None
    for entry, offset, colour in (
        (group.best_peer, -0.2, PEER_COLOUR),
        (group.only("gankit"), 0.2, OUR_COLOUR),
    ):
        assert entry is not None
        speed = plain.median / entry.median
        axes.barh(row + offset, speed - 1, left=1, height=0.36, color=colour)
        axes.plot(
            [plain.median / entry.q3, plain.median / entry.q1],
            [row + offset] * 2,
            color="black",
            linewidth=0.9,
        )
        name = entry.contender if entry.role == "peer" else ""
        axes.annotate(
            f"{speed:.3g}x {name}",
            (max(speed, plain.median / entry.q1, 1.0), row + offset),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
