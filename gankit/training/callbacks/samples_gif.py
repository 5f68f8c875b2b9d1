"""The pictures of a run as one moving picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gankit.errors import MissingExtra
from gankit.training.atomic import atomic_write
from gankit.training.callbacks.base import Callback
from gankit.training.callbacks.sample_grid import SAMPLE_NAME

if TYPE_CHECKING:
    from gankit.training.trainer import Trainer

MAX_GIF_FRAMES = 200


class SamplesGif(Callback):
    """Join the pictures of ``folder`` into a GIF at the end of the run."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        milliseconds: int = 250,
    ) -> None:
        self.folder, self.path, self.milliseconds = Path(folder), Path(path), milliseconds

    def on_end(self, trainer: Trainer) -> None:
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingExtra("pillow", "train") from error
        files = sorted(f for f in self.folder.iterdir() if SAMPLE_NAME.fullmatch(f.name))
        if not files:
            return
        stride = -(-len(files) // MAX_GIF_FRAMES)
        files = files[::-1][::stride][::-1]
        frames = [Image.open(file).convert("L" if _is_grey(trainer) else "RGB") for file in files]
        durations = [self.milliseconds] * (len(frames) - 1) + [8 * self.milliseconds]
        with atomic_write(self.path) as file:
            frames[0].save(
                file,
                format="GIF",
                save_all=True,
                append_images=frames[1:],
                duration=durations,
                loop=0,
            )


def _is_grey(trainer: Trainer) -> bool:
    return trainer.data.shape[0] == 1
