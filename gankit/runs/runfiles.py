"""The files of a run in its folder, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gankit.atomic import atomic_write
from gankit.errors import ConfigError
from gankit.runs.settings import write_yaml
from gankit.saved import CHECKPOINT
from gankit.training.callbacks import SAMPLE_NAME
from gankit.training.config import RunConfig

HEADER = b"# Settings of a gankit run; `gankit train --config FILE` repeats it.\n"
CONFIG = "config.yaml"
BEST = "checkpoint.best.pt"
METRICS = "metrics.csv"
GIF = "samples.gif"
VIDEO = "samples.mp4"
CURVES = "losses.png"
EVALUATION = "evaluation.json"
REPORT = "report.html"
SAMPLES = "samples"
EVENTS = "tensorboard"
_FILES = (CHECKPOINT, BEST, METRICS, GIF, VIDEO, CURVES, EVALUATION, REPORT, CONFIG)
_NUMBERED = (r"checkpoint\.step_\d+\.pt", r"epoch_\d+_step_\d+\.png")
TEMPORARY = re.compile(rf"\.({'|'.join([*map(re.escape, _FILES), *_NUMBERED])})\.\d+\.tmp")
_AT_THE_TOP = re.compile(
    rf"{'|'.join(map(re.escape, _FILES))}|{_NUMBERED[0]}|{TEMPORARY.pattern}",
)
# What a run writes in each folder of its own.
_INSIDE = {
    SAMPLES: re.compile(rf"{SAMPLE_NAME.pattern}|{TEMPORARY.pattern}"),
    EVENTS: re.compile(r"events\.out\.tfevents\..*"),
}


def is_run(folder: Path) -> bool:
    """Whether ``folder`` has a config.yaml that gankit wrote."""
    try:
        with open(folder / CONFIG, "rb") as file:
            return file.read(len(HEADER)) == HEADER
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False


def written(folder: Path) -> list[Path]:
    """What a run wrote in ``folder``, as paths relative to it; config.yaml is the last."""
    found = [Path(name) for name in _files(folder, _AT_THE_TOP) if name != CONFIG]
    for place, names in _INSIDE.items():
        if (folder / place).is_dir() and not (folder / place).is_symlink():
            found += [Path(place, name) for name in _files(folder / place, names)]
    return [*found, Path(CONFIG)] if is_run(folder) else found


def _files(folder: Path, names: re.Pattern[str]) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if names.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
            yield path.name


def remove(folder: Path, names: list[Path]) -> None:
    """Remove files of ``written(folder)``, and the folders that held nothing else."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
    remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """Remove the folders of a run's own in ``folder`` that hold nothing."""
    for place in _INSIDE:
        path = folder / place
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()


def check_places(folder: Path) -> None:
    """Raise ConfigError if a run in ``folder`` would write elsewhere, or could not."""
    for place in _INSIDE:
        path = folder / place
        if path.is_symlink():
            raise ConfigError(
                f"{path} is a symbolic link, and a run writes into its own folder alone: remove "
                f"the link, or keep the whole of {folder} elsewhere and make that the link"
            )
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file, where a run has a folder; move it away")


def remove_leftovers(folder: Path) -> None:
    """Remove half-written files that a killed process left in the folder of a run."""
    for place in (folder, folder / SAMPLES):
        if place.is_dir() and not (place == folder / SAMPLES and place.is_symlink()):
            for name in _files(place, TEMPORARY):
                (place / name).unlink(missing_ok=True)


def write_config(folder: Path, config: RunConfig) -> None:
    """Write config.yaml."""
    with atomic_write(folder / CONFIG) as file:
        file.write(HEADER + write_yaml(config))
