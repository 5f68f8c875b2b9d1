"""The speed of every script under ``examples/scripts``, plain and under ``gankit run``.

``python -m benchmarks.scripts`` prints a table, ``--json FILE`` keeps what was measured, and
``--report FILE [--into PAGE]`` prints the table of such a file or puts it into a page. Each run is
a process of its own; plain and accelerated runs take turns, so that a drift of the machine's speed
hits both, and the time of a step is the least of the runs' medians.

``--networks`` does the like for forward and backward of the networks in ``networks.py``, plain and
after ``gankit.accelerate``, call by call in one process, by the CPU time of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import gankit
from benchmarks.scripts.networks import CASES, Case
from gankit.bench.environment import cpu_name
from gankit.bench.scripts import LEAST_STEPS, MODES, names, time_script
from gankit.json_text import json_text
from gankit.training import keep_freed_memory

# Between such lines of a page stands the table.
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"


def race_networks(case: Case, rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds of CPU time for forward and backward, the median of each round, by mode.

    It is one network in one place in memory, accelerated and restored from call to call.
    """
    network = case.build()
    x = torch.randn(case.shape, requires_grad=True)
    found: dict[str, Any] = {mode: [] for mode in MODES}
    found["fused"] = gankit.accelerate(network).counts
    first = sum(time_network(network, x, mode) for mode in MODES)
    turns = max(3, round(seconds / rounds / first))
    for _ in range(rounds):
        durations: dict[str, list[float]] = {mode: [] for mode in MODES}
        for turn in range(turns):
            for mode in MODES if turn % 2 == 0 else MODES[::-1]:
                durations[mode].append(time_network(network, x, mode))
        for mode in MODES:
            found[mode].append(statistics.median(durations[mode]))
    return found


def time_network(network: nn.Module, x: Tensor, mode: str) -> float:
    """Seconds of CPU time for one forward and backward."""
    (gankit.accelerate if mode == "accelerated" else gankit.restore)(network)
    network.zero_grad()
    x.grad = None
    start = time.process_time()
    network(x).sum().backward()
    return time.process_time() - start


def ratio(entry: dict[str, Any]) -> float:
    """How many times faster the accelerated script is."""
    fastest: float = min(entry["plain"]) / min(entry["accelerated"])
    return fastest


def row(script: str, entry: dict[str, Any]) -> str:
    """One line of the table."""
    times = " | ".join(f"{min(entry[mode]) * 1e3:.1f}" for mode in MODES)
    fused = ", ".join(f"{op} {count}" for op, count in sorted(entry["fused"].items()))
    return f"| {script} | {times} | {ratio(entry):.2f}x | {fused} |"


def head(about: dict[str, Any]) -> str:
    """What comes before the rows."""
    machine = f"{about['device']}, torch {about['torch']}, {about['threads']} thread(s)"
    columns = "| plain | accelerated | ratio | runs as |\n|---|---:|---:|---:|---|"
    if about["kind"] == "networks":
        return (
            f"{machine}, {about['capability']}; milliseconds of CPU time for forward and "
            f"backward:\n\n| network {columns}"
        )
    return f"{machine}, batch {about['batch_size']}; milliseconds per step:\n\n| script {columns}"


def summary(entries: dict[str, Any]) -> str:
    """The means of all rows."""
    ratios = [ratio(entry) for entry in entries.values()]
    return f"\nGeometric mean {statistics.geometric_mean(ratios):.2f}x, least {min(ratios):.2f}x."


def table(data: dict[str, Any]) -> str:
    """The whole table in Markdown."""
    entries = data[data["kind"]]
    rows = [row(name, entry) for name, entry in entries.items()]
    return "\n".join([head(data), *rows, summary(entries)])


def write_into(page: Path, kind: str, text: str) -> None:
    """Replaces what stands between the two marks of a page."""
    first, last = BEGIN.format(kind), END.format(kind)
    before, begin, rest = page.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        sys.exit(f"{page}: expected the lines {first} and {last}")
    page.write_text(f"{before}{first}\n{text}\n{last}{after}")


def main() -> int:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts")
    parser.add_argument("scripts", nargs="*", default=names(), metavar="SCRIPT")
    parser.add_argument("--networks", action="store_true", help="time the networks instead")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each of the networks")
    parser.add_argument("--steps", type=int, default=20, help="of each run, at least 6")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each mode")
    parser.add_argument("--batch-size", type=int, default=64, help="of the scripts")
    parser.add_argument("--threads", type=int, default=2, help="of the scripts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep what was measured")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing, show this")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="write the table of --report")
    options = parser.parse_args()
    if options.report:
        data = json.loads(options.report.read_text())
        text = table(data)
        print(text)
        if options.into:
            write_into(options.into, data["kind"], text)
        return 0
    kind = "networks" if options.networks else "scripts"
    data = {
        "kind": kind,
        "device": cpu_name(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": 1 if options.networks else options.threads,
        "batch_size": options.batch_size,
        kind: {},
    }
    if options.networks:
        torch.set_num_threads(1)
        keep_freed_memory()
    else:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print(head(data))
    for name in CASES if options.networks else options.scripts:
        if options.networks:
            torch.manual_seed(0)
            entry = race_networks(CASES[name], options.rounds, options.seconds)
        else:
            entry = time_script(
                name, max(LEAST_STEPS, options.steps), options.rounds, options.batch_size
            )
        data[kind][name] = entry
        print(row(name, entry), flush=True)
        if options.json:
            options.json.write_text(json_text(data, indent=1) + "\n")
    print(summary(data[kind]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
