"""What happens beside the training: progress, metrics, pictures, checkpoints."""

from __future__ import annotations

from gankit.training.callbacks.base import Callback
from gankit.training.callbacks.curves import LossCurves, Panel, draw_curves, panels_of
from gankit.training.callbacks.metrics_csv import COLUMNS, MetricsCSV, append_line, read_metrics
from gankit.training.callbacks.progress import Progress, names_of
from gankit.training.callbacks.sample_grid import SAMPLE_NAME, SampleGrid
from gankit.training.callbacks.samples_gif import SamplesGif, write_gif

__all__ = [
    "COLUMNS",
    "SAMPLE_NAME",
    "Callback",
    "LossCurves",
    "MetricsCSV",
    "Panel",
    "Progress",
    "SampleGrid",
    "SamplesGif",
    "append_line",
    "draw_curves",
    "names_of",
    "panels_of",
    "read_metrics",
    "write_gif",
]
