"""``gankit train``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gankit import recipes
from gankit._version import __version__
from gankit.cli import replaced, rundir, runfiles
from gankit.cli.lock import locked
from gankit.cli.streams import say, warnings_as_sentences
from gankit.errors import CheckpointError, ConfigError, GankitError, MissingExtra
from gankit.recipes.build import build_trainer
from gankit.recipes.config import RunConfig, parse_settings, read_yaml
from gankit.recipes.trust import check_config
from gankit.saved import run_config, unknown_to_the_writer
from gankit.training.checkpoint import load_checkpoint, offering_another
from gankit.training.distributed import gathered, joined, world
from gankit.training.environment import BESIDE_TRAINING
from gankit.training.memory import keep_freed_memory
from gankit.training.trainer import Trainer

FLAGS = (
    "data",
    "data_root",
    "epochs",
    "steps",
    "batch_size",
    "lr",
    "z_dim",
    "device",
    "seed",
)
# Import name and pip name of what a run needs at some point, maybe hours after its start.
EXTRAS = {
    "jsonargparse": "jsonargparse",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
    "yaml": "pyyaml",
}
# Settings that may change between a run and its continuation.
CHANGEABLE = BESIDE_TRAINING | {"device"}


class LostProcessError(GankitError, RuntimeError):
    """A process of a run of many cannot go on."""


def train(arguments: argparse.Namespace) -> int:
    """Run or resume a training. Everything is checked before anything is written."""
    for module, package in EXTRAS.items():
        if find_spec(module) is None:
            raise MissingExtra(package, "train")
    if arguments.out == "":
        raise ConfigError("--out is ''; allowed is a folder")
    keep_freed_memory()
    flags = {name: getattr(arguments, name) for name in FLAGS}
    flags = {name: value for name, value in flags.items() if value is not None}
    with joined() as (rank, _), warnings_as_sentences(silent=rank > 0):
        arguments.quiet = arguments.quiet or rank > 0
        folder = _resume(arguments, flags) if arguments.resume else _start(arguments, flags)
    _announce((f"the run is in {folder}",), arguments.quiet)
    return 0


def _start(arguments: argparse.Namespace, flags: dict[str, Any]) -> Path:
    if arguments.trust:
        raise ConfigError(
            "--trust is for --resume: what --config, --set and --data name is built without it"
        )
    config = _new_config(arguments, flags)
    folder = Path(arguments.out or Path("runs", config.recipe))
    if world()[0] == 0:
        rundir.check_free(folder, overwrite=arguments.overwrite)
    callbacks = rundir.run_callbacks(folder, config, quiet=arguments.quiet)
    trainer = build_trainer(config, callbacks=callbacks)
    _announce(trainer.gan_step.notes, arguments.quiet)
    if "lr" in flags and "d_lr" not in flags and config.d_lr is not None:
        note = f"The learning rate {config.lr} is G's; D keeps its own, d_lr {config.d_lr}."
        _announce((note,), arguments.quiet)
    _check_z_dim(trainer, flags)
    claim = rundir.claimed(
        folder, config, overwrite=arguments.overwrite, started=lambda: trainer.step > 0
    )
    with claim if world()[0] == 0 else nullcontext() as repaired:
        _announce((repaired,) if repaired else (), arguments.quiet)
        _fit(trainer, folder, config)
    return folder


def _resume(arguments: argparse.Namespace, flags: dict[str, Any]) -> Path:
    if arguments.config is not None:
        raise ConfigError("--resume continues with the run's own settings; leave out --config")
    if arguments.out is None and arguments.recipe is None:
        raise ConfigError("--resume needs RECIPE or --out DIR to find the run")
    folder = Path(arguments.out or Path("runs", recipes.get(arguments.recipe).name))
    first = world()[0] == 0
    with locked(folder) if first and folder.is_dir() else nullcontext():
        repaired = replaced.recover(folder) if first and folder.is_dir() else None
        _announce((repaired,) if repaired else (), arguments.quiet)
        gathered(None)  # the others look when that is done
        _go_on(arguments, flags, folder, rundir.check_resumable(folder))
    return folder


def _go_on(arguments: argparse.Namespace, flags: dict[str, Any], folder: Path, path: Path) -> None:
    state = load_checkpoint(path)
    with offering_another(path, lambda state: run_config(state, path)):
        old = run_config(state, path)
    if arguments.recipe not in (None, old.recipe):
        raise ConfigError(f"{folder} is a run of recipe {old.recipe!r}, not {arguments.recipe!r}")
    flags |= parse_settings(arguments.set, old)
    changed = [
        f"{name} is {getattr(old, name)}, not {value}"
        for name, value in flags.items()
        if name not in CHANGEABLE and value != getattr(old, name)
    ]
    if changed:
        raise ConfigError(f"--resume continues with the run's own settings: {', '.join(changed)}")
    new = unknown_to_the_writer(state)
    writer = f"gankit {state['environment'].get('gankit')}"
    if writer == f"gankit {__version__}":
        writer = f"another state of {writer}"
    config = old.updated(**_edited(folder, old, new, writer)).updated(**flags)
    if not arguments.trust:
        check_config(
            config,
            str(folder),
            said=_said(arguments),
            advice="--trust, or the same by --set again,",
        )
    config = config.updated(trusted=True)
    callbacks = rundir.run_callbacks(folder, config, quiet=arguments.quiet)
    with offering_another(path), _about(path):
        trainer = build_trainer(config, callbacks=callbacks, weights=state)
    _check_z_dim(trainer, flags)
    with offering_another(path, trainer.load_state_dict), _about(path):
        trainer.load_state_dict(state)
    end = config.steps or (config.epochs or 0) * trainer.steps_per_epoch
    if end < trainer.step:
        raise ConfigError(
            f"the run in {folder} has {trainer.step} steps already, and was asked to end at step "
            f"{end}; --resume takes a larger --steps or --epochs, or neither"
        )
    if end == trainer.step:
        done = (
            f"Nothing is left to train: the run has all its {end} steps; a larger --steps or "
            "--epochs makes it go on."
        )
        _announce((done,), arguments.quiet)
    _announce(trainer.differences, arguments.quiet)
    _announce(_new_settings(config, new, writer), arguments.quiet)
    if world()[0] == 0:
        runfiles.remove_leftovers(folder)
        runfiles.write_config(folder, config)
    _fit(trainer, folder, config)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """A CheckpointError of the block names the file."""
    try:
        yield
    except CheckpointError as error:
        what = str(error).removeprefix("the checkpoint ")
        what = what if what.startswith("does not fit") else f"does not fit this run: {what}"
        raise CheckpointError(f"{path} {what}") from error


def _said(arguments: argparse.Namespace) -> set[str]:
    """The settings of this command line itself; --set NAME.ARGUMENT takes the rest from the run."""
    names = (text.partition("=")[0].strip().replace("-", "_") for text in arguments.set)
    names = (name.removesuffix(".class_path") for name in names)
    return {*names, *(() if arguments.data is None else ("data",))}


def _new_settings(config: RunConfig, new: list[str], writer: str) -> tuple[str, ...]:
    return tuple(
        f"The setting {name} is {getattr(config, name)!r} from here on; {writer}, which "
        "wrote the checkpoint, had none of that name."
        for name in new
        if name not in CHANGEABLE
    )


def _edited(folder: Path, old: RunConfig, new: list[str], writer: str) -> dict[str, Any]:
    """What config.yaml says otherwise than the checkpoint; ConfigError if that may not change."""
    path = folder / runfiles.CONFIG
    if not path.is_file():
        return {}
    now, before = RunConfig().updated(**read_yaml(path)).as_dict(), old.as_dict()
    changes = {name: value for name, value in now.items() if value != before[name]}
    unheard = [
        f"{name} is {now[name]}" for name in changes if name in new and name not in CHANGEABLE
    ]
    if unheard:
        raise ConfigError(
            f"{path} has settings ({', '.join(unheard)}) that {writer}, which wrote its "
            f"checkpoint, did not know; this is gankit {__version__}: --resume continues without "
            "them, so take them out"
        )
    edited = [
        f"{name} is {value} there and {before[name]} in the checkpoint"
        for name, value in changes.items()
        if name not in CHANGEABLE
    ]
    if edited:
        raise ConfigError(
            f"{path} was changed after its checkpoint was written ({'; '.join(edited)}): --resume "
            "continues with the settings of the checkpoint, so undo the change, or start a new run "
            f"with --config {path} --out DIR"
        )
    return changes


def _fit(trainer: Trainer, folder: Path, config: RunConfig) -> None:
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
    words, saved = rundir.what_is_left(folder, trainer), rundir.saved_at(trainer)
    if isinstance(error, KeyboardInterrupt) and saved > 0:
        words = f"to go on from step {saved}: {rundir.how_to_resume(folder, config)}"
    vars(error).setdefault("__notes__", []).append(words)  # as add_note() of Python 3.11


def _check_z_dim(trainer: Trainer, flags: dict[str, Any]) -> None:
    z_dim = getattr(trainer.gan_step.inference(), "z_dim", None)
    if flags.get("z_dim", z_dim) != z_dim:
        raise ConfigError(
            f"--z-dim is {flags['z_dim']}, but the generator's own arguments give it z_dim "
            f"{z_dim}; change them, or leave out --z-dim"
        )


def _new_config(arguments: argparse.Namespace, flags: dict[str, Any]) -> RunConfig:
    """Defaults of the recipe, over them the config file, over that the flags, which get --set."""
    given = read_yaml(arguments.config) if arguments.config is not None else {}
    name = arguments.recipe or given.get("recipe")
    if name is None:
        raise ConfigError(
            f"which recipe? Give one of {', '.join(recipes.names())}, or --config FILE"
        )
    recipe = recipes.get(name)
    if given.get("recipe", name) != name:
        raise ConfigError(f"RECIPE is {name!r}, but {arguments.config} is for {given['recipe']!r}")
    config = recipe.config.updated(**given).updated(**flags)
    settings = parse_settings(arguments.set, config)
    if settings.get("recipe", name) != name:
        raise ConfigError(
            f"--set gives recipe {settings['recipe']!r} to a run of {name!r}; its settings come "
            f"with its name: gankit train {settings['recipe']}"
        )
    flags |= settings
    return config.updated(**flags)


def _announce(notes: tuple[str, ...], quiet: bool) -> None:
    if not quiet:
        for note in notes:
            say(note)
