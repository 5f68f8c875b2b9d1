"""One training step of SRResNet: plain, tuned, compiled, and gankit's SRResNetStep.

The small images are means of 4x4 pixels, since resizing is the data's work and not the step's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.replay import CLOCK, report_race
from benchmarks.steps.racing import Step, shared
from gankit.bench.races import Contender, Race, Settings
from gankit.gans.srgan import SRResNetStep
from gankit.models.srresnet import SRResNet
from gankit.nn import BatchNormAct2d
from gankit.training.optimizers import gan_adam

_CROP, _SCALE, _BLOCKS, _WIDTH = 48, 4, 4, 32


@pytest.mark.benchmark(timer=CLOCK)
def test_srresnet_step(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race: four blocks of 32 maps, crops of 48 pixels, batches of 4."""
    contenders = tuple(_contenders(settings.device))
    seconds = 10 * settings.seconds
    yield Race(f"SRResNet step, {_BLOCKS} blocks, batch 4", contenders, settings.device, seconds)


def _contenders(device: torch.device) -> Iterator[Contender]:
    contender = shared(batch=(4, 3, _CROP, _CROP), device=device, check=_check)
    yield contender("plain eager", "plain", lambda: _plain(device, fused=False))
    yield contender("tuned eager", "peer", lambda: _plain(device))
    last = torch.channels_last
    yield contender("tuned eager, channels last", "peer", lambda: _plain(device, last))
    yield contender("torch.compile", "peer", lambda: _plain(device, compiled=True))
    yield contender("gankit", "gankit", lambda: _gankit(device))
    wanted = {"channels_last": True}
    yield contender("gankit, channels last", "variant", lambda: _gankit(device, **wanted))


def _network(device: torch.device) -> SRResNet:
    return SRResNet(3, _SCALE, _WIDTH, _BLOCKS).to(device)


def _plain(
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
    *,
    fused: bool = True,
    compiled: bool = False,
) -> Step:
    """The same layers, those of torch, in a plain loop."""
    network = _in_torch(_network(device))
    network.to(memory_format=memory_format)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=fused)
    forward = torch.compile(network) if compiled else network

    def step(high: Tensor) -> Mapping[str, Tensor]:
        low = F.avg_pool2d(high, _SCALE).contiguous(memory_format=memory_format)
        optimizer.zero_grad()
        mse = F.mse_loss(forward(low), high)
        mse.backward()
        optimizer.step()
        return {"mse": mse.detach()}

    return step


def _in_torch(network: nn.Module) -> nn.Module:
    """``network`` with torch's batch norms in place of gankit's."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, BatchNormAct2d):
                norm, _ = child.to_torch()
                setattr(parent, name, norm)
    return network


def _gankit(device: torch.device, **settings: Any) -> Step:
    network = _network(device)
    optimizer = gan_adam(network.parameters(), 1e-4, (0.9, 0.999))
    step = SRResNetStep(network, optimizer, **settings)
    return lambda high: step({"low": F.avg_pool2d(high, _SCALE), "high": high})


def _check(step: Step, high: Tensor) -> None:
    """Fresh networks begin near the variance of their targets, and learn on one batch."""
    before = float(step(high)["mse"])
    assert 0.1 < before < 3, before
    for _ in range(10):
        last = step(high)
    assert float(last["mse"]) < before, "G did not learn"
