"""A run that --overwrite replaces waits in its folder until the new one has a checkpoint.

Its files go to ``replaced-N`` there, each by a rename, config.yaml last. So they never leave their
file system, what is not the run's stays where it is, and what a killed process left tells how far
it came: ``replaced-N`` without config.yaml is half moved out, a folder without config.yaml beside
a ``replaced-N`` that has one is half moved out or back.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from gankit.errors import ConfigError
from gankit.runs import runfiles
from gankit.runs.lock import locked
from gankit.training.callbacks import Callback
from gankit.training.checkpointing import Checkpoint
from gankit.training.trainer import Trainer

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"replaced-([1-9]\d*)")


def replaced_runs(folder: Path) -> list[Path]:
    """The runs that wait in ``folder``, the newest first."""
    return [place for place in _places(folder) if runfiles.is_run(place)]


def set_aside(folder: Path) -> Path:
    """Move the run in ``folder`` to a new folder in it, which is returned.

    Raises ConfigError if the system does not let it, as where a part of the folder is another file
    system; all is then as before.
    """
    taken = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
    place = folder / f"replaced-{max((int(m[1]) for m in taken if m), default=0) + 1}"
    try:
        place.mkdir()
        _move(folder, place)
    except BaseException as error:
        if place.is_dir():
            _move(place, folder)
            place.rmdir()
        if isinstance(error, OSError):
            raise ConfigError(
                f"the run in {folder} cannot be set aside ({error.strerror}: {error.filename}), so "
                "--overwrite leaves it; pass another --out"
            ) from error
        raise
    return place


def put_back(folder: Path, place: Path) -> None:
    """Undo ``set_aside``; what a run wrote in ``folder`` since then is removed."""
    new = runfiles.written(folder)
    runfiles.remove(folder, new[::-1])  # config.yaml first: from there on recover() would do it
    _move(place, folder)
    place.rmdir()


def recover(folder: Path) -> str | None:
    """Put back the run that a killed process had half moved; a sentence if there was one."""
    for place in _places(folder):
        names = runfiles.written(place)
        if runfiles.is_run(folder):
            half = not runfiles.is_run(place) and not any((folder / n).exists() for n in names)
        else:
            half = runfiles.is_run(place)
        if names and half:
            _move(place, folder)
            with suppress(OSError):  # something of the user's lies in it
                place.rmdir()
            return f"The run that an interrupted --overwrite had set aside is back in {folder}."
    return None


class RemoveReplaced(Callback):
    """Remove the runs that wait in ``folder`` once ``checkpoint`` has written one of the new run.

    What somebody put among their files stays, and so does one that another process trains in.
    """

    def __init__(self, folder: Path, checkpoint: Checkpoint) -> None:
        self.folder, self.checkpoint = folder, checkpoint
        self._waiting = False

    def on_start(self, trainer: Trainer) -> None:
        self._waiting = bool(replaced_runs(self.folder))

    def on_step(self, trainer: Trainer) -> None:
        if self._waiting and self.checkpoint.saved_at > 0:
            self._remove()

    def close(self) -> None:
        if self._waiting and self.checkpoint.saved_at > 0:  # it was written at the end
            self._remove()

    def _remove(self) -> None:
        self._waiting = False
        for place in replaced_runs(self.folder):
            try:
                with locked(place):
                    runfiles.remove(place, runfiles.written(place))
                place.rmdir()
            except (ConfigError, OSError) as error:
                _LOG.warning("the run in %s, which was replaced, stays there: %s", place, error)


def _places(folder: Path) -> list[Path]:
    """The folders that are called as ``set_aside`` calls them, the newest first."""
    found = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    numbered = [(int(m[1]), path) for m, path in found if m]
    return [p for _, p in sorted(numbered, reverse=True) if p.is_dir() and not p.is_symlink()]


def _move(source: Path, target: Path) -> None:
    for name in runfiles.written(source):
        (target / name).parent.mkdir(exist_ok=True)
        os.replace(source / name, target / name)
    runfiles.remove_empty(source)
