"""The means of a run's numbers between two logs, in memory that does not grow with the steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

# So many steps are kept one by one before they are added up. Without a wait for the device, at the
# price of one addition in as many steps; a log of at most as many has the mean of its very rows.
BLOCK = 256


class RunningMeans:
    """Sums of 0-d tensors by name.

    ``state_dict`` holds, for each name, the latest values as they were, and under ``"NAME sums"``
    the sum and the number of those before, in float64.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self.clear()

    def clear(self) -> None:
        """Forget all values."""
        self._latest: dict[str, list[Tensor]] = {name: [] for name in self._names}
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Count ``value`` in; nothing waits for the device."""
        latest = self._latest[name]
        if len(latest) >= BLOCK:
            self._sums[name] = self._total(name)
            latest.clear()
        latest.append(value)

    def _total(self, name: str) -> tuple[Tensor, int]:
        """The sum of all values of ``name`` in float64, and how many there are."""
        latest = self._latest[name]
        if name not in self._sums:
            return torch.stack(latest).double().sum(), len(latest)
        total, count = self._sums[name]
        if latest:
            total = total + torch.stack(latest).double().sum()
        return total, count + len(latest)

    def means(self) -> dict[str, float]:
        """The mean of each name that has values. Waits for the device."""
        found = {}
        for name, latest in self._latest.items():
            if name in self._sums:
                total, count = self._total(name)
                found[name] = float(total) / count
            elif latest:
                found[name] = float(torch.stack(latest).double().mean())
        return found

    def rows(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: float64 rows on the CPU."""
        rows = {}
        for name, latest in self._latest.items():
            if name in self._sums:
                total, count = self._sums[name]
                rows[f"{name} sums"] = torch.tensor([float(total), count], dtype=torch.float64)
            if latest:
                rows[name] = torch.stack(latest).double().cpu()
        return rows

    def restore(self, rows: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from ``rows`` with values on ``device``."""
        self.clear()
        for name in self._names:
            if name in rows:
                self._latest[name] = list(rows[name].to(device).unbind())
            if f"{name} sums" in rows:
                total, count = rows[f"{name} sums"].double()
                self._sums[name] = total.to(device), int(count)
