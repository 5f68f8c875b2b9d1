"""Training scripts, plain and under ``gankit run``: each run is a process of its own, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch

from gankit.bench.environment import ROOT
from gankit.bench.races import Call, Contender, Race, Role
from gankit.errors import ConfigError
from gankit.run import measure

FOLDER = ROOT / "examples" / "scripts"
MODES = ("plain", "accelerated")
LEAST_STEPS = 6
_ROLES: dict[str, tuple[str, Role]] = {
    "plain": ("plain eager", "plain"),
    "accelerated": ("gankit", "gankit"),
}


def names() -> tuple[str, ...]:
    """The scripts of the source tree; ConfigError where gankit was installed without them."""
    if not FOLDER.is_dir():
        raise ConfigError(
            "scripts are those under examples/scripts of gankit's source tree, which this "
            "installation has not; allowed are ops, steps and the name of a recipe"
        )
    return tuple(sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "options"))


def time_script(script: str, steps: int, rounds: int, batch_size: int) -> dict[str, Any]:
    """Seconds per step of each run, by mode, and how many runs of layers each op served."""
    file = str(FOLDER / f"{script}.py")
    arguments = ["--batch-size", str(batch_size), "--steps", str(steps + 1)]
    found: dict[str, Any] = {mode: [] for mode in MODES}
    for turn in range(rounds):
        for mode in MODES if turn % 2 == 0 else MODES[::-1]:
            result = measure(mode, file, arguments, steps)
            found[mode].append(statistics.median(result["seconds"]))
            if mode == "accelerated":
                found["fused"] = result["fused"]
    return found


def races(
    scripts: tuple[str, ...], steps: int = 20, rounds: int = 3, batch_size: int = 64
) -> Iterator[tuple[Race, str]]:
    """A finished race of each script, and what is fused in it."""
    for script in scripts:
        found = time_script(script, steps, rounds, batch_size)
        durations = {_ROLES[mode][0]: found[mode] for mode in MODES}
        info = {"images": batch_size}
        contenders = tuple(
            Contender(name, role, _not_to_be_called, nullcontext, info)
            for name, role in _ROLES.values()
        )
        group = f"script {script}, batch {batch_size}"
        race = Race(group, contenders, torch.device("cpu"), durations=durations, finished=True)
        kinds = ", ".join(f"{op} {count}" for op, count in sorted(found["fused"].items()))
        yield race, f"fused: {kinds or 'none'}"


def _not_to_be_called() -> Call:
    raise AssertionError("the race of a script has been run by processes of its own")
