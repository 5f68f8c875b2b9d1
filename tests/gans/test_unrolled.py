"""The unrolled updates are those of the optimizer, and G's gradient goes through them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.gans.unrolled import UnrolledGANStep
from gankit.losses import gradient_penalty
from gankit.models import mlp
from gankit.training import GANStep, gan_adam

SHAPE = (1, 1, 2)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    G = mlp.Generator(3, SHAPE, hidden=(8,)).double()
    D = mlp.Discriminator(SHAPE, hidden=(8, 6), dropout=0.0, output="logit").double()
    return G, D


def made(D: nn.Module | None = None, **settings: Any) -> UnrolledGANStep:
    G, own = networks()
    D = own if D is None else D
    rates = {"lr": 0.02, "betas": (0.5, 0.9)}
    d_optimizer = gan_adam(D.parameters(), **rates, weight_decay=0.1)  # type: ignore[arg-type]
    return UnrolledGANStep(G, D, gan_adam(G.parameters(), 0.02), d_optimizer, **settings)


def points(seed: int, n: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *SHAPE, dtype=torch.float64, generator=generator) * 2 - 1


def real_updates(step: UnrolledGANStep, real: Tensor, fake: Tensor) -> nn.Module:
    """D after as many updates by torch's own Adam, from the same state."""
    D = copy.deepcopy(step.D)
    adam = torch.optim.Adam(D.parameters())
    adam.load_state_dict(copy.deepcopy(step.d_optimizer.state_dict()))
    for _ in range(step.unrolled):
        adam.zero_grad()
        step.loss.discriminator(D(real), D(fake.detach())).backward()
        adam.step()
    return D


@pytest.mark.parametrize("loss", ["non-saturating", "relativistic", "hinge"])
@pytest.mark.parametrize("before", [0, 3])
def test_the_weights_ahead_are_those_of_as_many_updates(loss: str, before: int) -> None:
    step = made(loss=loss, unrolled=4)
    for seed in range(before):
        step(points(seed))
    real, fake = points(8), points(9)
    expected = real_updates(step, real, fake)
    was = copy.deepcopy((step.D.state_dict(), step.d_optimizer.state_dict()))
    ahead = step.ahead(real, fake, {})
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(ahead[name], parameter, rtol=1e-7, atol=1e-9)
        assert not torch.allclose(ahead[name], was[0][name], atol=1e-3)
    # Nothing has changed in D itself.
    torch.testing.assert_close((step.D.state_dict(), step.d_optimizer.state_dict()), was)


@pytest.mark.parametrize("loss", ["non-saturating", "relativistic"])
def test_the_gradient_of_g_goes_through_the_updates(loss: str) -> None:
    """Against central differences of a loop that makes the updates."""
    step, real = made(loss=loss, unrolled=3), points(8)
    for seed in range(3):
        step(points(seed))
    z = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss_of_g() -> float:
        fake = step.G(z)
        D = real_updates(step, real, fake)
        of_real = (D(real),) if step.loss.relativistic else ()
        return float(step.loss.generator(D(fake), *of_real).detach())

    own = list(step.G.parameters())
    found, _ = step.phase_loss("G", {"image": real, "fake": step.G(z), "z": z})
    assert float(found.detach()) == pytest.approx(loss_of_g(), rel=1e-7)
    gradient = torch.autograd.grad(found, own)
    present, _ = GANStep._g_loss(step, {"image": real, "fake": step.G(z), "z": z})
    assert abs(float(present.detach() - found.detach())) > 1e-3
    random = torch.Generator().manual_seed(2)
    for _ in range(3):
        direction = [torch.randn(p.shape, dtype=p.dtype, generator=random) for p in own]
        values = []
        for size in (1e-5, -2e-5):
            with torch.no_grad():
                for p, d in zip(own, direction, strict=True):
                    p += size * d
            values.append(loss_of_g())
        with torch.no_grad():
            for p, d in zip(own, direction, strict=True):
                p += 1e-5 * d
        slope = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
        assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3, abs=1e-6)


def test_running_statistics_do_not_follow_the_updates_ahead() -> None:
    torch.manual_seed(0)
    D = nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    step = made(D, from_logits=True)
    step(points(0))
    # Real and generated images in D's update; G's looks at copies.
    assert int(step.D[2].num_batches_tracked) == 2


def test_a_weight_without_gradient_stays_finite() -> None:
    """The root of Adam's second moment has no derivative at 0."""
    torch.manual_seed(0)
    D = nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    nn.init.constant_(D[1].bias, -100.0)
    step = made(D, from_logits=True)
    step(points(0))
    assert all(bool(p.isfinite().all()) for p in step.G.parameters())


def test_what_is_not_unrolled_is_refused() -> None:
    for settings, words in (
        ({"unrolled": 0}, "unrolled is 0; allowed are integers from 1"),
        ({"penalty": gradient_penalty}, "penalty is .*; allowed is None"),
        ({"clip_weights": 0.1}, "clip_weights is 0.1; allowed is None"),
        ({"accumulate": 2}, "accumulate is 2; allowed is 1: G looks ahead"),
    ):
        with pytest.raises(ConfigError, match=words):
            made(**settings)
    G, D = networks()
    for came, optimizer in {
        "SGD": torch.optim.SGD(D.parameters(), 0.1),
        "Adam with amsgrad": torch.optim.Adam(D.parameters(), amsgrad=True),
    }.items():
        with pytest.raises(ConfigError, match=f"^d_optimizer is {came}; allowed is torch.optim"):
            UnrolledGANStep(G, D, gan_adam(G.parameters()), optimizer)
