"""A training run from Python: what ``gankit train`` does beside parsing and printing."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gankit import recipes
from gankit.errors import ConfigError, GankitError, MissingExtra
from gankit.runs import folder as folders
from gankit.runs.build import build_trainer
from gankit.runs.commands import how_to_resume
from gankit.runs.settings import changed
from gankit.training.config import RunConfig
from gankit.training.distributed import joined, world
from gankit.training.trainer import Trainer

Say = Callable[[str], object]
# Import name and pip name of what a run needs at some point, maybe hours after its start.
_EXTRAS = {
    "jsonargparse": "jsonargparse",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
    "yaml": "pyyaml",
}


class LostProcessError(GankitError, RuntimeError):
    """A process of a run of many cannot go on."""


@dataclass(frozen=True)
class Run:
    """A run that was trained: its folder, its settings, and the trainer as it ended."""

    folder: Path
    config: RunConfig
    trainer: Trainer


def train(
    recipe: str | RunConfig,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool = False,
    say: Say | None = None,
    **settings: Any,
) -> Run:
    """Train a recipe into ``folder``, as ``gankit train RECIPE --out FOLDER`` does.

    Everything is checked before anything is written.

    Args:
        recipe: the name of a recipe, or the settings of a run.
        folder: where checkpoints, pictures and metrics go.
        overwrite: replace the run in ``folder``, once the new one has a checkpoint.
        progress: show a progress bar.
        say: called with each sentence on what was decided.
        settings: those that differ, as ``--set`` takes them: ``steps=1000``, an argument of the
            step such as ``n_critic=5``, or ``**{"discriminator.dropout": 0}``.

    Raises:
        ConfigError, DataError: a setting is wrong, or ``folder`` is taken; nothing is written.
        MissingExtra: a package of the extra ``train`` is not installed.
        DivergedError: a loss or weight became NaN; the last checkpoint is a good one.
    """
    config = recipe if isinstance(recipe, RunConfig) else recipes.get(recipe).config
    config = changed(config, settings.items(), "train()")
    return start(
        config,
        Path(folder),
        overwrite=overwrite,
        progress=progress,
        say=say or silent,
        given=settings,
    )


def start(
    config: RunConfig,
    folder: Path,
    *,
    overwrite: bool,
    progress: bool,
    say: Say,
    given: Collection[str] = (),
) -> Run:
    """The run of ``config``, of which the settings ``given`` were asked for."""
    check_extras()
    with joined():
        if world()[0] == 0:
            folders.check_free(folder, overwrite=overwrite)
        callbacks = folders.run_callbacks(folder, config, quiet=not progress)
        trainer = build_trainer(config, callbacks=callbacks, progress=progress)
        for note in getattr(trainer.data, "notes", ()):
            say(note)
        for note in trainer.gan_step.notes:
            say(note)
        if "lr" in given and "d_lr" not in given and config.d_lr is not None:
            say(f"The learning rate {config.lr} is G's; D keeps its own, d_lr {config.d_lr}.")
        if "z_dim" in given:
            check_z_dim(trainer, config)
        claim = folders.claimed(
            folder, config, overwrite=overwrite, started=lambda: trainer.step > 0
        )
        with claim if world()[0] == 0 else nullcontext() as repaired:
            if repaired:
                say(repaired)
            fit(trainer, folder, config)
    return Run(folder, config, trainer)


def check_extras() -> None:
    """Raise MissingExtra unless all packages that a run needs are installed."""
    for module, package in _EXTRAS.items():
        if find_spec(module) is None:
            raise MissingExtra(package, "train")


def check_z_dim(trainer: Trainer, config: RunConfig) -> None:
    """Raise ConfigError if the generator's own arguments give it another ``z_dim``."""
    z_dim = getattr(trainer.gan_step.inference(), "z_dim", None)
    if z_dim is None:
        raise ConfigError(
            f"z_dim is {config.z_dim}, but {type(trainer.gan_step).__name__} uses no generator of "
            "noise with an attribute z_dim; leave out z_dim (--z-dim)"
        )
    if config.z_dim != z_dim:
        raise ConfigError(
            f"z_dim is {config.z_dim}, but the generator's own arguments give it z_dim {z_dim}; "
            "change them, or leave out z_dim (--z-dim)"
        )


def fit(trainer: Trainer, folder: Path, config: RunConfig) -> None:
    """Train to the end; what is raised says what is left in ``folder``."""
    try:
        trainer.fit(steps=config.steps, epochs=config.epochs)
    except BaseException as error:
        # An error of gankit's is a sentence already; torch's own collectives raise this kind.
        collective = isinstance(error, RuntimeError) and not isinstance(error, GankitError)
        if world()[1] > 1 and collective:
            lost = LostProcessError(_lost(error, trainer))
            _note_what_is_left(lost, trainer, folder, config)
            raise lost from error
        _note_what_is_left(error, trainer, folder, config)
        raise


def _lost(error: BaseException, trainer: Trainer) -> str:
    rank, size = world()
    said = str(error).strip().splitlines()
    return (
        f"process {rank} of {size} stopped at step {trainer.step}: another one ended or did not "
        f"answer, or this one failed: {said[0] if said else type(error).__name__}"
    )


def _note_what_is_left(
    error: BaseException, trainer: Trainer, folder: Path, config: RunConfig
) -> None:
    """Rank 0, after the first step, tells with ``error`` what it leaves in ``folder``."""
    if world()[0] > 0 or trainer.step == 0:
        return
    words, saved = folders.what_is_left(folder, trainer), folders.saved_at(trainer)
    if isinstance(error, KeyboardInterrupt) and saved > 0:
        words = f"to go on from step {saved}: {how_to_resume(folder, config)}"
    vars(error).setdefault("__notes__", []).append(words)  # as add_note() of Python 3.11


def silent(note: str) -> None:
    """Nobody wants to hear it."""
