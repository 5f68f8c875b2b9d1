"""Two runs of benchmarks beside one another: what got slower, beyond the noise of both."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gankit.bench.environment import ROOT, slug
from gankit.bench.results import OURS, Entry, Group, read_groups, table
from gankit.errors import ConfigError, shortened

RESULTS = ROOT / "benchmarks" / "results"
# Another process has other places in memory: so much is nobody's doing.
LEAST = 0.05
_SAME = ("device", "threads", "time")


@dataclass(frozen=True)
class Change:
    """One of gankit's contenders in two runs: its time relative to that of ``base``, by rounds.

    ``before`` and ``after`` are lower quartile, median and upper quartile of the rounds' ratios.
    """

    task: str
    contender: str
    base: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]

    @property
    def factor(self) -> float:
        """Times as long as before."""
        return self.after[1] / self.before[1]

    @property
    def verdict(self) -> str:
        """ "slower" or "faster" where the middle halves of both runs' rounds lie apart and the
        medians differ by more than a twentieth; else empty."""
        if self.factor > 1 + LEAST and self.after[0] > self.before[2]:
            return "slower"
        if self.factor < 1 / (1 + LEAST) and self.after[2] < self.before[0]:
            return "faster"
        return ""


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common, and the tasks that only one of them has."""

    changes: tuple[Change, ...]
    alone: tuple[str, ...]

    @property
    def slower(self) -> tuple[Change, ...]:
        """The regressions."""
        return tuple(change for change in self.changes if change.verdict == "slower")

    def lines(self) -> Iterator[str]:
        """A table of what changed, and a sentence."""
        changed = [change for change in self.changes if change.verdict]
        if changed:
            header = ("task", "contender", "time over", "before", "now", "factor", "")
            rows = [
                (
                    *(change.task, change.contender, change.base),
                    *(f"{change.before[1]:.3g}", f"{change.after[1]:.3g}"),
                    *(f"{change.factor:.3g}", change.verdict),
                )
                for change in changed
            ]
            yield from table(header, rows)
            yield ""
        count = len(self.changes)
        words = f"{len(self.slower)} of {count} slower beyond the noise of both runs"
        yield words + (f"; in one run only: {', '.join(self.alone)}" if self.alone else "")


def read_run(path: Path) -> dict[str, Any]:
    """The JSON of a run. Raises ConfigError for another file, OSError for one that is not there."""
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for group in read_groups([run]):
            _check(group)
        run["machine_info"]["gankit"]["device"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no result of benchmarks ({shortened(str(error))}); expected what gankit "
            "bench --json wrote"
        ) from error
    return run


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """Compare two runs by the ratios within each: a machine's speed drifts from run to run.

    Raises ConfigError where they were made on different devices, with different numbers of threads
    or clocks, or have no task, or no contender of gankit and baseline, in common.
    """
    first, second = (run["machine_info"]["gankit"] for run in (before, after))
    for key in _SAME:
        if first.get(key) != second.get(key):
            raise ConfigError(
                f"the runs differ in {key}, {first.get(key)} and {second.get(key)}; allowed are "
                "runs on one device under the same conditions"
            )
    old, new = ({group.name: group for group in read_groups([run])} for run in (before, after))
    common = [name for name in new if name in old]
    if not common:
        raise ConfigError(
            f"the runs have no task in common: {', '.join(old) or 'none'}, and "
            f"{', '.join(new) or 'none'}"
        )
    changes = [change for name in common for change in _changes(old[name], new[name])]
    if not changes:
        raise ConfigError(
            "the runs have no contender of gankit beside a baseline in common; allowed are runs in "
            "which neither was left out"
        )
    alone = [name for name in (*old, *new) if (name in old) != (name in new)]
    return Comparison(tuple(changes), tuple(alone))


def baseline_for(environment: Mapping[str, Any], what: str) -> Path | None:
    """The committed run of ``what`` on this very device, if the source tree is there and has it."""
    path = RESULTS / slug(str(environment["device"])) / f"{slug(what)}.json"
    return path if path.is_file() else None


def _check(group: Group) -> None:
    """Raise ValueError unless every contender has a time above 0 in each of the same rounds."""
    rounds = {len(entry.data) for entry in group.entries}
    if len(rounds) != 1 or 0 in rounds:
        raise ValueError(f"{group.name}: the contenders have {sorted(rounds)} rounds")
    for entry in group.entries:
        if not all(isinstance(name, str) for name in (group.name, entry.contender, entry.role)):
            raise ValueError(f"{group.name}: names are texts")
        for value in (entry.median, entry.q1, entry.q3, entry.least, *entry.data):
            if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{group.name}: {entry.contender}: a time is {value!r}")


def _changes(old: Group, new: Group) -> Iterator[Change]:
    befores, afters = ({entry.contender: entry for entry in g.entries} for g in (old, new))
    # The fastest way without gankit then; a compiler that is absent now is no base.
    peers = [e for e in old.entries if e.role in ("plain", "peer") and e.contender in afters]
    if not peers:
        return
    base = (old.only("plain") or peers[0]).contender
    base = base if base in afters else peers[0].contender
    for name, entry in afters.items():
        if entry.role in OURS and name in befores:
            before, after = _ratios(befores[name], befores[base]), _ratios(entry, afters[base])
            yield Change(new.name, name, base, before, after)


def _ratios(entry: Entry, base: Entry) -> tuple[float, float, float]:
    rounds = [mine / other for mine, other in zip(entry.data, base.data, strict=True)]
    if len(rounds) < 2:
        return (rounds[0],) * 3
    q1, median, q3 = statistics.quantiles(rounds, n=4, method="inclusive")
    return q1, median, q3
