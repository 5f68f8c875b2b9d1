"""What ``gankit bench`` can be asked for, as races in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gankit import recipes
from gankit.bench import ops, scripts
from gankit.bench.races import Race, Settings
from gankit.bench.recipe import RecipeRace
from gankit.errors import ConfigError, GankitError, shortened
from gankit.runs.settings import changed

SUITES = ("ops", "steps", "scripts")
# A family each, at sizes that a CPU trains: fully connected, convolutional, with a penalty, with
# spectral norm and attention, growing, and from images to images.
STEPS = (
    *("gan", "dcgan", "wgan-gp", "biggan-digits", "sagan-toy"),
    *("progan-digits", "pix2pix-toy", "cyclegan-toy"),
)
_OP_SECONDS, _STEP_SECONDS = 0.5, 5.0


class BenchmarkError(GankitError, RuntimeError):
    """gankit cannot do, or does wrongly, what is to be timed."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        what: one of ``SUITES``, or a recipe.
        device: "auto", "cpu", "cuda" or "mps".
        seconds: for each contender; None: 0.5 of an op and 5 of a step.
        only: parts of the names of tasks, of which one must fit; none: all tasks.
        leave_out: parts of names of contenders that do not race.
        given: settings of a recipe that differ, as ``--set`` has them.
        cpu_time: count the CPU time of the process in place of what passes.
    """

    what: str
    device: str = "auto"
    seconds: float | None = None
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    given: Sequence[tuple[str, Any]] = ()
    cpu_time: bool = False


def check_wanted(wanted: Wanted) -> None:
    """Raise ConfigError for a name that is not there, and for settings of no recipe."""
    if wanted.what not in (*SUITES, *recipes.names()):
        raise ConfigError(
            f"there is nothing called {shortened(wanted.what)} to measure; allowed are "
            f"{', '.join((*SUITES, *recipes.names()))}"
        )
    if wanted.given and wanted.what in SUITES:
        raise ConfigError(f"--set changes a recipe, and {wanted.what} is none; leave it out")
    ignored = {
        "--seconds": wanted.seconds is not None,
        "--leave-out": bool(wanted.leave_out),
        "--cpu-time": wanted.cpu_time,
        "--device": wanted.device not in ("auto", "cpu"),
    }
    for flag, given in ignored.items():
        if wanted.what == "scripts" and given:
            raise ConfigError(
                f"{flag} is not for scripts, which run some steps on the CPU in processes of their "
                "own; leave it out"
            )


def finished_races(wanted: Wanted, device: torch.device) -> Iterator[tuple[Race, str]]:
    """Each race once it has been run, with a note on what is fused, empty for an op.

    Raises ConfigError for what is not there, BenchmarkError where gankit fails in a race.
    """
    check_wanted(wanted)
    if wanted.what == "scripts":
        chosen = tuple(name for name in scripts.names() if _fits(name, wanted.only))
        if not chosen:
            raise _fits_none(wanted)
        yield from scripts.races(chosen)
        return
    count = 0
    for make in _makers(wanted, device):
        race, note = make()
        if not _fits(race.group, wanted.only):
            continue
        count += 1
        race.clock = time.process_time if wanted.cpu_time else time.perf_counter
        race.contenders = tuple(
            each
            for each in race.contenders
            if not (wanted.leave_out and _fits(each.name, wanted.leave_out))
        )
        if not race.contenders:
            left_out = ",".join(wanted.leave_out)
            raise ConfigError(f"--leave-out {left_out} leaves no contender of {race.group}")
        race.run()
        for name, error in race.failed.items():
            what = " ".join(str(error).split()) or "no message"
            raise BenchmarkError(f"{race.group}: {name}: {type(error).__name__}: {what}") from error
        yield race, note
    if not count:
        raise _fits_none(wanted)


def _makers(wanted: Wanted, device: torch.device) -> Iterator[Callable[[], tuple[Race, str]]]:
    if wanted.what == "ops":
        for race in ops.races(Settings(device, wanted.seconds or _OP_SECONDS)):
            yield lambda race=race: (race, "")  # type: ignore[misc]
        return
    names = STEPS if wanted.what == "steps" else (wanted.what,)
    for name in names:
        if wanted.what == "steps" and not _fits(name, wanted.only):
            continue
        yield lambda name=name: _of_recipe(name, wanted, device)  # type: ignore[misc]


def _of_recipe(name: str, wanted: Wanted, device: torch.device) -> tuple[Race, str]:
    config = replace(recipes.get(name).config, device=device.type)
    config = changed(config, wanted.given, "--set")
    made = RecipeRace(config, wanted.seconds or _STEP_SECONDS)
    return made.race(), str(made.fused)


def _fits_none(wanted: Wanted) -> ConfigError:
    return ConfigError(f"--only {','.join(wanted.only)} fits no task of {wanted.what}")


def _fits(name: str, parts: tuple[str, ...]) -> bool:
    return not parts or any(part in name for part in parts)
