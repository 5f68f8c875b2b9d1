"""In-place layers behind a new tensor can be differentiated, whatever the size of the tensor.

On large tensors an op takes the place of a dropout and makes a new tensor; on small ones torch's
own layers run, of which the second would overwrite what the backward of the first needs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gankit
from gankit.acceleration import patterns
from gankit.acceleration.patched import patched
from gankit.acceleration.run import served

pytestmark = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "in-place LeakyReLU": lambda: nn.LeakyReLU(0.2, inplace=True),
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "in-place ReLU": lambda: nn.ReLU(inplace=True),
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "in-place ELU": lambda: nn.ELU(inplace=True),
}
BETWEEN: dict[str, Callable[[], nn.Module]] = {
    "nothing": nn.Identity,
    "a dropout that is off": lambda: nn.Dropout(0.0),
    "another dropout": lambda: nn.Dropout(0.25),
    "an in-place ReLU": lambda: nn.ReLU(inplace=True),
}
TAILS: dict[str, Callable[[], nn.Module]] = {
    "nothing": nn.Identity,
    "an in-place LeakyReLU": lambda: nn.LeakyReLU(0.1, inplace=True),
}


@pytest.fixture(autouse=True)
def true_sizes(ops_on_any_size: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice by size as users have it."""
    monkeypatch.setattr(patterns, "LEAST", ops_on_any_size)


def out_of_place(network: nn.Sequential) -> nn.Sequential:
    twin = copy.deepcopy(network)
    for layer in twin:
        if hasattr(layer, "inplace"):
            layer.inplace = False
    return twin


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_size_trains(activation: str, between: str, tail: str) -> None:
    for dropout in (nn.Dropout, nn.Dropout2d):
        layers = [ACTIVATIONS[activation](), BETWEEN[between](), dropout(0.5, True), TAILS[tail]()]
        network = nn.Sequential(nn.Conv2d(2, 4, 1), *layers, nn.Conv2d(4, 1, 1)).double()
        ours = copy.deepcopy(network)
        gankit.accelerate(ours)
        for side in (1, 3, 24, 100):  # Dropout is an op from 23 on, Dropout2d from 91
            x = torch.randn(4, 2, side, side, dtype=torch.float64)
            for run in (ours, network):
                run.zero_grad()
                torch.manual_seed(side)
                if run is ours:
                    y = ours(x)
                else:
                    with patched():
                        y = network(x)
                y.square().sum().backward()
            twin = out_of_place(network)
            twin.zero_grad()
            torch.manual_seed(side)
            twin(x).square().sum().backward()
            for a, b, c in zip(
                ours.parameters(), network.parameters(), twin.parameters(), strict=True
            ):
                torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=0)
                if side == 1 and between != "another dropout":  # torch's own masks
                    torch.testing.assert_close(a.grad, c.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [4, 4096])
def test_in_the_mode_and_at_the_moment_they_are_in(size: int) -> None:
    network = nn.Sequential(
        nn.Linear(8, 8), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(inplace=True), nn.Linear(8, 1)
    )
    gankit.accelerate(network)
    x = torch.randn(size, 8)
    outputs = [network(x)]
    network.eval()
    outputs.append(network(x))
    torch.testing.assert_close(outputs[1], out_of_place(network)(x))
    network.train()
    handle = network[1].register_forward_hook(lambda *_: None)
    with torch.no_grad():
        network(x)
    handle.remove()
    torch.stack([*outputs, network(x)]).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("size", [4, 4096])
def test_what_the_caller_holds_is_overwritten_as_in_torch(size: int) -> None:
    network = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Dropout(inplace=True))
    gankit.accelerate(network)
    given = torch.randn(size, 8)
    x = given.clone()
    assert network(x) is x
    assert not torch.equal(x, given)
    with pytest.raises(RuntimeError, match="inplace"):
        network(F.linear(given, torch.ones(8, 8, requires_grad=True))).sum().backward()


def test_no_copy_where_nothing_needs_one() -> None:
    seen: list[Tensor] = []

    class Keeps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    network = nn.Sequential(Keeps(), nn.ReLU(inplace=True), nn.Tanh(), nn.ReLU(inplace=True))
    gankit.accelerate(network)
    with torch.no_grad():
        x = torch.randn(5)
        network(x)
    assert seen[0] is x
    assert bool((x >= 0).all())
