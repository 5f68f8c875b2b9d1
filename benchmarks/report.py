"""Turn the JSON of pytest-benchmark, or of ``gankit bench``, into a Markdown report and a chart.

``python -m benchmarks.report RUN.json [MORE.json ...] [--out benchmarks/results]`` writes
``OUT/<device>/report.md`` and ``chart.png``. Several files must come from one device.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gankit.bench.environment import slug
from gankit.bench.results import markdown, merged_environment, read_groups, summary

ROOT = Path(__file__).resolve().parents[1]


def write(runs: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Writes ``out/<device>/report.md`` and ``chart.png``; returns the folder."""
    from benchmarks.chart import draw

    environment = merged_environment(runs)
    groups = read_groups(runs)
    folder = out / slug(str(environment["device"]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(markdown(environment, groups), encoding="utf-8")
    draw(groups, environment, folder / "chart.png")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the report and prints its summary; 2 if the files cannot be read or do not fit."""
    parser = argparse.ArgumentParser(prog="benchmarks.report", description=__doc__)
    parser.add_argument("json", nargs="+", type=Path, help="what --benchmark-json wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    chosen = parser.parse_args(arguments)
    try:
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in chosen.json]
        folder = write(runs, chosen.out)
    except (OSError, ValueError) as error:
        print(f"report: error: {error}", file=sys.stderr)
        return 2
    print("\n".join(summary(read_groups(runs))))
    print(f"\nThe report is {folder / 'report.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
