"""How a run goes on, and what may differ from how it was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from gankit._version import __version__
from gankit.errors import CheckpointError, ConfigError
from gankit.runs import folder as folders
from gankit.runs import replaced, runfiles
from gankit.runs.build import build_trainer
from gankit.runs.lock import locked
from gankit.runs.settings import changed, configured, full_name, knobs_of, read_yaml
from gankit.runs.training import Run, Say, check_extras, check_z_dim, fit, silent
from gankit.runs.trust import check_config
from gankit.saved import run_config, unknown_to_the_writer
from gankit.training.checkpoint import load_checkpoint, offering_another
from gankit.training.config import RunConfig, flat
from gankit.training.distributed import gathered, joined, world
from gankit.training.environment import BESIDE_TRAINING

# Settings that may change between a run and its continuation.
CHANGEABLE = BESIDE_TRAINING | {"device"}


def resume(
    folder: str | os.PathLike[str],
    *,
    trust: bool = False,
    progress: bool = False,
    say: Say | None = None,
    **settings: Any,
) -> Run:
    """Go on with the run in ``folder``, as ``gankit train --resume --out FOLDER`` does.

    Args:
        folder: that of the run.
        trust: run code that the run names and that is not gankit's.
        progress: show a progress bar.
        say: called with each sentence on what differs from how the run was.
        settings: what changes: how long it trains (``steps``, ``epochs``), what it logs and draws.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
        ConfigError: a setting that may not change, or code of others without ``trust``.
    """
    given = list(settings.items())
    return go_on(Path(folder), given, "resume()", trust=trust, progress=progress, say=say or silent)


def go_on(
    folder: Path,
    given: Sequence[tuple[str, Any]],
    source: str,
    *,
    recipe: str | None = None,
    trust: bool,
    progress: bool,
    say: Say,
) -> Run:
    """The run in ``folder`` with the settings ``given`` by ``source``; ``recipe`` must be its."""
    check_extras()
    with joined():
        first = world()[0] == 0
        with locked(folder) if first and folder.is_dir() else nullcontext():
            repaired = replaced.recover(folder) if first and folder.is_dir() else None
            if repaired:
                say(repaired)
            gathered(None)  # the others look when that is done
            path = folders.check_resumable(folder)
            state = load_checkpoint(path)
            with offering_another(path, lambda state: run_config(state, path)):
                old = run_config(state, path).updated(trusted=trust)
            if recipe not in (None, old.recipe):
                raise ConfigError(f"{folder} is a run of recipe {old.recipe!r}, not {recipe!r}")
            changes = _Changes(folder, state, old)
            config = changes.asked(given, source)
            callbacks = folders.run_callbacks(folder, config, quiet=not progress)
            with offering_another(path), _about(path):
                trainer = build_trainer(
                    config, callbacks=callbacks, weights=state, progress=progress
                )
            if "z_dim" in dict(given):
                check_z_dim(trainer, config)
            with offering_another(path, trainer.load_state_dict), _about(path):
                trainer.load_state_dict(state)
            end = config.steps or (config.epochs or 0) * trainer.steps_per_epoch
            if end < trainer.step:
                raise ConfigError(
                    f"the run in {folder} has {trainer.step} steps already, and was asked to end "
                    f"at step {end}; --resume takes a larger --steps or --epochs, or neither"
                )
            if end == trainer.step:
                say(
                    f"Nothing is left to train: the run has all its {end} steps; a larger --steps "
                    "or --epochs makes it go on."
                )
            for note in (*trainer.differences, *changes.news(config)):
                say(note)
            if first:
                runfiles.remove_leftovers(folder)
                runfiles.write_config(folder, config)
            fit(trainer, folder, config)
    return Run(folder, config, trainer)


class _Changes:
    """What differs between the settings ``old`` of a checkpoint ``state`` and those to go on with.

    ``new`` are settings that the gankit which wrote the checkpoint did not know.
    """

    def __init__(self, folder: Path, state: dict[str, Any], old: RunConfig) -> None:
        self.folder, self.old = folder, old
        self.new = unknown_to_the_writer(state)
        self.writer = f"gankit {state['environment'].get('gankit')}"
        if self.writer == f"gankit {__version__}":
            self.writer = f"another state of {self.writer}"

    def asked(self, given: Sequence[tuple[str, Any]], source: str) -> RunConfig:
        """The settings of the continuation, trusted.

        Raises ConfigError if they change what a run may not change, or name code of others that
        nobody has allowed.
        """
        wanted = changed(self.old, given, source)
        before, after = flat(self.old.as_dict()), flat(wanted.as_dict())
        differing = [
            f"{name} is {self._before(name, before)}, not {value}"
            for name, value in after.items()
            if name not in CHANGEABLE and value != self._before(name, before)
        ]
        differing += [
            f"{name} is {before[name]}, not left out"
            for name in before.keys() - after
            if name not in CHANGEABLE
        ]
        if differing:
            raise ConfigError(
                f"--resume continues with the run's own settings: {', '.join(differing)}"
            )
        names = [full_name(name, self.old, source) for name, _ in given]
        # Of the data, what may not change is as it was.
        flags = [
            each
            for each, name in zip(given, names, strict=True)
            if name in CHANGEABLE or name.partition(".")[0] == "data"
        ]
        config = changed(self.old.updated(**self._edited()), flags, source)
        if not config.trusted:
            check_config(
                config,
                str(self.folder),
                # An argument alone takes the class from the run.
                said=[name.removesuffix(".class_path") for name in names],
                advice="--trust, or the same by --set again,",
            )
        return config.updated(trusted=True)

    def _before(self, name: str, before: dict[str, Any]) -> Any:
        """The value that ``name`` had; an argument of the step may have had its default."""
        if name in before or not name.startswith("step."):
            return before[name]
        known = knobs_of(self.old, str(self.folder)).get(name.removeprefix("step."))
        return None if known is None else known.default

    def _edited(self) -> dict[str, Any]:
        """What config.yaml says otherwise than the checkpoint.

        Raises ConfigError if that may not change.
        """
        path, old = self.folder / runfiles.CONFIG, self.old
        if not path.is_file():
            return {}
        base = RunConfig(step=old.step, trusted=old.trusted)
        now, before = configured(base, read_yaml(path), str(path)).as_dict(), old.as_dict()
        data = now["data"]
        now, before = flat(now), flat(before)
        changes = {name: v for name, v in now.items() if name not in before or v != before[name]}
        unheard = [
            f"{name} is {now[name]}"
            for name in changes
            if name in self.new and name not in CHANGEABLE
        ]
        if unheard:
            raise ConfigError(
                f"{path} has settings ({', '.join(unheard)}) that {self.writer}, which wrote its "
                f"checkpoint, did not know; this is gankit {__version__}: --resume continues "
                "without them, so take them out"
            )
        edited = [
            f"{name} is {value} there and {before.get(name)} in the checkpoint"
            for name, value in changes.items()
            if name not in CHANGEABLE
        ]
        edited += [
            f"{name} is left out there"
            for name in before.keys() - now.keys()
            if name not in CHANGEABLE
        ]
        if edited:
            raise ConfigError(
                f"{path} was changed after its checkpoint was written ({'; '.join(edited)}): "
                "--resume continues with the settings of the checkpoint, so undo the change, or "
                f"start a new run with --config {path} --out DIR"
            )
        if any(name.startswith("data.") for name in changes):
            changes["data"] = data
        return {name: value for name, value in changes.items() if "." not in name}

    def news(self, config: RunConfig) -> Iterator[str]:
        """One sentence for each setting that the writer of the checkpoint did not know."""
        for name in self.new:
            if name not in CHANGEABLE:
                yield (
                    f"The setting {name} is {getattr(config, name)!r} from here on; {self.writer}, "
                    "which wrote the checkpoint, had none of that name."
                )


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """A CheckpointError of the block names the file."""
    try:
        yield
    except CheckpointError as error:
        what = str(error).removeprefix("the checkpoint ")
        what = what if what.startswith("does not fit") else f"does not fit this run: {what}"
        raise CheckpointError(f"{path} {what}") from error
