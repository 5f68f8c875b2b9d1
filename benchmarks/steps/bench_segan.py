"""One training step of a small SEGAN: plain, compiled, and gankit's SEGANStep.

Nearly all of it is convolutions of 31 samples, run by the library that torch carries. Nothing is
fused: on a CPU neither a two-dimensional nor a polyphase form of them is faster in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.replay import CLOCK, report_race
from benchmarks.steps import textbook_segan
from benchmarks.steps.racing import Step, check_learning, shared
from gankit.bench.races import Contender, Race, Settings
from gankit.gans.segan import SEGANStep
from gankit.models import segan
from gankit.training.optimizers import gan_adam


@pytest.mark.benchmark(timer=CLOCK)
def test_segan_step(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race per batch size."""
    for size in settings.batch_sizes:
        contenders = tuple(_contenders(settings.device, size))
        yield Race(f"SEGAN step, batch {size}", contenders, settings.device, 20 * settings.seconds)


def _contenders(device: torch.device, size: int) -> Iterator[Contender]:
    batch = (size, 2, textbook_segan.WINDOW)
    contender = shared(batch=batch, device=device, check=_check)
    yield contender("plain eager", "plain", lambda: _textbook(device))
    yield contender("torch.compile", "peer", lambda: _textbook(device, compiled=True))
    yield contender("gankit", "gankit", lambda: _gankit(device))


def _textbook(device: torch.device, compiled: bool = False) -> Step:
    networks: list[Any] = [textbook_segan.Generator(), textbook_segan.Discriminator()]
    networks = [network.to(device) for network in networks]
    if compiled:
        networks = [torch.compile(network) for network in networks]
    return textbook_segan.Loop(*networks)


def _gankit(device: torch.device) -> Step:
    window = textbook_segan.WINDOW
    settings: dict[str, Any] = {"levels": 4, "init": "pytorch"}
    G: nn.Module = segan.Generator(
        window, textbook_segan.WIDTHS[0], preemphasis=textbook_segan.PREEMPHASIS, **settings
    )
    D = segan.Discriminator(
        2, window, textbook_segan.D_WIDTHS[0], references=textbook_segan.REFERENCES, **settings
    )
    D.set_reference(torch.rand(textbook_segan.REFERENCES, 2, window) * 2 - 1)
    G, D = G.to(device), D.to(device)
    step = SEGANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()))

    def train(windows: Tensor) -> Mapping[str, Tensor]:
        noisy, clean = windows.split(1, 1)
        scalars: Mapping[str, Tensor] = step({"noisy": noisy, "clean": clean})
        return scalars

    return train


def _check(step: Step, windows: Tensor) -> None:
    """A fresh D answers near zero and learns."""
    check_learning(step, windows, first={"d_loss": 0.5}, within=0.5)
