"""Tests compute on small tensors, on which torch's own layers are faster and would run."""

from __future__ import annotations

import pytest

from gankit.acceleration import patterns


@pytest.fixture(autouse=True)
def ops_on_any_size(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Fuses whatever the size; gives the sizes from which it otherwise is."""
    sizes = patterns.LEAST
    monkeypatch.setattr(patterns, "LEAST", dict.fromkeys(sizes, 0))
    return sizes
