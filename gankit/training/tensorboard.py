"""Metrics for TensorBoard."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gankit.errors import MissingExtra
from gankit.training.callbacks import COLUMNS, Callback

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer


class TensorBoard(Callback):
    """Write the columns of metrics.csv as scalars to event files in ``folder``.

    What an interrupted run wrote past the step at which it goes on is hidden by TensorBoard. Raises
    MissingExtra where the package tensorboard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("tensorboard", "tensorboard") from error
        self.folder = Path(folder)
        self._make: Any = SummaryWriter
        self._writer: Any = None

    def on_start(self, trainer: Trainer) -> None:
        self._writer = self._make(str(self.folder), purge_step=trainer.step + 1)

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        for name in COLUMNS:
            value = getattr(metrics, name)
            if name != "step" and not math.isnan(value):
                self._writer.add_scalar(name, value, metrics.step)
        for name, optimizer in (
            ("g_lr", trainer.gan_step.g_optimizer),
            ("d_lr", trainer.gan_step.d_optimizer),
        ):
            self._writer.add_scalar(name, float(optimizer.param_groups[0]["lr"]), metrics.step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
