"""What was accelerated, what was not, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from .patterns import Children, match, objection
from .run import gives_new


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


@dataclass(frozen=True)
class AccelerationReport:
    """What :func:`gankit.accelerate` did; ``print`` shows it as a table.

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

    def __str__(self) -> str:
        lines = [("module", "layers", "runs as")]
        lines += [
            (row.module, " ".join(row.layers), row.fused or f"plain torch: {row.reason}")
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
        table = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in lines]
        counts = ", ".join(f"{op} {n}" for op, n in sorted(self.counts.items())) or "nothing"
        table.append(
            f"{self.sequentials} Sequential, {self.optimizers} optimizer(s); fused: {counts}"
        )
        return "\n".join(table)


def rows_of(children: Children, names: list[str], path: str) -> list[Row]:
    """The plan of one ``nn.Sequential`` as it stands, in the mode it is in."""
    rows = []
    start, fresh = 0, False
    while start < len(children):
        found = match(children, start, fresh)
        stop = start + 1 if found is None else found.stop
        layers = tuple(type(child).__name__ for child in children[start:stop])
        module = f"{path}.{names[start]}" if path else names[start]
        if stop - start > 1:
            module += f"-{names[stop - 1]}"
        if found is not None:
            rows.append(Row(module, layers, found.op))
            fresh = True
        else:
            if not isinstance(children[start], nn.Sequential):
                rows.append(Row(module, layers, reason=objection(children, start, fresh)))
            fresh = gives_new(children[start], fresh)
        start = stop
    return rows
