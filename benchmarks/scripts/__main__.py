"""The speed of every script under ``examples/scripts``, plain and under ``gankit run``.

``python -m benchmarks.scripts`` prints a table, ``--json FILE`` keeps what was measured, and
``--report FILE [--into PAGE]`` prints the table of such a file or puts it into a page. Each run is
a process of its own; plain and accelerated runs take turns, so that a drift of the machine's speed
hits both, and the time of a step is the least of the runs' medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import cpu_name
from gankit.run import measure

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "scripts"
SCRIPTS = tuple(sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "options"))
MODES = ("plain", "accelerated")
# Between these lines of a page stands the table.
BEGIN, END = "<!-- scripts: begin -->", "<!-- scripts: end -->"


def race(script: str, steps: int, rounds: int, batch_size: int) -> dict[str, Any]:
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
    return (
        f"{about['device']}, torch {about['torch']}, {about['threads']} threads, batch "
        f"{about['batch_size']}; milliseconds per step:\n\n"
        "| script | plain | accelerated | ratio | runs as |\n|---|---:|---:|---:|---|"
    )


def summary(entries: dict[str, Any]) -> str:
    """The means of all rows."""
    ratios = [ratio(entry) for entry in entries.values()]
    return f"\nGeometric mean {statistics.geometric_mean(ratios):.2f}x, least {min(ratios):.2f}x."


def table(data: dict[str, Any]) -> str:
    """The whole table in Markdown."""
    rows = [row(script, entry) for script, entry in data["scripts"].items()]
    return "\n".join([head(data), *rows, summary(data["scripts"])])


def write_into(page: Path, text: str) -> None:
    """Replaces what stands between the two marks of a page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{page}: expected the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> int:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts")
    parser.add_argument("scripts", nargs="*", default=SCRIPTS, metavar="SCRIPT")
    parser.add_argument("--steps", type=int, default=20, help="of each run, at least 6")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each mode")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep what was measured")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing, show this")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="write the table of --report")
    options = parser.parse_args()
    if options.report:
        text = table(json.loads(options.report.read_text()))
        print(text)
        if options.into:
            write_into(options.into, text)
        return 0
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    data: dict[str, Any] = {
        "device": cpu_name(),
        "torch": torch.__version__,
        "threads": options.threads,
        "batch_size": options.batch_size,
        "scripts": {},
    }
    print(head(data))
    for script in options.scripts:
        entry = race(script, max(6, options.steps), options.rounds, options.batch_size)
        data["scripts"][script] = entry
        print(row(script, entry), flush=True)
        if options.json:
            options.json.write_text(json.dumps(data, indent=1) + "\n")
    print(summary(data["scripts"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
