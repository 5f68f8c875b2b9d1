"""The curves of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gankit.errors import MissingExtra
from gankit.training.atomic import atomic_write
from gankit.training.autoencoder_step import AutoencoderStep
from gankit.training.callbacks.base import Callback
from gankit.training.callbacks.metrics_csv import read_metrics
from gankit.training.callbacks.progress import names_of

if TYPE_CHECKING:
    from gankit.training.trainer import Trainer


class LossCurves(Callback):
    """Plot the losses and D's mean probabilities of a metrics.csv at the end of the run."""

    def __init__(self, metrics: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
        self.metrics, self.path = Path(metrics), Path(path)

    def on_end(self, trainer: Trainer) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtra("matplotlib", "train") from error
        scores = trainer.gan_step.loss.scores
        answer = "mean score" if scores else "mean probability"
        names = names_of(trainer)
        panels: list[tuple[list[tuple[str, str]], str]] = [
            ([(key, names[key]) for key in ("d_loss", "g_loss") if key in names], "loss"),
            ([(key, names[key]) for key in ("d_real", "d_fake") if key in names], answer),
        ]
        if scores:
            panels[1][0].append(("critic_distance", "D(real) - D(fake)"))
        if isinstance(trainer.gan_step, AutoencoderStep):
            panels.pop()
        rows = read_metrics(self.metrics)
        steps = [int(row["step"]) for row in rows]
        figure = Figure(figsize=(8, 6), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        rows_of_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (pairs, label) in zip(rows_of_axes, panels, strict=True):
            for column, name in pairs:
                axes.plot(steps, [float(row[column]) for row in rows], label=name)
            axes.set_ylabel(label)
            axes.grid(alpha=0.3)
            axes.legend()
        rows_of_axes[-1].set_xlabel("step")
        if not scores:
            rows_of_axes[-1].set_ylim(0, 1)
        with atomic_write(self.path) as file:
            canvas.print_png(file)
