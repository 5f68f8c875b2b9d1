"""Many processes agree when to end, at steps that follow from what all of them know."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from gankit.runs import interrupt


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("seconds", "most"), [(0.001, 2.1), (0.5, 2.1), (7.0, 7.1)])
def test_they_ask_each_other_every_other_second(
    monkeypatch: pytest.MonkeyPatch, seconds: float, most: float
) -> None:
    clock = Clock()
    asked: list[float] = []
    monkeypatch.setattr(interrupt, "time", clock)
    monkeypatch.setattr(interrupt, "world", lambda: (0, 2))

    def largest(values: list[int], device: Any) -> list[int]:
        asked.append(clock.now)
        return [max(values[0], signal.SIGTERM if clock.now > 60 else 0), values[1] + 1]

    monkeypatch.setattr(interrupt, "largest_over_processes", largest)
    saved: list[int] = []
    checkpoint: Any = SimpleNamespace(save=lambda trainer: saved.append(trainer.step))
    callback = interrupt.SaveOnInterrupt(checkpoint)
    trainer: Any = SimpleNamespace(step=0, data=SimpleNamespace(device="cpu"), log_every=10**9)

    def run() -> None:
        callback.on_start(trainer)
        while True:
            clock.now += seconds
            trainer.step += 1
            callback.on_step(trainer)

    try:
        with pytest.raises(interrupt.Terminated):
            run()
    finally:
        callback.close()
    gaps = [b - a for a, b in zip([0.0, *asked], asked, strict=False)]
    assert max(gaps) <= most
    assert len(asked) < 60
    assert saved == [trainer.step]
    assert clock.now < 60 + most
