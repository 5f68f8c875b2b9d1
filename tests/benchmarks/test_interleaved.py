from __future__ import annotations

import time

import pytest
import torch

from gankit.bench import races
from gankit.bench.races import LEAST_ROUNDS, WARM_UP_CALLS, Call, Contender, Race

CPU = torch.device("cpu")


def call_of(calls: list[str], name: str) -> Call:
    return lambda: calls.append(name)


def race_of(calls: list[str], *names: str) -> Race:
    contenders = tuple(
        Contender(name, "peer", lambda name=name: call_of(calls, name)) for name in names
    )
    return Race("task", contenders, CPU, seconds=0.0)


@pytest.fixture(autouse=True)
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call seems to take a second, so a turn is one call."""

    def time_calls(call: Call, count: int, device: torch.device, clock: object) -> float:
        for _ in range(count):
            call()
        return float(count)

    monkeypatch.setattr(races, "time_calls", time_calls)


def test_every_round_has_one_turn_of_each_in_a_new_order() -> None:
    calls: list[str] = []
    race = race_of(calls, "a", "b", "c")
    race.run()
    rounds = calls[-3 * LEAST_ROUNDS :]
    orders = ["".join(rounds[i : i + 3]) for i in range(0, len(rounds), 3)]
    assert {"".join(sorted(order)) for order in orders} == {"abc"}
    assert len(set(orders)) > 3
    assert race.durations == {name: [1.0] * LEAST_ROUNDS for name in "abc"}


def test_short_calls_are_timed_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(races, "time_calls", lambda call, count, *_: count * 1e-6)
    race = race_of([], "a")
    race.run()
    assert race.durations["a"] == pytest.approx([1e-6] * LEAST_ROUNDS)
    assert races._iterations(lambda: None, CPU, time.perf_counter) == pytest.approx((1e-6, 2000))


def test_more_time_means_more_rounds() -> None:
    race = race_of([], "a", "b")
    race.seconds = 50.0
    race.run()
    assert [len(found) for found in race.durations.values()] == [50, 50]


def test_the_host_clock_sees_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 0.02 <= races.time_calls(lambda: time.sleep(0.01), 2, CPU) < 10


def test_a_race_runs_once() -> None:
    calls: list[str] = []
    race = race_of(calls, "a")
    race.run()
    count = len(calls)
    race.run()
    assert len(calls) == count > WARM_UP_CALLS


def test_a_peer_that_cannot_run_is_left_out_with_the_reason() -> None:
    def unbuildable() -> Call:
        raise RuntimeError("no compiler\nmore words")

    calls: list[str] = []
    sound = Contender("sound", "gankit", lambda: call_of(calls, "sound"))
    race = Race("task", (Contender("broken", "peer", unbuildable), sound), CPU, 0.0)
    race.run()
    assert race.left_out == {"broken": "RuntimeError: no compiler"}
    assert list(race.durations) == ["sound"]
    assert not race.failed


def test_gankit_has_no_excuse_but_the_peers_race_on() -> None:
    def unbuildable() -> Call:
        raise RuntimeError("wrong result")

    calls: list[str] = []
    peer = Contender("peer", "peer", lambda: call_of(calls, "peer"))
    race = Race("task", (Contender("ours", "gankit", unbuildable), peer), CPU, 0.0)
    race.run()
    assert str(race.failed["ours"]) == "wrong result"
    assert list(race.durations) == ["peer"]
