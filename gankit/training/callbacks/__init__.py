"""What happens beside the training: progress, metrics, pictures, checkpoints."""

from __future__ import annotations

from gankit.training.callbacks.base import Callback
from gankit.training.callbacks.curves import LossCurves, draw_curves
from gankit.training.callbacks.evaluation import Evaluate, Evaluator
from gankit.training.callbacks.metrics_csv import MetricsCSV, append_line, read_metrics
from gankit.training.callbacks.progress import Progress
from gankit.training.callbacks.sample_grid import SAMPLE_NAME, SampleGrid
from gankit.training.callbacks.samples_gif import SamplesGif, write_gif
from gankit.training.callbacks.samples_video import write_mp4

__all__ = [
    "SAMPLE_NAME",
    "Callback",
    "Evaluate",
    "Evaluator",
    "LossCurves",
    "MetricsCSV",
    "Progress",
    "SampleGrid",
    "SamplesGif",
    "append_line",
    "draw_curves",
    "read_metrics",
    "write_gif",
    "write_mp4",
]
