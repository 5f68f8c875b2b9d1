"""The folder of a run: what gankit writes there, and when it may."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gankit.cli.interrupt import SaveOnInterrupt
from gankit.errors import CheckpointError, ConfigError
from gankit.recipes.component import create
from gankit.recipes.config import RunConfig, write_yaml
from gankit.saved import CHECKPOINT
from gankit.training.atomic import atomic_write
from gankit.training.callbacks import (
    SAMPLE_NAME,
    Callback,
    LossCurves,
    MetricsCSV,
    Progress,
    SampleGrid,
    SamplesGif,
)
from gankit.training.checkpoint import earlier_checkpoints
from gankit.training.checkpointing import Checkpoint
from gankit.training.diagnostics import Diagnostics
from gankit.training.distributed import world
from gankit.training.tensorboard import TensorBoard

HEADER = b"# Settings of a gankit run; `gankit train --config FILE` repeats it.\n"
CONFIG = "config.yaml"
BEST = "checkpoint.best.pt"
METRICS = "metrics.csv"
GIF = "samples.gif"
CURVES = "losses.png"
SAMPLES = "samples"
EVENTS = "tensorboard"
_FILES = (CHECKPOINT, BEST, METRICS, GIF, CURVES, CONFIG)
_NUMBERED = (r"checkpoint\.step_\d+\.pt", r"epoch_\d+_step_\d+\.png")
_TEMPORARY = re.compile(rf"\.({'|'.join([*map(re.escape, _FILES), *_NUMBERED])})\.\d+\.tmp")


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise ConfigError unless a new run may be written to ``folder``; nothing is changed."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; allowed is a folder")
    if all(_TEMPORARY.fullmatch(path.name) for path in folder.iterdir()):
        return  # a run that was killed while it wrote its first file
    if not overwrite:
        raise ConfigError(
            f"--out {folder} is not empty; pass --overwrite to replace the run in it, --resume to "
            "continue it, or another --out"
        )
    if not _is_run(folder):
        raise ConfigError(
            f"--out {folder} is not empty and not a gankit run, so --overwrite does not touch it; "
            "pass another --out"
        )


def check_resumable(folder: Path) -> Path:
    """Where ``folder`` has its checkpoint; CheckpointError if there is none."""
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists() and not earlier_checkpoints(checkpoint):
        raise CheckpointError(f"{folder} has no {CHECKPOINT} to resume from")
    return checkpoint


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in ``folder``, which must be there, in the block.

    The lock is the system's: it ends with the process, and leaves no file. Raises ConfigError if
    another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"--out {folder} is in use: another process trains there; wait for it to end, or "
                "pass another --out"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


@contextmanager
def claimed(folder: Path, config: RunConfig, *, overwrite: bool) -> Iterator[None]:
    """Make ``folder`` the home of a new run: drop what an older run wrote, write config.yaml.

    Files that gankit did not write stay. If the block ends with an error before there is a
    checkpoint, what gankit wrote and the folders made here are removed: nothing could go on from
    them. Raises ConfigError if another run is there.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    ours = True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = False
        with locked(folder):
            check_free(folder, overwrite=overwrite)  # one may have come and gone meanwhile
            ours = True
            try:
                remove_leftovers(folder)
                if _is_run(folder):
                    _clear(folder)
                write_config(folder, config)
                yield
            except BaseException:
                if not (folder / CHECKPOINT).exists():
                    with suppress(OSError):
                        if _is_run(folder):
                            _clear(folder)
                            (folder / CONFIG).unlink()
                raise
    except BaseException:
        for path in made if ours else ():
            with suppress(OSError):  # not empty
                path.rmdir()
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove half-written files that a killed process left in the folder of a run."""
    for place in (folder, folder / SAMPLES):
        if place.is_dir():
            for path in place.iterdir():
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink(missing_ok=True)


def write_config(folder: Path, config: RunConfig) -> None:
    """Write config.yaml."""
    with atomic_write(folder / CONFIG) as file:
        file.write(HEADER + write_yaml(config))


def run_callbacks(folder: Path, config: RunConfig, *, quiet: bool) -> list[Callback]:
    """What a run does beside training; the checkpoint comes before the pictures.

    Of many processes rank 0 does it, and the others take their part in the checkpoints.
    """
    checkpoint = Checkpoint(
        folder / CHECKPOINT,
        every=config.checkpoint_every,
        keep=config.checkpoint_keep,
        best=config.checkpoint_best,
    )
    if world()[0] > 0:
        return [checkpoint, SaveOnInterrupt(checkpoint)]
    callbacks: list[Callback] = [Diagnostics()] if quiet else [Progress(), Diagnostics()]
    if config.tensorboard:
        callbacks.append(TensorBoard(folder / EVENTS))
    callbacks += [
        MetricsCSV(folder / METRICS),
        checkpoint,
        SaveOnInterrupt(checkpoint),
        SampleGrid(
            folder / SAMPLES,
            first=config.sample_first,
            every=config.sample_every,
            rows=config.grid_rows,
            columns=config.grid_columns,
            inverted=config.grid_inverted,
            distribution=config.z_distribution,
            seed=config.seed,
        ),
        SamplesGif(folder / SAMPLES, folder / GIF),
        LossCurves(folder / METRICS, folder / CURVES),
    ]
    own = (create("callbacks", spec, Callback, folder=str(folder)) for spec in config.callbacks)
    return [*callbacks, *own]


def _is_run(folder: Path) -> bool:
    try:
        with open(folder / CONFIG, "rb") as file:
            return file.read(len(HEADER)) == HEADER
    except FileNotFoundError:
        return False


def _clear(folder: Path) -> None:
    """Remove what a run wrote but config.yaml, which marks the folder as gankit's."""
    remove_leftovers(folder)
    samples = folder / SAMPLES
    if samples.is_dir():
        for path in samples.iterdir():
            if SAMPLE_NAME.fullmatch(path.name):
                path.unlink()
        with suppress(OSError):  # something of the user's lies in it
            samples.rmdir()
    for path in (folder / EVENTS).glob("events.out.tfevents.*"):
        path.unlink()
    with suppress(OSError):
        (folder / EVENTS).rmdir()
    for _, path in earlier_checkpoints(folder / CHECKPOINT):
        path.unlink()
    for name in _FILES:
        if name != CONFIG:
            (folder / name).unlink(missing_ok=True)
