"""The commands that go on from a run, for a shell."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from gankit.errors import ConfigError
from gankit.runs.record import RunRecord
from gankit.runs.runfiles import CONFIG
from gankit.runs.trust import check_config
from gankit.training.config import RunConfig
from gankit.training.distributed import world
from gankit.training.point_pictures import are_points
from gankit.translator import DIRECTIONS


class Command(NamedTuple):
    """A line for a shell and what it does."""

    purpose: str
    line: str


def how_to_resume(folder: Path, config: RunConfig, processes: int | None = None) -> str:
    """The command that continues the run of ``config`` in ``folder``.

    In as many ``processes``, by default those of this run.
    """
    count = world()[1] if processes is None else processes
    start = "gankit" if count == 1 else f"torchrun --nproc-per-node {count} -m gankit"
    return f"{start} train --resume{_trust(folder, config)} --out {_quoted(folder)}"


def commands(record: RunRecord) -> list[Command]:
    """What can be done with a run, as far as it has come."""
    folder, config = _quoted(record.folder), record.config
    if config is None:
        return []
    beside = record.folder.parent if record.folder.name else record.folder / ".."
    again = _quoted(beside / f"{record.folder.absolute().name}-again")
    line = f"gankit train --config {_quoted(record.folder / CONFIG)} --out {again}"
    found = [Command("repeat it", line)]
    if not record.description:
        return found
    trust = _trust(record.folder, config)
    processes = record.environment.get("processes", 1)
    resume = how_to_resume(record.folder, config, processes if type(processes) is int else 1)
    if record.finished:
        name = "epochs" if config.steps is None else "steps"
        resume += f" --{name} {2 * (config.steps or config.epochs or 1)}"
    found.insert(0, Command("train it for longer" if record.finished else "go on", resume))
    inference = record.description.get("inference")
    uses = inference if isinstance(inference, dict) else {}
    directions = [each for each in DIRECTIONS if each in uses]
    draws = record.description.get("z_distribution") is not None
    if draws:
        line = f"gankit sample{trust} {folder} --n 64 --out grid.png"
        found.append(Command("draw samples", line))
    for direction in directions:
        source, target = direction.upper().split("2")
        line = f"gankit translate{trust} {folder} IMAGES --direction {direction} --out translated/"
        found.append(Command(f"turn images of {source} into images of {target}", line))
    if "domains" in uses:
        line = f"gankit translate{trust} {folder} IMAGES --to all --out translated/"
        found.append(Command("bring images to each domain", line))
        found.append(_export(trust, folder))
    if "enhance" in uses:
        line = f"gankit enhance{trust} {folder} NOISY --out enhanced/"
        found.append(Command("take the noise out of speech", line))
        found.append(_export(trust, folder))
    elif "upscale" in uses:
        line = f"gankit upscale{trust} {folder} IMAGES --out larger/"
        found.append(Command("make images larger", line))
        found.append(_export(trust, folder))
    elif draws or directions:
        way = f" --direction {directions[0]}" if len(directions) > 1 else ""
        if not _of_points(record.description.get("image_shape")):
            line = f"gankit evaluate{trust} {folder}{way}"
            found.append(Command("measure how good it is", line))
        found.append(_export(trust, folder, way))
    found.append(Command("compare it", f"gankit compare {folder} OTHER_RUN --out compare.png"))
    return found


def _of_points(shape: object) -> bool:
    return isinstance(shape, list) and are_points(tuple(shape))


def _export(trust: str, folder: str, way: str = "") -> Command:
    return Command("export the generator", f"gankit export{trust} {folder} --format onnx{way}")


def _trust(folder: Path, config: RunConfig) -> str:
    try:
        check_config(config, str(folder))
        return ""
    except ConfigError:  # code of the user's own
        return " --trust"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
