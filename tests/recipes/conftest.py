"""Fixtures shared by the tests of recipes."""

from __future__ import annotations

import pytest

from gankit.gans import srgan
from gankit.losses import fitted_features


@pytest.fixture(autouse=True)
def features_fitted_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Perceptual features of two steps, that are not kept."""
    monkeypatch.setattr(fitted_features, "_STEPS", 2)
    monkeypatch.setattr(srgan, "cache_root", lambda: None)
