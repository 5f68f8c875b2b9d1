"""What was accelerated, what was not, and why."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from .patterns import OWN, Children, match, objection
from .run import Ran, gives_new

# A longer table has one line for all rows of the same layers that run as the same.
_LONG = 24


@dataclass(frozen=True)
class Row:
    """One run of layers, one module or one optimizer.

    Attributes:
        module: its path, such as ``"0.main.3"`` (the first part counts the arguments of
            ``accelerate``).
        layers: the class names of the layers.
        fused: the op they run as; empty where they run as plain torch.
        reason: why they run as plain torch; empty where they are fused.
    """

    module: str
    layers: tuple[str, ...]
    fused: str = ""
    reason: str = ""

    @property
    def runs_as(self) -> str:
        """The op, or that it is plain torch and why, in words."""
        if self.fused or self.reason == OWN:
            return self.fused or self.reason
        return f"plain torch: {self.reason}"


@dataclass(frozen=True, repr=False)
class AccelerationReport:
    """What :func:`gankit.accelerate` did; ``print``, and a notebook, show it as a table.

    Attributes:
        rows: one for each run of layers, in order.
        sequentials: how many ``nn.Sequential`` modules run as plans now.
        optimizers: how many optimizers take one fused step now.
    """

    rows: tuple[Row, ...] = field(default_factory=tuple)
    sequentials: int = 0
    optimizers: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many runs each op serves."""
        return dict(Counter(row.fused for row in self.rows if row.fused))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, for JSON."""
        return {
            "sequentials": self.sequentials,
            "optimizers": self.optimizers,
            "counts": self.counts,
            "rows": [{**asdict(row), "layers": list(row.layers)} for row in self.rows],
        }

    @property
    def summary(self) -> str:
        """All of it in one line."""
        counts = ", ".join(f"{op} {n}" for op, n in sorted(self.counts.items())) or "nothing"
        return f"{self.sequentials} Sequential, {self.optimizers} optimizer(s); fused: {counts}"

    def _lines(self) -> list[tuple[str, str, str]]:
        if len(self.rows) <= _LONG:
            return [(row.module, " ".join(row.layers), row.runs_as) for row in self.rows]
        alike: dict[tuple[str, str], list[str]] = {}
        for row in self.rows:
            alike.setdefault((" ".join(row.layers), row.runs_as), []).append(row.module)
        return [
            (places[0] + (f" and {len(places) - 1} more" if len(places) > 1 else ""), *kind)
            for kind, places in alike.items()
        ]

    def __str__(self) -> str:
        lines = [("module", "layers", "runs as"), *self._lines()]
        widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
        table = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in lines]
        return "\n".join([self.summary, *table])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(cells: tuple[str, str, str], tag: str) -> str:
            inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr>{inside}</tr>"

        body = "".join(row(line, "td") for line in self._lines())
        head = row(("module", "layers", "runs as"), "th")
        return f"<p>{html.escape(self.summary)}</p><table>{head}{body}</table>"


def rows_of(children: Children, names: list[str], path: str) -> list[Row]:
    """The plan of one ``nn.Sequential`` as it stands, in the mode it is in."""
    return [row for _, row in _plan(children, names, path)]


def _plan(children: Children, names: list[str], path: str) -> list[tuple[int, Row]]:
    """The index of its first child and the row of each run."""
    rows = []
    start, fresh = 0, False
    while start < len(children):
        found = match(children, start, fresh)
        stop = start + 1 if found is None else found.stop
        layers = tuple(type(child).__name__ for child in children[start:stop])
        module = _place(names, start, stop, path)
        if found is not None:
            rows.append((start, Row(module, layers, found.op)))
            fresh = True
        else:
            if not isinstance(children[start], nn.Sequential):
                reason = objection(children, start, fresh)
                rows.append((start, Row(module, layers, reason=reason)))
            fresh = gives_new(children[start], fresh)
        start = stop
    return rows


def _place(names: list[str], start: int, stop: int, path: str) -> str:
    module = f"{path}.{names[start]}" if path else names[start]
    return module if stop - start == 1 else f"{module}-{names[stop - 1]}"


class History:
    """What the calls of one ``nn.Sequential`` ran as.

    ``ran`` is for :func:`gankit.acceleration.run.run_children`. Layers are those of the first call;
    the reasons for what never ran as an op are those of training, where there was a call in it.
    """

    def __init__(self, module: nn.Sequential, path: str) -> None:
        self.names, self.path = list(module._modules), path
        self.layers = [type(child).__name__ for child in module]
        self.ran: Ran = Counter()
        self._planned: dict[bool, dict[int, Row]] = {}
        self.called(module)

    def called(self, module: nn.Sequential) -> None:
        """Notes what the plan is in the mode that the module is in."""
        if module.training not in self._planned:
            plan = _plan(tuple(module), list(module._modules), self.path)
            self._planned[module.training] = dict(plan)

    def rows(self) -> list[Row]:
        """A row for each run, an op where calls had it so; what most had, where they differ."""
        rows, start = [], 0
        planned = self._planned.get(True) or self._planned[False]
        while start < len(self.names):
            runs = [(count, run) for run, count in self.ran.items() if run[0] == start]
            _, stop, op = max(runs)[1] if runs else (start, start + 1, "")
            if runs and stop <= len(self.names):
                place, layers = _place(self.names, start, stop, self.path), self.layers[start:stop]
                rows.append(Row(place, tuple(layers), op))
            elif start in planned:
                row = planned[start]
                if row.fused:
                    row = replace(row, fused="", reason=_NEVER_SUITED)
                    stop = start + len(row.layers)
                rows.append(row)
            start = stop
        return rows


_NEVER_SUITED = "its tensors were too small for the op, or of a kind that it does not take"
