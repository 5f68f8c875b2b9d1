"""Accelerated networks train and are penalised as the same networks otherwise are."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import gankit
from gankit.losses import gradient_penalty
from gankit.training import GANStep, gan_adam


def networks(sigmoid: bool) -> tuple[nn.Sequential, nn.Sequential]:
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 9), nn.Tanh())
    D = nn.Sequential(nn.Linear(9, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    if sigmoid:
        D.append(nn.Sigmoid())
    return G.double(), D.double()


@pytest.mark.parametrize("sigmoid", [False, True])
def test_the_step_decides_and_computes_the_same(sigmoid: bool) -> None:
    plain = networks(sigmoid)
    ours = copy.deepcopy(plain)
    gankit.accelerate(*ours)
    results = []
    for G, D in (plain, ours):
        noise = torch.Generator().manual_seed(1)
        step = GANStep(
            G, D, gan_adam(G.parameters()), gan_adam(D.parameters()),
            noise=lambda n, g=noise: torch.randn(n, 5, generator=g, dtype=torch.float64),
        )  # fmt: skip
        real = torch.rand(6, 9, dtype=torch.float64, generator=noise)
        results.append((step.notes, [step(real) for _ in range(5)]))
    assert results[0][0] == results[1][0]
    assert "one pass" in results[1][0][0]
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-10, atol=1e-10)


def test_the_penalty_goes_its_analytic_way() -> None:
    _, D = networks(sigmoid=False)
    ours = copy.deepcopy(D)
    gankit.accelerate(ours)
    x, y = torch.randn(2, 6, 9, dtype=torch.float64).unbind()
    found = []
    for critic in (D, ours):
        torch.manual_seed(2)
        found.append(gradient_penalty(critic, x, y, path="analytic"))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
