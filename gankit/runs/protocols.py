"""Which numbers of runs may stand beside one another: those that were measured in the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gankit.json_text import as_number, json_text
from gankit.metrics.registry import METRICS, values_of
from gankit.runs.record import RunRecord
from gankit.runs.setting_rows import flattened
from gankit.runs.wording import in_words, number

__all__ = ["Measured", "Number", "by_protocol", "protocol_notes"]

# What results of one protocol may differ in.
_OF_THE_RUN = ("values", "step", "generated")
# The settings that say how a run measures itself.
_WHILE_IT_GOES_ON = ("data", "image_size", "evaluate_n", "evaluate_features")
# A note names so many differences.
_NAMED = 4


class Number(NamedTuple):
    """A value of a run, and the step it was measured at where that is known."""

    value: float
    step: int | None

    def __str__(self) -> str:
        at = "" if self.step is None else f" at step {self.step:,}"
        return f"{number(self.value)}{at}"


@dataclass
class Measured:
    """Numbers of runs, by their names, that one protocol has measured; ``how`` sums it up."""

    metric: str
    how: str
    protocol: Mapping[str, Any]
    numbers: dict[str, Number] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Metric and protocol, as far as ``how`` tells it."""
        return f"{self.metric}{self.how}"

    def words(self, name: str) -> str:
        """The number of run ``name`` with its step, or "-"."""
        return str(self.numbers.get(name, "-"))


def by_protocol(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Measured]:
    """What was measured of each run, by a label that tells metric and protocol.

    Args:
        results: of each run, as ``gankit.runs.evaluating.kept`` reads them: a newer one takes the
            place of an older one of the same protocol.
    """
    found: dict[tuple[str, str], Measured] = {}
    for name, of_run in results.items():
        for result in of_run:
            step = result.get("step")
            for metric, written in result["values"].items():
                value = as_number(written)
                if value is None:
                    continue
                protocol = _protocol(metric, result)
                key = (metric, json_text(protocol, sort_keys=True))
                row = found.setdefault(key, Measured(metric, _how(result), protocol))
                row.numbers[name] = Number(value, step if isinstance(step, int) else None)
    rows = sorted(found.values(), key=lambda row: -len(row.numbers))
    again, seen = Counter(row.label for row in rows), Counter[str]()
    labelled = {}
    for row in rows:
        seen[row.label] += 1
        tail = f", protocol {seen[row.label]}" if again[row.label] > 1 else ""
        labelled[row.label + tail] = row
    return labelled


def protocol_notes(runs: Mapping[str, RunRecord]) -> list[str]:
    """Sentences on numbers of one name that do not compare, and why."""
    rows = by_protocol({name: run.evaluations for name, run in runs.items()})
    labels: dict[str, list[Measured]] = {}
    for row in rows.values():
        labels.setdefault(row.label, []).append(row)
    notes: dict[tuple[str, str], list[str]] = {}
    for same in labels.values():
        if len(same) > 1:
            differ = _differences([_flat(row.protocol) for row in same])
            notes.setdefault((same[0].how, differ), []).append(same[0].metric)
    found = [
        f"{', '.join(names)}{how}: protocols differ in {what}, so their numbers do not compare"
        for (how, what), names in notes.items()
    ]
    return [*found, *_notes_on_logs(runs)]


def _notes_on_logs(runs: Mapping[str, RunRecord]) -> list[str]:
    """On columns of metrics.csv that runs have measured in different ways."""
    known = values_of(METRICS)
    notes: dict[str, list[str]] = {}
    for column in dict.fromkeys(c for run in runs.values() for c in run.columns if c in known):
        ways = [
            {key: flattened(run.config).get(key) for key in _WHILE_IT_GOES_ON}
            for run in runs.values()
            if run.config is not None and run.summary(column) is not None
        ]
        differ = _differences(ways)
        if differ:
            notes.setdefault(differ, []).append(column)
    return [
        f"{', '.join(columns)} in the logs: runs differ in {what}, so their numbers do not compare"
        for what, columns in notes.items()
    ]


def _differences(ways: Sequence[Mapping[str, Any]]) -> str:
    """Where ``ways`` differ, with what stands there, or nothing."""
    keys = dict.fromkeys(key for way in ways for key in way)
    values = {key: dict.fromkeys(in_words(way.get(key)) for way in ways) for key in keys}
    differ = [f"{key} ({' and '.join(each)})" for key, each in values.items() if len(each) > 1]
    more = f" and {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
    return ", ".join(differ[:_NAMED]) + more


def _protocol(metric: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """What another value of ``metric`` must share; settings of other metrics do not matter."""
    protocol = {key: value for key, value in result.items() if key not in _OF_THE_RUN}
    settings = protocol.get("settings")
    if isinstance(settings, dict):
        others = [name for name, each in METRICS.items() if metric not in each.values]
        protocol["settings"] = {
            key: value
            for key, value in settings.items()
            if not any(key == name or key.startswith(f"{name}_") for name in others)
        }
    return protocol


def _how(result: Mapping[str, Any]) -> str:
    features, n = result.get("features"), result.get("n_generated")
    words = [features] if isinstance(features, str) else []
    words += [f"{n:,} images"] if isinstance(n, int) else []
    return f" ({', '.join(words)})" if words else ""


def _flat(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """One level deep: ``settings`` and ``versions`` by the names within."""
    found: dict[str, Any] = {}
    for key, value in protocol.items():
        found |= value if isinstance(value, dict) else {key: value}
    return found
