"""Pictures of generated samples while the training goes on."""

from __future__ import annotations

import logging
import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gankit.errors import ConfigError
from gankit.training.autoencoder_step import AutoencoderStep
from gankit.training.callbacks.base import Callback
from gankit.training.modules import eval_mode
from gankit.training.noise import Distribution
from gankit.training.pictures import channels_in_words, generate, save_grid, spread
from gankit.training.point_pictures import are_points, save_points

if TYPE_CHECKING:
    from gankit.training.step import GANStep
    from gankit.training.trainer import Trainer

_LOG = logging.getLogger(__name__)
# As many points make a density or a cloud.
_POINTS = 2000
SAMPLE_NAME = re.compile(r"epoch_\d{4,}_step_\d{7,}\.png")


class SampleGrid(Callback):
    """Draw ``samples/epoch_EEEE_step_SSSSSSS.png``: generated images left, real ones right.

    It draws after epoch ``first``, after every ``every``-th epoch and at the end, always from the
    same z. ``inverted`` shows dark on light (Matplotlib's ``gray_r``). A conditional run has a
    column per class that occurs in its data; of more than ``columns`` classes that many, evenly
    spread. Points of one or two numbers are drawn as densities, with D's answer, or as clouds. Of
    an autoencoder it draws the real images that went through it, after the samples of a variational
    one.
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
        distribution: Distribution = "normal",
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
        self.distribution = distribution
        self.seed = seed
        self._drawn_at = -1

    def on_start(self, trainer: Trainer) -> None:
        said = channels_in_words(trainer.data.shape[0])
        if said is not None:
            _LOG.warning("%s: %s", trainer.data.name, said)

    def on_epoch(self, trainer: Trainer) -> None:
        if trainer.epoch == self.first or trainer.epoch % self.every == 0:
            self._draw(trainer)

    def on_end(self, trainer: Trainer) -> None:
        if self._drawn_at != trainer.step:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        points = are_points(trainer.data.images)
        step, columns = trainer.gan_step, self.columns
        picks = torch.randperm(
            len(trainer.data), generator=torch.Generator().manual_seed(self.seed)
        )
        labels, names = None, []
        if trainer.conditional and not points:
            # A column per class; a label without an image has none.
            known = trainer.data.gather_labels(picks).cpu()
            classes = spread(known.unique().tolist(), columns)
            columns, names = len(classes), [str(label) for label in classes]
            labels = torch.tensor(classes).repeat(self.rows)
            members = [picks[known == label] for label in classes]
            picks = torch.stack([m[torch.arange(self.rows) % len(m)] for m in members], 1).flatten()
        n = max(_POINTS, self.rows * columns) if points else self.rows * columns
        fakes = generate(
            step.sampled, n, seed=self.seed, distribution=self.distribution, labels=labels
        )
        reals = trainer.data.gather(picks[torch.arange(n) % len(picks)]).cpu()
        epoch = -(-trainer.step // trainer.steps_per_epoch)
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"epoch_{epoch:04d}_step_{trainer.step:07d}.png"
        panels = [fakes.reshape(n, *reals.shape[1:]), reals]
        if isinstance(step, AutoencoderStep):
            back = step.reconstruct(reals.to(trainer.data.device)).cpu()
            # Codes drawn from N(0, 1) mean something to a variational decoder alone.
            panels = [*panels[: step.loss.variational], back, reals]
        if points:
            answer = None
            # One curve is no answer of an encoder, nor of a D that asks for labels.
            if not isinstance(step, AutoencoderStep) and not trainer.conditional:
                answer = partial(_answer, step)
            caption = f"step {trainer.step}"
            save_points(path, panels[0], reals, answer=answer, caption=caption)
        else:
            captions = [f"generated, step {trainer.step}", "real"]
            if isinstance(step, AutoencoderStep):
                captions[0] = f"reconstructed, step {trainer.step}"
                captions[:0] = ["generated"] * step.loss.variational
            save_grid(
                path,
                panels,
                columns=columns,
                inverted=self.inverted,
                captions=captions,
                column_names=names,
            )
        self._drawn_at = trainer.step
        for callback in trainer.callbacks:
            callback.on_picture(trainer, path)


@torch.no_grad()
def _answer(step: GANStep, points: Tensor) -> Tensor:
    """D's probabilities, or scores, in eval mode on the CPU."""
    with eval_mode(step.D):
        out = step.D(points.to(next(step.D.parameters()).device)).float().cpu()
    return out.sigmoid() if step.from_logits and not step.loss.scores else out
