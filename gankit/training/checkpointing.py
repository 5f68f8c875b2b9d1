"""When checkpoints are written, and which of them stay."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gankit.errors import CheckpointError, ConfigError
from gankit.training.callbacks import Callback
from gankit.training.checkpoint import (
    earlier_checkpoints,
    keep_checkpoint,
    load_checkpoint,
    remove_leftovers,
    save_checkpoint,
)
from gankit.training.distributed import world

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer


class Checkpoint(Callback):
    """Write ``path`` every ``every`` steps and at the end, never with a NaN or infinite weight.

    Args:
        path: the newest checkpoint, such as ``checkpoint.pt``.
        every: steps between two checkpoints.
        keep: how many of the newest stay; those before the newest are ``checkpoint.step_N.pt``.
        best: what a log reports, such as ``"fid"``; the checkpoint at which the last log had the
            best value of it stays as ``checkpoint.best.pt``: the highest of a measure of which more
            is better, else the lowest. The best measure so far is a checkpoint at once. Columns
            such as ``"g_loss"`` say little of a GAN's samples and much of an autoencoder's.

    ``saved_at`` is the step of the newest checkpoint, and -1 before the first.

    Raises ConfigError for arguments outside what is said here, OSError naming the file if one
    cannot be written: the older ones are then untouched.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1000,
        keep: int = 1,
        best: str | None = None,
    ) -> None:
        for name, value in (("checkpoint_every", every), ("checkpoint_keep", keep)):
            if value < 1:
                raise ConfigError(f"{name} is {value}; allowed are integers from 1")
        self.path, self.every, self.keep, self.best = Path(path), every, keep, best
        self.saved_at = -1
        # Of a measure of which more is better, both are its negative.
        self._latest = self._lowest = math.inf
        self._evaluated = False

    def state_dict(self) -> dict[str, Any]:
        if self.best is None:
            return {}
        return {"latest": self._latest, "lowest": self._lowest, "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        numbers = [state.get(name, math.inf) for name in ("latest", "lowest")]
        if not all(isinstance(number, float) for number in numbers):
            raise CheckpointError(f"the best value so far is {numbers[1]!r}; allowed is a number")
        if state.get("best", self.best) == self.best:  # else they are of another column
            self._latest, self._lowest = numbers

    def on_start(self, trainer: Trainer) -> None:
        if self.best is not None and self.best not in trainer.metric_names:
            raise ConfigError(
                f"checkpoint_best is {self.best!r}, which this run does not have; allowed are "
                f"null, {', '.join(trainer.metric_names)}"
            )
        self.saved_at = -1
        if trainer.step:  # the file may be a damaged one that this run was not resumed from
            with suppress(CheckpointError, OSError):
                if load_checkpoint(self.path)["step"] == trainer.step:
                    self.saved_at = trainer.step
        if self.path.parent.is_dir() and world()[0] == 0:
            remove_leftovers(self.path)

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        if self.best is not None:
            value, measure = float(metrics.values[self.best]), trainer.measures.get(self.best)
            value = -value if measure is not None and measure.higher_is_better else value
            self._latest = math.inf if math.isnan(value) else value
            # Else the networks that were evaluated would be gone by the next checkpoint.
            self._evaluated = measure is not None and self._latest < self._lowest

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step % self.every == 0 or self._evaluated:
            self._evaluated = False
            self.save(trainer)

    def on_end(self, trainer: Trainer) -> None:
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint of this step, unless it is written already.

        In a run of many processes all must call it, and rank 0 writes.
        """
        if self.saved_at == trainer.step:
            return
        trainer.check_finite()
        improved = self._latest < self._lowest
        self._lowest = min(self._lowest, self._latest)
        state = trainer.state_dict()
        if world()[0] > 0:  # rank 0 writes
            self.saved_at = trainer.step
            return
        if self.keep > 1 and self.saved_at > 0:
            keep_checkpoint(self.path, f"step_{self.saved_at:07d}")
        save_checkpoint(self.path, state)
        if improved:
            keep_checkpoint(self.path, "best")
        self.saved_at = trainer.step
        self._prune(trainer.step)
        for callback in trainer.callbacks:
            callback.on_checkpoint(trainer, self.path)

    def _prune(self, now: int) -> None:
        """Those past this step are of a run that was taken up again before them."""
        earlier = earlier_checkpoints(self.path)
        stay = [file for step, file in earlier if step < now][: self.keep - 1]
        for _, file in earlier:
            if file not in stay:
                with suppress(OSError):
                    file.unlink()
