"""From which size on a norm runs as an op, by the processor's instruction set."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gankit
from gankit.acceleration import patterns
from gankit.acceleration.run import served

needs_kernels = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")


def test_the_processor_is_asked(ops_on_any_size: dict[str, int]) -> None:
    assert ops_on_any_size == patterns.least_sizes(torch.backends.cpu.get_cpu_capability())


@needs_kernels
@pytest.mark.parametrize(
    ("capability", "fused"), [("AVX512", [16, 32]), ("AVX2", [32]), ("DEFAULT", [32])]
)
@pytest.mark.parametrize(
    ("norm", "activation", "sides"),
    [
        (nn.BatchNorm2d, nn.LeakyReLU(0.2), 16),
        (nn.BatchNorm2d, nn.Identity(), 16),
        (nn.InstanceNorm2d, nn.ReLU(), 12),
    ],
)
def test_norms_of_middle_sizes(
    norm: Callable[[int], nn.Module],
    activation: nn.Module,
    sides: int,
    capability: str,
    fused: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    op = patterns.batch_norm_act

    def count(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(len(x))
        return op(x, *args, **kwargs)

    monkeypatch.setattr(patterns, "batch_norm_act", count)
    monkeypatch.setattr(patterns, "LEAST", patterns.least_sizes(capability))
    plain = nn.Sequential(norm(16), activation).double()
    network = copy.deepcopy(plain)
    gankit.accelerate(network)
    for batch in (2, 16, 32):
        results = []
        x = torch.randn(batch, 16, sides, sides, dtype=torch.float64)
        for model in (plain, network):
            model.zero_grad()
            leaf = x.clone().requires_grad_()
            y = model(leaf)
            (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
            results.append((y, leaf.grad, *(p.grad for p in model.parameters()), *model.buffers()))
        torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    assert calls == fused
