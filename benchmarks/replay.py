"""Races in pytest-benchmark, which times one contender per test.

A race measures all of its contenders when its first test asks, and each test then replays its
contender's durations to pytest-benchmark through a clock of its own: the JSON has one entry per
contender, with median, quartiles and minimum over real rounds.
"""

from __future__ import annotations

from typing import Any

import pytest

from gankit.bench.races import Race
from gankit.bench.results import extra_info


class ReplayClock:
    """A clock that stands still until it is told that time has passed."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def replay(self, benchmark: Any, durations: list[float]) -> None:
        """Hands ``durations`` to pytest-benchmark, one round each, as if they took place now."""
        remaining = iter(durations)

        def pass_time() -> None:
            # A benchmark that is profiled asks once more than there are rounds.
            self.now += next(remaining, 0.0)

        benchmark.pedantic(pass_time, rounds=len(durations), iterations=1)


CLOCK = ReplayClock()


def report_race(race: Race, name: str, benchmark: Any) -> None:
    """The body of a benchmark test: runs the race if need be and reports one contender.

    With ``--benchmark-disable`` the contender runs once, untimed.
    """
    if benchmark.disabled:
        benchmark.pedantic(lambda: race.run_once(name))
        return
    race.run()
    contender = race.contender(name)
    if name in race.failed:
        raise race.failed[name]
    if name in race.left_out:
        pytest.skip(f"{name}: {race.left_out[name]}")
    benchmark.group = race.group
    benchmark.extra_info.update(extra_info(race, contender))
    CLOCK.replay(benchmark, race.durations[name])
