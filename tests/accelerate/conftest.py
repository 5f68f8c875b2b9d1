"""Tests compute on small tensors, on which torch's own layers are faster and would run.

And in float64, on any processor, where the op of a linear layer is torch's.
"""

from __future__ import annotations

import pytest

from gankit.acceleration import patterns


@pytest.fixture(autouse=True)
def ops_on_any_size(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Fuses whatever size, dtype and processor; gives the sizes from which it otherwise is."""
    sizes = patterns.LEAST
    monkeypatch.setattr(patterns, "LEAST", dict.fromkeys(sizes, 0))
    monkeypatch.setattr(patterns, "linear_objection", lambda module: "")
    return sizes
