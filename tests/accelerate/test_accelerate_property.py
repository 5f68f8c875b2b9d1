"""Random networks compute what they did before: outputs, two gradients, buffers."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gankit
from gankit.acceleration.run import served
from tests.accelerate.random_networks import plain_twin, random_case

TOLERANCE = 1e-8

pytestmark = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")


def everything(network: nn.Module, x: Tensor, seed: int) -> list[Tensor]:
    """Output, first and second gradients, buffers after two passes; an error's type if it fails."""
    torch.manual_seed(seed)
    leaf = x.clone().requires_grad_()
    inputs = [leaf, *(p for p in network.parameters() if p.requires_grad)]
    found: list[Tensor] = []
    for _ in range(2):
        y = network(leaf * 1.0)
        found.append(y.detach().clone())
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    first = _gradients((y * weights).sum(), inputs, create_graph=True)
    found += [g.detach().clone() for g in first]
    total = torch.zeros((), dtype=torch.float64)
    for g in first:
        total = total + (g * torch.linspace(0.5, 1.5, g.numel(), dtype=g.dtype).view(g.shape)).sum()
    return [*found, *_gradients(total, inputs), *network.buffers()]


def _gradients(value: Tensor, inputs: list[Tensor], **options: bool) -> list[Tensor]:
    """One for each input; zeros where it has no part in the value."""
    grads: Any = [None] * len(inputs)
    if value.requires_grad:
        grads = torch.autograd.grad(value, inputs, allow_unused=True, **options)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, inputs, strict=True)]


def attempt(network: nn.Module, x: Tensor, seed: int) -> Any:
    try:
        return everything(network, x, seed)
    except RuntimeError as error:
        return error


def distance(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference, relative to the largest number around."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        scale = max(1.0, b.double().abs().max().item() if b.numel() else 0.0)
        gap = (a.double() - b.double()).abs()
        if gap.numel():
            worst = max(worst, gap.max().item() / scale)
    return worst


def rounding_otherwise(network: nn.Module, seed: int) -> nn.Module:
    """The network, the output of each layer changed in its last bits."""
    draw = torch.Generator().manual_seed(seed)  # not torch's own, which gives the masks

    def change(module: nn.Module, inputs: Any, output: Any) -> Any:
        return output * (1 + 4e-16 * torch.randn(output.shape, generator=draw, dtype=output.dtype))

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(change)
    return network


def measured(seed: int, network: nn.Module, x: Tensor) -> tuple[float, bool] | None:
    """How far the accelerated network is from plain torch, and whether anything was fused in it.

    None where plain torch fails too.
    """
    twin = copy.deepcopy(network)
    network = copy.deepcopy(network)
    gankit.accelerate(network)
    before = [(key, value.shape) for key, value in network.state_dict().items()]
    theirs = attempt(plain_twin(copy.deepcopy(twin)), x, seed)
    ours = attempt(network, x, seed)
    assert [(k, v.shape) for k, v in network.state_dict().items()] == before
    if isinstance(theirs, Exception):
        # In-place layers that torch refuses to differentiate may work here, not break it.
        return None
    if isinstance(ours, Exception):
        # The plain twin never drops in place; torch's own dropout may refuse as well.
        theirs = attempt(twin, x, seed)
        assert isinstance(theirs, Exception), f"seed {seed}: {ours!r}\n{network}"
        return None
    gap = distance(ours, theirs)
    if gap >= TOLERANCE:
        # A kink or a variance of zero: does torch itself jump when all layers round otherwise?
        own = 0.0
        for draw in range(8):
            other = rounding_otherwise(plain_twin(copy.deepcopy(twin)), draw)
            moved = x + 1e-13 * torch.randn_like(x)
            own = max(own, distance(attempt(other, moved, seed), theirs))
        gap = math.nan if own > gap / 1e3 else gap
    return gap, bool(gankit.accelerate(network).counts)


def check(seeds: range) -> None:
    fused = unstable = 0
    for seed in seeds:
        network, x = random_case(seed)
        found = measured(seed, network, x)
        if found is not None and found[0] >= TOLERANCE and not x.is_contiguous():
            # An image of one pixel, or of one channel, lies in both ways at once, and so may differ
            # in what it is further on; masks follow the memory order.
            found = measured(seed, network, x.contiguous())
        if found is None:
            continue
        gap, some = found
        assert not gap >= TOLERANCE, f"seed {seed}: differs by {gap:.1e}\n{network}"
        unstable += math.isnan(gap)
        fused += some
    assert fused > len(seeds) / 2
    assert unstable <= max(1, len(seeds) / 50), f"{unstable} cases say nothing"


@pytest.mark.filterwarnings("ignore")
def test_a_thousand_random_networks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(range(1000))


def strides(y: Tensor) -> list[int]:
    """A dimension of one element has any stride."""
    return [s for s, n in zip(y.stride(), y.shape, strict=True) if n > 1]


def slope_strides(network: nn.Module, x: Tensor) -> list[int] | None:
    """Of the gradient with respect to the input, which a penalty may meet by view() too."""
    leaf = x.clone().requires_grad_()
    try:
        y = network(leaf)
        (slope,) = torch.autograd.grad(y, leaf, torch.ones_like(y), allow_unused=True)
    except RuntimeError:
        return None
    return None if slope is None else strides(slope)


@pytest.mark.filterwarnings("ignore")
def test_float32_comes_out_in_torchs_layout() -> None:
    # In float32 convolutions run channels last inside; what comes out may be met by view().
    told = 0
    for seed in range(5000, 5200):
        network, x = random_case(seed)
        network, x = network.float(), x.float()
        twin = plain_twin(copy.deepcopy(network))
        gankit.accelerate(network)
        found = []
        layouts = []
        for module in (network, twin):
            torch.manual_seed(seed)
            with torch.no_grad():
                found.append(module(x.clone()))
            layouts.append([strides(found[-1]), slope_strides(module, x)])
        if layouts[1][1] is None:
            layouts[0][1] = None  # torch refuses to differentiate it
        assert layouts[0] == layouts[1], f"seed {seed}\n{network}"
        drops = any(isinstance(m, (nn.Dropout, nn.Dropout2d)) and m.p for m in network.modules())
        if not drops:
            told += distance([found[0]], [found[1]]) < 1e-3
    assert told > 80


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ten_thousand_random_networks() -> None:
    check(range(1000, 11_000))
