"""``gankit bench``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gankit.atomic import atomic_write
from gankit.bench.comparing import Comparison, baseline_for, compare, read_run
from gankit.bench.environment import collect
from gankit.bench.results import as_run, details, read_groups
from gankit.bench.suite import Wanted, check_wanted, finished_races
from gankit.cli.streams import say
from gankit.errors import ConfigError
from gankit.json_text import json_text
from gankit.runs.build import pick_device
from gankit.runs.settings import written
from gankit.training.memory import keep_freed_memory


def bench(arguments: argparse.Namespace) -> int:
    """Run races, or compare two runs; 1 if something got slower beyond the noise."""
    if arguments.compare is not None:
        if arguments.what is not None or arguments.json is not None:
            raise ConfigError("--compare reads two files and measures nothing; leave out the rest")
        before, after = (read_run(Path(name)) for name in arguments.compare)
        return _told(compare(before, after))
    wanted = Wanted(
        what=arguments.what or "steps",
        device=arguments.device,
        seconds=arguments.seconds,
        only=_parts(arguments.only),
        leave_out=_parts(arguments.leave_out),
        given=written(arguments.set),
        cpu_time=arguments.cpu_time,
    )
    check_wanted(wanted)
    device = pick_device(wanted.device)
    keep_freed_memory()
    with _threads(arguments.threads):
        run = _measured(wanted, device)
    if arguments.json is not None:
        with atomic_write(arguments.json) as file:
            file.write((json_text(run, indent=1) + "\n").encode())
        say(f"the result is in {arguments.json}")
    about = run["machine_info"]["gankit"]
    baseline = baseline_for(about, wanted.what)
    if baseline is None:
        say(f"no baseline of {wanted.what} for {about['device']}: nothing to compare with")
        return 0
    before = read_run(baseline)
    try:
        found = compare(before, run)
    except ConfigError as error:  # what was asked for is another thing than the baseline has
        say(f"not compared with {baseline.parent.name}/{baseline.name}: {error}")
        return 0
    say(f"compared with {baseline.parent.name}/{baseline.name}:")
    return _told(found)


def _measured(wanted: Wanted, device: torch.device) -> dict[str, Any]:
    about = {**collect(device), "time": "CPU time" if wanted.cpu_time else "wall"}
    for name, value in about.items():
        say(f"{name}: {value}")
    races = []
    for race, note in finished_races(wanted, device):
        races.append(race)
        (group,) = read_groups([as_run([race], about)])
        say("\n" + "\n".join(details(group)))
        if note:
            say("\n" + note)
    say("")
    return as_run(races, about)


def _told(found: Comparison) -> int:
    say("\n".join(found.lines()))
    return 1 if found.slower else 0


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    if count is None:
        yield
        return
    before, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(count)
    os.environ["OMP_NUM_THREADS"] = str(count)  # of the scripts' processes
    try:
        yield
    finally:
        torch.set_num_threads(before)
        del os.environ["OMP_NUM_THREADS"]
        if variable is not None:
            os.environ["OMP_NUM_THREADS"] = variable
