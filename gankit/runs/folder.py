"""The folder of a run: when a run may write there, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gankit.errors import CheckpointError, ConfigError
from gankit.runs import replaced, runfiles
from gankit.runs.component import create
from gankit.runs.evaluator import RunEvaluator
from gankit.runs.interrupt import SaveOnInterrupt
from gankit.runs.lock import locked
from gankit.runs.page import ReportPage
from gankit.runs.runfiles import CONFIG, CURVES, EVENTS, GIF, METRICS, SAMPLES
from gankit.saved import CHECKPOINT
from gankit.training.callbacks import (
    Callback,
    Evaluate,
    LossCurves,
    MetricsCSV,
    Progress,
    SampleGrid,
    SamplesGif,
)
from gankit.training.checkpoint import earlier_checkpoints
from gankit.training.checkpointing import Checkpoint
from gankit.training.config import RunConfig
from gankit.training.diagnostics import Diagnostics
from gankit.training.distributed import world
from gankit.training.tensorboard import TensorBoard
from gankit.training.trainer import Trainer


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise ConfigError unless a new run may be written to ``folder``; nothing is changed."""
    if not folder.exists():
        if folder.is_symlink():
            raise ConfigError(f"--out {folder} is a symbolic link to nothing; pass another --out")
        return
    if not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; allowed is a folder")
    if all(runfiles.TEMPORARY.fullmatch(path.name) for path in folder.iterdir()):
        return  # a run that was killed while it wrote its first file
    if not overwrite:
        resume = "--resume to continue it, " if _has_checkpoint(folder) else ""
        raise ConfigError(
            f"--out {folder} is not empty; pass --overwrite to replace the run in it, {resume}or "
            "another --out"
        )
    if not runfiles.is_run(folder) and not replaced.replaced_runs(folder):
        raise ConfigError(
            f"--out {folder} is not empty and not a gankit run, so --overwrite does not touch it; "
            "pass another --out"
        )
    runfiles.check_places(folder)


def check_resumable(folder: Path) -> Path:
    """Where ``folder`` has its checkpoint.

    Raises CheckpointError if there is none, ConfigError if a run could not be written there.
    """
    if not _has_checkpoint(folder):
        raise CheckpointError(
            f"{folder} has no {CHECKPOINT} to resume from{_where_the_replaced_is(folder)}"
        )
    runfiles.check_places(folder)
    return folder / CHECKPOINT


def _has_checkpoint(folder: Path) -> bool:
    checkpoint = folder / CHECKPOINT
    return checkpoint.exists() or bool(earlier_checkpoints(checkpoint))


@contextmanager
def claimed(
    folder: Path, config: RunConfig, *, overwrite: bool, started: Callable[[], bool]
) -> Iterator[str | None]:
    """Make ``folder`` the home of a new run: set aside an older one, write config.yaml.

    Files that gankit did not write stay. If the block raises before ``started()``, all is put back
    as it was; from then on a failure removes nothing. Yields a sentence if the folder had to be
    repaired. Raises ConfigError if another run is there.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    ours = True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = False
        with locked(folder):
            repaired = replaced.recover(folder)
            check_free(folder, overwrite=overwrite)  # one may have come and gone meanwhile
            ours = True
            place = replaced.set_aside(folder) if runfiles.is_run(folder) else None
            try:
                runfiles.remove_leftovers(folder)
                runfiles.write_config(folder, config)
                yield repaired
            except BaseException:
                if not started():
                    _take_back(folder, place)
                raise
    except BaseException:
        for path in made if ours else ():
            with suppress(OSError):  # not empty
                path.rmdir()
        raise


def _take_back(folder: Path, place: Path | None) -> None:
    """Leave ``folder`` as it was before a run that made no step."""
    with suppress(OSError):  # the folder may have gone; recover() does it where it is left half way
        if place is not None:
            replaced.put_back(folder, place)
            return
        names = runfiles.written(folder)
        runfiles.remove(folder, [name for name in names if name != Path(CONFIG)])
        if [path.name for path in folder.iterdir()] == [CONFIG]:  # else it marks whose the rest is
            (folder / CONFIG).unlink()


def what_is_left(folder: Path, trainer: Trainer) -> str:
    """What there is in ``folder`` after a run that ended early, in words."""
    if saved_at(trainer) > 0:
        words = f"the checkpoint of step {saved_at(trainer)} is kept"
    elif (folder / CHECKPOINT).is_file():
        words = "its checkpoint is kept"
    else:
        words = "no checkpoint was written yet"
        if runfiles.is_run(folder):
            words += f"; what the run wrote until then is in {folder}"
    return words + _where_the_replaced_is(folder)


def saved_at(trainer: Trainer) -> int:
    """The step of the newest checkpoint that ``trainer`` wrote or went on from, or -1."""
    return next(c.saved_at for c in trainer.callbacks if isinstance(c, Checkpoint))


def _where_the_replaced_is(folder: Path) -> str:
    places = replaced.replaced_runs(folder) if folder.is_dir() else []
    words = f"; the run that it replaced is in {places[0]}" if places else ""
    good = [place for place in places if _has_checkpoint(place)]
    if good and good[0] != places[0]:  # the one in between failed too
        words += f", and an earlier one with a checkpoint in {good[0]}"
    return words


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
    evaluation: list[Callback] = []
    if config.evaluate:
        evaluator = RunEvaluator(config, folder)
        evaluation.append(Evaluate(evaluator, config.evaluate, every=config.evaluate_every))
    if world()[0] > 0:
        return [*evaluation, checkpoint, SaveOnInterrupt(checkpoint)]
    callbacks: list[Callback] = [Diagnostics()] if quiet else [Progress(), Diagnostics()]
    if config.tensorboard:
        callbacks.append(TensorBoard(folder / EVENTS))
    callbacks += [
        *evaluation,
        MetricsCSV(folder / METRICS),
        checkpoint,
        replaced.RemoveReplaced(folder, checkpoint),
        SaveOnInterrupt(checkpoint),
        SampleGrid(
            folder / SAMPLES,
            first=config.sample_first,
            every=config.sample_every,
            rows=config.grid_rows,
            columns=config.grid_columns,
            inverted=config.grid_inverted,
            seed=config.seed,
        ),
        SamplesGif(folder / SAMPLES, folder / GIF),
        LossCurves(folder / METRICS, folder / CURVES),
        ReportPage(folder),
    ]
    own = (create("callbacks", spec, Callback, folder=str(folder)) for spec in config.callbacks)
    return [*callbacks, *own]
