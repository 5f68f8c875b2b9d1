"""Points out of a generator, drawn: densities in one dimension, clouds in two."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.errors import ConfigError, MissingExtra

__all__ = ["are_points", "save_points"]

_BINS = 60


def are_points(shape: Sequence[int]) -> bool:
    """Whether samples of ``shape`` are one or two numbers each (``gankit.data.PointData``)."""
    return tuple(shape) in ((1, 1, 1), (1, 1, 2))


def save_points(
    path: str | os.PathLike[str],
    fakes: Tensor,
    reals: Tensor | None = None,
    *,
    answer: Callable[[Tensor], Tensor] | None = None,
    caption: str = "",
) -> None:
    """Write a PNG of generated points, over real ones if they are given.

    Args:
        path: the file.
        fakes: float ``[N, 1, 1, d]`` on the CPU, d = 1 or 2.
        reals: the same of real points.
        answer: D's answer to points ``[N, 1, 1, 1]``; drawn as a curve where d = 1.
        caption: what stands above, such as the step.

    Raises ConfigError for other shapes, MissingExtra without matplotlib, OSError if the file cannot
    be written.
    """
    if not are_points(fakes.shape[1:]):
        raise ConfigError(f"points are {list(fakes.shape)}; allowed are [N, 1, 1, 1 or 2]")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "train") from error
    figure = Figure(figsize=(4.5, 3.6), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    sets = [("real", reals, "tab:blue")] if reals is not None else []
    for label, points, colour in (*sets, ("generated", fakes, "tab:orange")):
        assert points is not None
        flat = points.detach().float().flatten(1)
        if flat.shape[1] == 1:
            values = flat.flatten().clamp(-1, 1).tolist()
            edges = torch.linspace(-1, 1, _BINS + 1).tolist()
            axes.hist(values, edges, density=True, alpha=0.5, color=colour, label=label)
        else:
            axes.scatter(*flat.T.tolist(), s=4, alpha=0.5, color=colour, label=label)
    if fakes.shape[-1] == 1:
        axes.set_ylabel("density")
        if answer is not None:
            _draw_answer(axes.twinx(), answer)
    else:
        axes.set_ylim(-1.05, 1.05)
        axes.set_aspect("equal")
    axes.set_xlim(-1.05, 1.05)
    axes.legend(loc="upper left")
    axes.set_title(caption, loc="left", fontsize="medium")
    with atomic_write(path) as file:
        canvas.print_png(file)


def _draw_answer(axes: Any, answer: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-1, 1, 201)
    axes.plot(x.tolist(), answer(x.view(-1, 1, 1, 1)).flatten().tolist(), color="tab:green")
    axes.set_ylabel("D(x)", color="tab:green")
