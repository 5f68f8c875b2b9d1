"""What the races of training steps share: batches that take turns, a check, a graph."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gankit.bench.cuda_graphs import captured
from gankit.bench.races import Call, Contender, Role

Step = Callable[[Tensor], Mapping[str, Tensor]]

BATCHES = 8  # as many different ones take turns


def step_contender(
    name: str,
    role: Role,
    make: Callable[[], Step],
    *,
    batch: tuple[int, ...],
    device: torch.device,
    check: Callable[[Step, Tensor], None],
    calls: int = 1,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    graph: bool = False,
) -> Contender:
    """A step on real images of shape ``batch``; ``calls`` of them make one turn.

    ``graph`` captures the step in one CUDA graph, as its peer without gankit would.
    """

    def build() -> Call:
        torch.manual_seed(0)
        step = make()
        batches = [torch.rand(batch, device=device).mul_(2).sub_(1) for _ in range(BATCHES)]
        check(step, batches[0])
        following = itertools.cycle(batches)
        if not graph:
            return lambda: [step(next(following)) for _ in range(calls)]
        shown = batches[0].clone()
        replay = captured(lambda: step(shown))

        def call() -> object:
            for _ in range(calls):
                shown.copy_(next(following))
                result = replay()
            return result

        return call

    return Contender(name, role, build, context, {"images": calls * batch[0]})


class Autocast(nn.Module):
    """A network in bfloat16 by ``torch.autocast``, its outputs float32, as plain loops do it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16):
            outputs: Tensor = self.network(inputs)
        return outputs.float()


def shared(**settings: Any) -> Callable[..., Contender]:
    """``step_contender`` with the settings that all contenders of a race share."""
    return functools.partial(step_contender, **settings)


def check_learning(step: Step, real: Tensor, *, first: Mapping[str, float], within: float) -> None:
    """Raises AssertionError unless fresh networks answer ``first`` and D learns on one batch."""
    before = {key: float(value) for key, value in step(real).items()}
    for key, value in first.items():
        assert abs(before[key] - value) < within, before
    for _ in range(20):
        last = step(real)
    assert float(last["d_loss"]) < before["d_loss"], "D did not learn"
