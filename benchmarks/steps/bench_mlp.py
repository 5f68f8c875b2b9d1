"""One training step of the tutorial's MLP GAN: plain, tuned, compiled, and gankit's GANStep.

Images per second count the real images of a batch, as a training loop does.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import gankit
from benchmarks.conftest import Settings
from benchmarks.cuda_graphs import captured
from benchmarks.interleaved import CLOCK, Call, Contender, Race, Role, report_race
from benchmarks.ops import peers_leaky_relu_dropout as peers
from benchmarks.steps import textbook
from benchmarks.steps.tuned_mlp import TunedStep
from gankit.models import mlp
from gankit.ops import backends
from gankit.training import GANStep
from gankit.training.optimizers import gan_adam

Step = Callable[[Tensor], dict[str, Tensor]]

BATCHES = 8  # as many different ones take turns
KEYS = ("d_loss", "g_loss", "d_real", "d_fake")


@pytest.mark.benchmark(timer=CLOCK)
def test_mlp_step(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race per batch size."""
    for size in settings.batch_sizes:
        # A step is long, so a spread needs more time than that of an op.
        seconds = 10 * settings.seconds
        contenders = tuple(_contenders(settings.device, size))
        yield Race(f"MLP step, batch {size}", contenders, settings.device, seconds)


def _contenders(device: torch.device, size: int) -> Iterator[Contender]:
    def contender(
        name: str,
        role: Role,
        make: Callable[[], Step],
        *,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        graph: bool = False,
    ) -> Contender:
        build = functools.partial(_call, make, device, size, graph)
        return Contender(name, role, build, context, {"images": size})

    on_cuda = device.type == "cuda"
    yield contender("plain eager", "plain", lambda: _textbook(device))
    yield contender("tuned eager", "peer", lambda: TunedStep(device))
    if not on_cuda:
        yield contender(
            "tuned eager, packed draws", "peer", lambda: TunedStep(device, peers.packed_draws)
        )
    # The compiler fuses the textbook's pair by itself and replaces its generator.
    for mode in ("default", "max-autotune", "reduce-overhead") if on_cuda else ("default",):
        name = "torch.compile" if mode == "default" else f"torch.compile, {mode}"
        yield contender(name, "peer", functools.partial(TunedStep, device, peers.plain, mode))
    if on_cuda:
        yield contender("tuned eager, CUDA graph", "peer", lambda: TunedStep(device), graph=True)
    yield contender("gankit", "gankit", lambda: _gankit(device))
    in_force = backends.choose(device.type)[0]
    for backend in ("native", "triton") if on_cuda else ():
        if backend != in_force and backends.availability(backend, device.type).available:
            context = functools.partial(gankit.backend, backend)
            yield contender(
                f"gankit, {backend}", "variant", lambda: _gankit(device), context=context
            )


def _textbook(device: torch.device) -> Step:
    networks = textbook.build(device)
    return lambda real: textbook.step(networks, real)


def _gankit(device: torch.device) -> Step:
    G, D = mlp.Generator().to(device), mlp.Discriminator().to(device)
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()))


def _call(make: Callable[[], Step], device: torch.device, size: int, graph: bool) -> Call:
    torch.manual_seed(0)
    step = make()
    batches = [torch.rand(size, 1, 28, 28, device=device).mul_(2).sub_(1) for _ in range(BATCHES)]
    _check(step, batches[0])
    following = itertools.cycle(batches)
    if not graph:
        return lambda: step(next(following))
    shown = batches[0].clone()
    replay = captured(lambda: step(shown))

    def call() -> object:
        shown.copy_(next(following))
        return replay()

    return call


def _check(step: Step, real: Tensor) -> None:
    """Raises AssertionError unless a fresh pair of networks answers near chance and learns."""
    first = {key: float(value) for key, value in step(real).items()}
    assert set(first) == set(KEYS)
    assert abs(first["d_loss"] - 2 * math.log(2)) < 0.2, first
    assert abs(first["g_loss"] - math.log(2)) < 0.3, first
    for _ in range(20):
        last = step(real)
    assert float(last["d_loss"]) < first["d_loss"], "D did not learn"
