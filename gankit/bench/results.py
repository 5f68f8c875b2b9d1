"""What races found: one form in JSON, and tables of it.

The JSON is that of pytest-benchmark as far as these tables read it, so that the file of ``gankit
bench --json`` and that of the suite under ``benchmarks/`` are read alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gankit.bench.races import Contender, Race

OURS = ("gankit", "variant")


@dataclass(frozen=True)
class Entry:
    """One contender's result; times in seconds per call, ``data`` in the order of the rounds."""

    contender: str
    role: str
    median: float
    q1: float
    q3: float
    least: float
    data: tuple[float, ...]
    images: float | None = None
    bytes: float | None = None
    peak_bytes: float | None = None


@dataclass(frozen=True)
class Group:
    """One race: its results, fastest first, and why contenders are missing."""

    name: str
    entries: tuple[Entry, ...]
    left_out: Mapping[str, str]

    def only(self, role: str) -> Entry | None:
        """The one entry with ``role``, if it took part."""
        return next((entry for entry in self.entries if entry.role == role), None)

    @property
    def best_peer(self) -> Entry | None:
        """The fastest way without gankit, the plain one included."""
        peers = [entry for entry in self.entries if entry.role in ("plain", "peer")]
        return min(peers, key=lambda entry: entry.median, default=None)


def as_run(races: Iterable[Race], environment: Mapping[str, Any]) -> dict[str, Any]:
    """The races that were run, as JSON."""
    found = []
    for race in races:
        for name, data in race.durations.items():
            q1, median, q3 = statistics.quantiles(data, n=4, method="inclusive")
            stats = {"median": median, "q1": q1, "q3": q3, "min": min(data), "data": data}
            info = extra_info(race, race.contender(name))
            found.append({"group": race.group, "extra_info": info, "stats": stats})
    return {"machine_info": {"gankit": dict(environment)}, "benchmarks": found}


def extra_info(race: Race, contender: Contender) -> dict[str, Any]:
    """What is kept of a contender beside its times."""
    return {
        "contender": contender.name,
        "role": contender.role,
        "left_out": race.left_out,
        **contender.info,
    }


def read_groups(runs: Iterable[Mapping[str, Any]]) -> list[Group]:
    """The races in pytest-benchmark's ``runs``, in the order in which they ran."""
    entries: dict[str, list[Entry]] = {}
    left_out: dict[str, dict[str, str]] = {}
    for run in runs:
        for benchmark in run["benchmarks"]:
            info, stats = benchmark["extra_info"], benchmark["stats"]
            name = benchmark["group"]
            left_out.setdefault(name, {}).update(info["left_out"])
            entries.setdefault(name, []).append(
                Entry(
                    contender=info["contender"],
                    role=info["role"],
                    median=stats["median"],
                    q1=stats["q1"],
                    q3=stats["q3"],
                    least=stats["min"],
                    data=tuple(stats["data"]),
                    images=info.get("images"),
                    bytes=info.get("bytes"),
                    peak_bytes=info.get("peak_bytes"),
                )
            )
    return [
        Group(name, tuple(sorted(found, key=lambda entry: entry.median)), left_out[name])
        for name, found in entries.items()
    ]


