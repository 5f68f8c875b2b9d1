"""The races of all operations, which ``gankit bench ops`` runs too."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.replay import CLOCK, report_race
from gankit.bench.ops import races
from gankit.bench.races import Race

__all__ = ["races"]


@pytest.mark.benchmark(timer=CLOCK)
def test_op(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)
