"""Training: the step, the loop around it, checkpoints.

Paper: Goodfellow et al., "Generative Adversarial Networks", 2014, arXiv 1406.2661.
"""

from __future__ import annotations

from gankit.training.ada import ADA
from gankit.training.callbacks import (
    Callback,
    LossCurves,
    MetricsCSV,
    Progress,
    SampleGrid,
    SamplesGif,
)
from gankit.training.checkpoint import load_checkpoint, save_checkpoint
from gankit.training.checkpointing import Checkpoint
from gankit.training.diagnostics import Diagnostics
from gankit.training.diffaugment import DiffAugment
from gankit.training.gan_step import GANStep
from gankit.training.memory import keep_freed_memory
from gankit.training.noise import Noise, noise_for
from gankit.training.optimizers import clip_gradients, gan_adam, wgan_rmsprop
from gankit.training.phases import Phase
from gankit.training.pictures import generate, save_grid
from gankit.training.reports import Curves, Panel
from gankit.training.step import Step
from gankit.training.tensorboard import TensorBoard
from gankit.training.trainer import DivergedError, Metrics, Trainer

__all__ = [
    "ADA",
    "Callback",
    "Checkpoint",
    "Curves",
    "Diagnostics",
    "DiffAugment",
    "DivergedError",
    "GANStep",
    "LossCurves",
    "Metrics",
    "MetricsCSV",
    "Noise",
    "Panel",
    "Phase",
    "Progress",
    "SampleGrid",
    "SamplesGif",
    "Step",
    "TensorBoard",
    "Trainer",
    "clip_gradients",
    "gan_adam",
    "generate",
    "keep_freed_memory",
    "load_checkpoint",
    "noise_for",
    "save_checkpoint",
    "save_grid",
    "wgan_rmsprop",
]
