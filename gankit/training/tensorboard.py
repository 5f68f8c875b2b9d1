"""Metrics for TensorBoard."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gankit.errors import MissingExtra
from gankit.training.callbacks import Callback

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer

_LOG = logging.getLogger(__name__)


class TensorBoard(Callback):
    """Write the columns of metrics.csv, and the sample pictures, to event files in ``folder``.

    A picture that cannot be read is left out with a warning. What an interrupted run wrote past the
    step at which it goes on is hidden by TensorBoard. Raises MissingExtra where the package
    tensorboard is not installed.
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
        found = {
            "epoch": metrics.epoch,
            **metrics.values,
            "images_per_second": metrics.images_per_second,
        }
        for name, value in found.items():
            if not math.isnan(value):
                self._writer.add_scalar(name, value, metrics.step)
        for name, optimizer in trainer.gan_step.optimizers.items():
            rate = float(optimizer.param_groups[0]["lr"])
            self._writer.add_scalar(f"{name.lower()}_lr", rate, metrics.step)

    def on_picture(self, trainer: Trainer, path: Path) -> None:
        try:
            import numpy as np
            from PIL import Image

            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._writer.add_image("samples", pixels, trainer.step, dataformats="HWC")
        except Exception as error:  # Pillow raises a dozen kinds; a picture must not cost the run
            _LOG.warning("%s is not in TensorBoard: %s", path, " ".join(str(error).split()))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
