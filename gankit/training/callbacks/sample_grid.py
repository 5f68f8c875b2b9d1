"""Pictures of generated samples while the training goes on."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gankit.data import ImageSet
from gankit.errors import ConfigError
from gankit.nn.inference import seeded
from gankit.training.callbacks.base import Callback
from gankit.training.pictures import channels_in_words, save_grid, spread
from gankit.training.point_pictures import are_points, save_points

if TYPE_CHECKING:
    from gankit.training.trainer import Trainer

_LOG = logging.getLogger(__name__)
# As many points make a density or a cloud.
_POINTS = 2000
SAMPLE_NAME = re.compile(r"epoch_\d{4,}_step_\d{7,}\.png")


class SampleGrid(Callback):
    """Draw ``samples/epoch_EEEE_step_SSSSSSS.png``: what the step makes, and real images.

    It draws after epoch ``first``, after every ``every``-th epoch and at the end, always from the
    same noise and samples. ``inverted`` shows dark on light (Matplotlib's ``gray_r``). A
    conditional run has a column per class that occurs in its data; of more than ``columns`` classes
    that many, evenly spread. Points of one or two numbers are drawn as densities, with D's answer,
    or as clouds. The panels are those of the step (``Step.panels``).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        first: int = 1,
        every: int = 10,
        rows: int = 8,
        columns: int = 8,
        inverted: bool = False,
        seed: int = 0,
    ) -> None:
        for name, value in (
            ("first", first),
            ("every", every),
            ("rows", rows),
            ("columns", columns),
        ):
            if value < 1:
                raise ConfigError(f"{name} is {value}; allowed are integers from 1")
        self.folder = Path(folder)
        self.first, self.every = first, every
        self.rows, self.columns = rows, columns
        self.inverted = inverted
        self.seed = seed
        self._drawn_at = -1

    def on_start(self, trainer: Trainer) -> None:
        for shape in trainer.data.fields.values():
            said = channels_in_words(shape[0]) if len(shape) == 3 else None
            if said is not None:
                _LOG.warning("%s: %s", trainer.data.name, said)

    def on_epoch(self, trainer: Trainer) -> None:
        if trainer.epoch == self.first or trainer.epoch % self.every == 0:
            self._draw(trainer)

    def on_end(self, trainer: Trainer) -> None:
        if self._drawn_at != trainer.step:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        points = are_points(trainer.data.fields.get("image", ()))
        with seeded(self.seed, trainer.data.device):  # a set may crop at random
            batch, columns, names = self._batch(trainer, points)
        panels = trainer.gan_step.panels(batch, self.seed)
        epoch = -(-trainer.step // trainer.steps_per_epoch)
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"epoch_{epoch:04d}_step_{trainer.step:07d}.png"
        if points:
            # D's answer is a curve; one that asks for labels has none.
            answer = None if "label" in batch else trainer.gan_step.answer
            caption = f"step {trainer.step}"
            save_points(path, panels[0].images, panels[-1].images, answer=answer, caption=caption)
        else:
            captions = [panel.caption for panel in panels]
            captions[0] += f", step {trainer.step}"
            save_grid(
                path,
                [panel.images for panel in panels],
                columns=columns,
                inverted=self.inverted,
                captions=captions,
                column_names=names,
            )
        self._drawn_at = trainer.step
        for callback in trainer.callbacks:
            callback.on_picture(trainer, path)

    def _batch(self, trainer: Trainer, points: bool) -> tuple[dict[str, Tensor], int, list[str]]:
        """The samples of every picture, how many stand in a row, and the names of the columns."""
        picks = trainer.data.sampler(
            len(trainer.data), generator=torch.Generator().manual_seed(self.seed)
        )
        order, columns = next(picks), self.columns
        data = trainer.data
        conditional = "label" in trainer.gan_step.fields
        if points or not conditional or not isinstance(data, ImageSet):
            n = max(_POINTS, self.rows * columns) if points else self.rows * columns
            return trainer.batch(order[torch.arange(n) % len(order)]), columns, []
        # A column per class; a label without an image has none.
        known = data.gather_labels(order).cpu()
        classes = spread(known.unique().tolist(), columns)
        members = [order[known == label] for label in classes]
        rows = torch.arange(self.rows)
        chosen = torch.stack([m[rows % len(m)] for m in members], 1).flatten()
        return trainer.batch(chosen), len(classes), [data.class_name(label) for label in classes]
