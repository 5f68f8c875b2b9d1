"""Races: several implementations of one task, timed in turn in one process.

A machine's speed drifts by tens of percent within minutes, so times taken one contender after the
other cannot be compared. A race runs many short rounds; in every round each contender has one turn,
in an order drawn anew, and so the drift hits all alike.
"""

from __future__ import annotations

import contextlib
import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Call = Callable[[], object]
Role = Literal["plain", "peer", "gankit", "variant", "copy", "part"]

WARM_UP_CALLS = 3
ROUND_SECONDS = 2e-3
LEAST_ROUNDS, MOST_ROUNDS = 9, 400


@dataclass(frozen=True)
class Contender:
    """One implementation in a race.

    Args:
        name: as the report shows it.
        role: "plain" is the ratio's base; "peer" is another way without gankit; "gankit" is what a
            user gets by default; "variant" is gankit with another setting (listed, not summarised);
            "copy" moves memory and nothing else; "part" repeats a part of what "gankit" does.
        build: makes the call to time; inputs, compilation and checks belong here.
        context: entered around ``build`` and around each turn, outside the timed region.
        info: numbers for the report, such as ``bytes`` moved or ``images`` handled by one call.
    """

    name: str
    role: Role
    build: Callable[[], Call]
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    info: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What a benchmark is asked for: where, how many seconds for each contender of an op's race,
    and at which batch sizes steps are timed."""

    device: torch.device
    seconds: float
    batch_sizes: tuple[int, ...] = (60,)


@dataclass
class Race:
    """Contenders for one task on one device; ``seconds`` is the time for each of them.

    ``clock`` is the host's: ``time.process_time`` counts the CPU time of this process in place of
    what passes, for a machine where others work too.
    """

    group: str
    contenders: tuple[Contender, ...]
    device: torch.device
    seconds: float = 0.5
    clock: Callable[[], float] = time.perf_counter
    durations: dict[str, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    finished: bool = False

    def run(self) -> None:
        """Times every contender, once.

        One that cannot run here is ``left_out`` with the reason; gankit has no such excuse, its
        exceptions are in ``failed``. The others race all the same.
        """
        if self.finished:
            return
        self.finished = True
        ready = self._build()
        if not ready:
            return
        turns = {}
        for name, call in ready.items():
            with self.contender(name).context():
                turns[name] = _iterations(call, self.device, self.clock)
        one_round = sum(seconds * count for seconds, count in turns.values())
        rounds = math.floor(self.seconds * len(ready) / one_round)
        rounds = min(MOST_ROUNDS, max(LEAST_ROUNDS, rounds))
        self.durations = {name: [] for name in ready}
        shuffle = random.Random(0)
        order = [contender for contender in self.contenders if contender.name in ready]
        with _without_garbage_collection():
            for _ in range(rounds):
                shuffle.shuffle(order)
                for contender in order:
                    count = turns[contender.name][1]
                    with contender.context():
                        seconds = time_calls(ready[contender.name], count, self.device, self.clock)
                    self.durations[contender.name].append(seconds / count)
        # Compiled code is kept per function, and a function may be compiled only so many times.
        torch._dynamo.reset()

    def run_once(self, name: str) -> None:
        """Builds one contender and calls it once, untimed."""
        contender = self.contender(name)
        with contender.context():
            contender.build()()

    def contender(self, name: str) -> Contender:
        """The contender called ``name``."""
        return next(contender for contender in self.contenders if contender.name == name)

    def _build(self) -> dict[str, Call]:
        ready: dict[str, Call] = {}
        for contender in self.contenders:
            try:
                with contender.context():
                    call = contender.build()
                    for _ in range(WARM_UP_CALLS):
                        call()
                    synchronize(self.device)
            except Exception as error:
                if contender.role in ("gankit", "variant"):
                    self.failed[contender.name] = error
                lines = str(error).strip().splitlines() or ["no message"]
                self.left_out[contender.name] = f"{type(error).__name__}: {lines[0]}"
            else:
                ready[contender.name] = call
        return ready


def synchronize(device: torch.device) -> None:
    """Waits for the device; the CPU never makes one wait."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(
    call: Call,
    count: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds for ``count`` calls: by events on CUDA, by ``clock`` elsewhere."""
    if device.type != "cuda":
        start = clock()
        for _ in range(count):
            call()
        return clock() - start
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    before.record()
    for _ in range(count):
        call()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3


def _iterations(call: Call, device: torch.device, clock: Callable[[], float]) -> tuple[float, int]:
    """Seconds per call, and how many calls fill one turn."""
    count = 1
    while True:
        seconds = time_calls(call, count, device, clock)
        if seconds >= ROUND_SECONDS / 4:
            break
        count *= 4
    each = seconds / count
    return each, max(1, round(ROUND_SECONDS / each))


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
