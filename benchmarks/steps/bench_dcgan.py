"""One training step of the tutorial's DCGAN: plain, tuned, compiled, and gankit's GANStep.

Channels last is the largest single gain on a CPU, so the tuned peers have it too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.replay import CLOCK, report_race
from benchmarks.steps import textbook, textbook_dcgan
from benchmarks.steps.parts import part_contenders
from benchmarks.steps.racing import Autocast, Step, check_learning, shared
from benchmarks.steps.tuned import TunedStep
from gankit.bench.races import Contender, Race, Settings
from gankit.models import dcgan
from gankit.training import GANStep
from gankit.training.optimizers import gan_adam


@pytest.mark.benchmark(timer=CLOCK)
def test_dcgan_step(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race per batch size and precision."""
    seconds = 20 * settings.seconds
    for size in settings.batch_sizes:
        contenders = tuple(_contenders(settings.device, size))
        yield Race(f"DCGAN step, batch {size}", contenders, settings.device, seconds)
        contenders = tuple(_contenders(settings.device, size, bf16=True))
        yield Race(f"DCGAN step, batch {size}, bf16", contenders, settings.device, seconds)


def _contenders(device: torch.device, size: int, bf16: bool = False) -> Iterator[Contender]:
    contender = shared(batch=(size, 1, 28, 28), device=device, check=_check)
    on_cuda = device.type == "cuda"
    yield contender("plain eager", "plain", lambda: _textbook(device, bf16))
    yield contender("tuned eager", "peer", lambda: _tuned(device, bf16, torch.contiguous_format))
    yield contender("tuned eager, channels last", "peer", lambda: _tuned(device, bf16))
    for mode in ("default", "max-autotune", "reduce-overhead") if on_cuda else ("default",):
        name = "torch.compile" if mode == "default" else f"torch.compile, {mode}"
        make = functools.partial(_tuned, device, bf16, compile_mode=mode)
        yield contender(f"{name}, channels last", "peer", make)
    if on_cuda:
        yield contender("tuned eager, CUDA graph", "peer", lambda: _tuned(device, bf16), graph=True)
    if bf16:
        yield contender("gankit", "gankit", lambda: _gankit(device, precision="bf16"))
        return
    yield contender("gankit", "gankit", lambda: _gankit(device))
    yield contender("gankit, two passes", "variant", lambda: _gankit(device, paired=False))
    yield contender("gankit, bf16", "variant", lambda: _gankit(device, precision="bf16"))
    if on_cuda:
        yield contender(
            "gankit without a graph", "variant", lambda: _gankit(device, cuda_graph=False)
        )
    yield from part_contenders(lambda: _gankit(device, cuda_graph=False), (size, 1, 28, 28), device)


def _textbook(device: torch.device, bf16: bool) -> Step:
    G: nn.Module = textbook_dcgan.Generator()
    D: nn.Module = textbook_dcgan.Discriminator()
    if bf16:
        G, D = Autocast(G), Autocast(D)
    networks = textbook.build(device, G=G, D=D)
    return lambda real: textbook.step(networks, real)


def _tuned(
    device: torch.device,
    bf16: bool,
    memory_format: torch.memory_format = torch.channels_last,
    compile_mode: str | None = None,
) -> Step:
    G, D = textbook_dcgan.Generator(), textbook_dcgan.Discriminator(logit=True)
    for network in (G, D):
        network.to(device).to(memory_format=memory_format)
    return TunedStep(G, D, paired=False, compile_mode=compile_mode, bf16=bf16)


def _gankit(device: torch.device, **settings: Any) -> Step:
    G = dcgan.Generator().to(device)
    D = dcgan.Discriminator(output="logit").to(device)
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)


def _check(step: Step, real: Tensor) -> None:
    """A fresh pair of networks answers near chance and learns."""
    check_learning(step, real, first={"d_loss": 2 * math.log(2)}, within=0.5)
