"""The speed of every script under ``examples/scripts``, plain and under ``gankit run``.

``python -m benchmarks.scripts`` prints a table. Each run is a process of its own; plain and
accelerated runs take turns, so that a drift of the machine's speed hits both, and the time of a
step is the least of the runs' medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

import torch

from gankit.run import measure

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "scripts"
SCRIPTS = tuple(sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "options"))
MODES = ("plain", "accelerated")


def race(script: str, steps: int, rounds: int, batch_size: int) -> dict[str, float]:
    """Seconds per step of each mode."""
    file = str(FOLDER / f"{script}.py")
    arguments = ["--batch-size", str(batch_size), "--steps", str(steps + 1)]
    best = dict.fromkeys(MODES, float("inf"))
    for turn in range(rounds):
        for mode in MODES if turn % 2 == 0 else MODES[::-1]:
            seconds = statistics.median(measure(mode, file, arguments, steps)["seconds"])
            best[mode] = min(best[mode], seconds)
    return best


def main() -> int:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts")
    parser.add_argument("scripts", nargs="*", default=SCRIPTS, metavar="SCRIPT")
    parser.add_argument("--steps", type=int, default=20, help="of each run, at least 6")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each mode")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, batch {options.batch_size}\n")
    print("| script | plain, ms | accelerated, ms | ratio |\n|---|---:|---:|---:|")
    ratios = []
    for script in options.scripts:
        best = race(script, max(6, options.steps), options.rounds, options.batch_size)
        ratios.append(best["plain"] / best["accelerated"])
        times = " | ".join(f"{best[mode] * 1e3:.2f}" for mode in MODES)
        print(f"| {script} | {times} | {ratios[-1]:.2f}x |", flush=True)
    mean = statistics.geometric_mean(ratios)
    print(f"\ngeometric mean {mean:.2f}x, least {min(ratios):.2f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
