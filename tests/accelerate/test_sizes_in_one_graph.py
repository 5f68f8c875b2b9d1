"""What ``accelerate`` chooses by size or moment, before one backward: gradients stay torch's."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import nn

import gankit

SMALL, LARGE = 2, 64


def discriminator() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.BatchNorm2d(16),
        nn.LeakyReLU(0.2),
        nn.Conv2d(16, 16, 3, 1, 1),
        nn.BatchNorm2d(16, momentum=None),
        nn.Conv2d(16, 1, 3, 1, 1),
    ).double()


def in_sizes(*sizes: int) -> Callable[[nn.Sequential], torch.Tensor]:
    def losses(net: nn.Sequential) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        total = torch.zeros((), dtype=torch.float64)
        for number, size in enumerate(sizes):
            x = torch.randn(size, 3, 16, 16, generator=generator, dtype=torch.float64)
            total = total + (number + 1) * net(x).square().mean()
        return total

    return losses


def with_a_hook_between(net: nn.Sequential) -> torch.Tensor:
    """A layer with a hook runs as torch's."""
    handle = net[1].register_forward_hook(lambda *_: None)
    first = in_sizes(LARGE)(net)
    handle.remove()
    return first + in_sizes(LARGE, SMALL)(net)


def layer_by_layer_first(net: nn.Sequential) -> torch.Tensor:
    x = torch.ones(LARGE, 3, 16, 16, dtype=torch.float64) / 3
    y = x
    for layer in net:
        y = layer(y)
    return y.square().mean() + in_sizes(LARGE)(net)


@pytest.mark.parametrize(
    "losses",
    [
        in_sizes(SMALL, LARGE),
        in_sizes(LARGE, SMALL),
        in_sizes(SMALL, LARGE, SMALL, LARGE),
        with_a_hook_between,
        layer_by_layer_first,
    ],
    ids=["small-large", "large-small", "four", "hook", "by-hand"],
)
def test_batch_norm_in_two_ways_in_one_graph(
    losses: Callable[[nn.Sequential], torch.Tensor],
) -> None:
    plain = discriminator()
    fused = deepcopy(plain)
    gankit.accelerate(fused)
    for net in (plain, fused):
        losses(net).backward()
    for p, f in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(f.grad, p.grad, rtol=1e-9, atol=1e-9)
    for b, f in zip(plain.buffers(), fused.buffers(), strict=True):
        torch.testing.assert_close(f, b, rtol=1e-9, atol=1e-9)


def test_an_instance_norm_may_change_before_its_backward() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1), nn.InstanceNorm2d(16, affine=True), nn.LeakyReLU(0.2)
    )
    fused = deepcopy(plain)
    gankit.accelerate(fused)
    x = torch.randn(LARGE, 3, 16, 16)
    for net in (plain, fused):
        loss = net(x).pow(3).mean()
        with torch.no_grad():
            for parameter in net[1].parameters():
                parameter += 1
        loss.backward()
    for p, f in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(f.grad, p.grad, rtol=1e-3, atol=1e-5)
