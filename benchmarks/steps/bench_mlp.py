"""One training step of the tutorial's MLP GAN: plain, tuned, compiled, and gankit's GANStep.

Images per second count the real images of a batch, as a training loop does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gankit
from benchmarks.replay import CLOCK, report_race
from benchmarks.steps import textbook
from benchmarks.steps.parts import part_contenders
from benchmarks.steps.racing import Autocast, Step, check_learning, shared
from benchmarks.steps.tuned import TunedMLP
from gankit.bench.ops import peers_leaky_relu_dropout as peers
from gankit.bench.races import Contender, Race, Settings
from gankit.models import mlp
from gankit.ops import backends
from gankit.training import GANStep
from gankit.training.optimizers import gan_adam


@pytest.mark.benchmark(timer=CLOCK)
def test_mlp_step(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race per batch size and precision."""
    # A step is long, so a spread needs more time than that of an op.
    seconds = 10 * settings.seconds
    for size in settings.batch_sizes:
        contenders = tuple(_contenders(settings.device, size))
        yield Race(f"MLP step, batch {size}", contenders, settings.device, seconds)
        contenders = tuple(_contenders(settings.device, size, bf16=True))
        yield Race(f"MLP step, batch {size}, bf16", contenders, settings.device, seconds)


def _contenders(device: torch.device, size: int, bf16: bool = False) -> Iterator[Contender]:
    contender = shared(batch=(size, 1, 28, 28), device=device, check=_check)
    on_cuda = device.type == "cuda"
    yield contender("plain eager", "plain", lambda: _textbook(device, bf16))
    yield contender("tuned eager", "peer", lambda: TunedMLP(device, bf16=bf16))
    if not on_cuda:
        yield contender(
            "tuned eager, packed draws",
            "peer",
            lambda: TunedMLP(device, peers.packed_draws, bf16=bf16),
        )
    # The compiler fuses the textbook's pair by itself and replaces its generator.
    for mode in ("default", "max-autotune", "reduce-overhead") if on_cuda else ("default",):
        name = "torch.compile" if mode == "default" else f"torch.compile, {mode}"
        yield contender(name, "peer", functools.partial(TunedMLP, device, peers.plain, mode, bf16))
    if on_cuda:
        yield contender(
            "tuned eager, CUDA graph", "peer", lambda: TunedMLP(device, bf16=bf16), graph=True
        )
    if bf16:
        yield contender(
            "gankit", "gankit", lambda: _gankit(device, output="logit", precision="bf16")
        )
        return
    yield contender("gankit", "gankit", lambda: _gankit(device))
    yield contender(
        "gankit, bf16", "variant", lambda: _gankit(device, output="logit", precision="bf16")
    )
    if on_cuda:
        yield contender(
            "gankit without a graph", "variant", lambda: _gankit(device, cuda_graph=False)
        )
    yield from part_contenders(lambda: _gankit(device, cuda_graph=False), (size, 1, 28, 28), device)
    in_force = backends.choose(device.type)[0]
    for backend in ("native", "triton") if on_cuda else ():
        if backend != in_force and backends.availability(backend, device.type).available:
            context = functools.partial(gankit.backend, backend)
            yield contender(
                f"gankit, {backend}", "variant", lambda: _gankit(device), context=context
            )


def _textbook(device: torch.device, bf16: bool) -> Step:
    G: nn.Module = textbook.Generator()
    D: nn.Module = textbook.Discriminator()
    if bf16:
        G, D = Autocast(G), Autocast(D)
    networks = textbook.build(device, G=G, D=D)
    return lambda real: textbook.step(networks, real)


def _gankit(device: torch.device, output: str = "probability", **settings: Any) -> Step:
    G, D = mlp.Generator().to(device), mlp.Discriminator(output=output).to(device)
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)


def _check(step: Step, real: Tensor) -> None:
    """A fresh pair of networks answers near chance and learns."""
    chance = {"d_loss": 2 * math.log(2), "g_loss": math.log(2)}
    check_learning(step, real, first=chance, within=0.3)