def ratio(base: Entry | None, entry: Entry | None) -> str:
    """How many times as fast as ``base``, by medians; below one it says "slower".

    "within the spread" says that the rounds disagree on who is faster: the middle half of the
    ratios, each between the two turns of one round, has one in it.
    """
    if base is None or entry is None or base is entry:
        return ""
    value = base.median / entry.median
    text = f"{value:.3g}x" if value < 100 else f"{value:.0f}x"
    remarks = ["slower"] if value < 1 and entry.role in OURS else []
    rounds = sorted(b / e for b, e in zip(base.data, entry.data, strict=True))
    if rounds[len(rounds) // 4] <= 1 <= rounds[-1 - len(rounds) // 4]:
        remarks.append("within the spread")
    text += f" ({', '.join(remarks)})" if remarks else ""
    return f"**{text}**" if "slower" in remarks else text


def seconds(value: float) -> str:
    """A time with the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return (
                f"{value / size:.3g} {unit}" if value < 100 * size else f"{value / size:.0f} {unit}"
            )
    return f"{value / 1e-9:.3g} ns"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, text to the left and everything else to the right."""
    yield f"| {' | '.join(header)} |"
    yield f"| --- |{' ---: |' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def summary(groups: Sequence[Group]) -> Iterator[str]:
    """gankit beside plain PyTorch and beside the best way without gankit."""
    rows = []
    for group in groups:
        plain, best, ours = group.only("plain"), group.best_peer, group.only("gankit")
        rows.append(
            (
                group.name,
                seconds(plain.median) if plain else "",
                f"{seconds(best.median)} ({best.contender})" if best else "",
                seconds(ours.median) if ours else "failed",
                ratio(plain, ours),
                ratio(best, ours),
            )
        )
    header = (
        "task",
        "plain eager",
        "best baseline",
        "gankit",
        "against plain",
        "against best baseline",
    )
    yield from table(header, rows)


def details(group: Group) -> Iterator[str]:
    """Every contender of one race."""
    plain, best, copy = group.only("plain"), group.best_peer, group.only("copy")
    whole = group.only("gankit")
    header = ["contender", "median", "middle half", "least", "rounds"]
    with_images = any(entry.images for entry in group.entries)
    header += ["images/s"] if with_images else []
    header += ["GB/s", "of a copy's"] if copy else []
    with_peak = any(entry.peak_bytes for entry in group.entries)
    header += ["peak memory"] if with_peak else []
    with_parts = any(entry.role == "part" for entry in group.entries)
    header += ["share of gankit's step"] if with_parts else []
    rows = []
    for entry in group.entries:
        row = [
            f"**{entry.contender}**" if entry.role in OURS else entry.contender,
            seconds(entry.median),
            f"{seconds(entry.q1)} to {seconds(entry.q3)}",
            seconds(entry.least),
            str(len(entry.data)),
        ]
        if with_images:
            row.append(f"{entry.images / entry.median:,.0f}" if entry.images else "")
        if copy:
            row += _bandwidth(entry, copy)
        if with_peak:
            row.append(f"{entry.peak_bytes / 2**20:.3g} MiB" if entry.peak_bytes else "")
        if with_parts:
            is_part = entry.role == "part" and whole is not None
            row.append(f"{entry.median / whole.median:.0%}" if is_part and whole else "")
        compared = entry.role not in ("copy", "part")
        row += [ratio(plain, entry) if compared else "", ratio(best, entry) if compared else ""]
        rows.append(row)
    yield f"### {group.name}"
    yield ""
    yield from table([*header, "against plain", "against best baseline"], rows)
    for name, reason in group.left_out.items():
        yield ""
        yield f"Left out: {name} ({reason})."


def _bandwidth(entry: Entry, copy: Entry) -> list[str]:
    # What an op must move at the least; an implementation that moves more shows a smaller number.
    if entry.bytes is None or copy.bytes is None:
        return ["", ""]
    rate = entry.bytes / entry.median
    return [f"{rate / 1e9:,.0f}", f"{rate / (copy.bytes / copy.median):.1%}"]


def markdown(environment: Mapping[str, Any], groups: Sequence[Group]) -> str:
    """The whole report."""
    lines = [f"# Benchmarks on {environment['device']}", ""]
    lines += table(("", ""), [(str(key), str(value)) for key, value in environment.items()])
    lines += [
        "",
        "Contenders of one task took turns in one process; times are per call, medians over the "
        'rounds, and a ratio is how many times as fast. "Slower" marks where gankit is not faster, '
        '"within the spread" where more than a quarter of the rounds contradict the ratio. The '
        "best baseline is the fastest way without gankit. Measured as benchmarks/GUIDELINES.md "
        "says.",
        "",
        "## Summary",
        "",
        *summary(groups),
        "",
        "![Speed relative to plain eager](chart.png)",
        "",
        "## All contenders",
        "",
    ]
    for group in groups:
        lines += [*details(group), ""]
    return "\n".join(lines).rstrip() + "\n"


def merged_environment(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of the first run; raises ValueError if another run comes from other conditions."""
    records: list[dict[str, Any]] = [run["machine_info"]["gankit"] for run in runs]
    for record in records[1:]:
        for key in ("device", "commit", "torch", "threads"):
            if record[key] != records[0][key]:
                raise ValueError(
                    f"the files differ in {key}: {records[0][key]} and {record[key]}; one report "
                    "takes runs made under the same conditions"
                )
    return records[0]
