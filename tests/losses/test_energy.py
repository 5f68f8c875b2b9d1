"""EBGAN's and BEGAN's formulas."""

from __future__ import annotations

import math

import pytest
import torch

from gankit import losses
from gankit.errors import ConfigError, DataError


def test_ebgan_by_hand() -> None:
    real = torch.tensor([1.0, 3.0], requires_grad=True)
    fake = torch.tensor([0.5, 4.0], requires_grad=True)
    loss = losses.energy_discriminator_loss(real, fake, margin=2.0)
    assert loss.item() == 2.0 + 0.75
    loss.backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [0.5, 0.5]
    assert fake.grad.tolist() == [-0.5, 0.0]  # none beyond the margin
    assert losses.energy_generator_loss(fake).item() == 2.25


@pytest.mark.parametrize("margin", [0.0, -1.0, math.inf, math.nan])
def test_margins_that_are_none(margin: float) -> None:
    with pytest.raises(ConfigError, match="margin must be finite and above 0"):
        losses.energy_discriminator_loss(torch.ones(2), torch.ones(2), margin=margin)


def test_the_pulling_away_term_is_the_mean_squared_cosine() -> None:
    features = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    rows = features.flatten(1)
    cosines = [
        float(rows[i] @ rows[j] / (rows[i].norm() * rows[j].norm())) ** 2
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    assert losses.pulling_away_term(features).item() == pytest.approx(sum(cosines) / 20, rel=1e-12)
    assert losses.pulling_away_term(torch.eye(4) * 3).item() == 0.0
    assert losses.pulling_away_term(torch.ones(4, 7)).item() == pytest.approx(1.0)
    features.requires_grad_()
    assert torch.autograd.gradcheck(losses.pulling_away_term, (features,))


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_the_pulling_away_term_has_no_scale(scale: float) -> None:
    features = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    wanted = losses.pulling_away_term(features)
    assert losses.pulling_away_term(features * scale).item() == pytest.approx(wanted.item(), 1e-5)


def test_the_pulling_away_term_survives_zeros_and_refuses_one_image() -> None:
    features = torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True)
    value = losses.pulling_away_term(features)
    assert value.item() == 0.0
    value.backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    for shape in ((1, 4), (4,)):
        with pytest.raises(DataError, match="at least two images"):
            losses.pulling_away_term(torch.ones(shape))


def test_began_by_hand() -> None:
    real, fake = torch.tensor([2.0, 4.0]), torch.tensor([1.0, 1.0])
    assert losses.began_discriminator_loss(real, fake, 0.5).item() == 2.5
    # gamma mean(real) - mean(fake) = 0.5: k rises by a tenth of it, up to 1 at most.
    assert losses.began_next_k(0.2, real, fake, rate=0.1).item() == pytest.approx(0.25)
    assert losses.began_next_k(torch.tensor(0.99), real, fake, rate=0.1).item() == 1.0
    assert losses.began_next_k(0.01, fake, real, rate=0.1).item() == 0.0
    assert losses.began_convergence(real, fake).item() == 3.5
    assert losses.began_convergence(fake, real).item() == 1 + 2.5


def test_k_settles_where_the_errors_keep_their_ratio() -> None:
    """A generator whose error falls with k's pressure comes to rest at gamma times the real one."""
    k, real = torch.tensor(0.0), torch.tensor([1.0])
    for _ in range(2000):
        fake = 0.2 + k.reshape(1)
        k = losses.began_next_k(k, real, fake, gamma=0.7, rate=0.01)
    assert (0.2 + k.item()) == pytest.approx(0.7, abs=1e-4)


def test_k_and_the_measure_carry_no_gradient() -> None:
    real, fake = (torch.rand(3, requires_grad=True) for _ in range(2))
    assert not losses.began_next_k(0.5, real, fake).requires_grad
    assert not losses.began_convergence(real, fake).requires_grad
    assert losses.began_discriminator_loss(real, fake, 0.5).requires_grad


def test_settings_that_are_not_allowed() -> None:
    x = torch.ones(2)
    with pytest.raises(ConfigError, match=r"k must lie in \[0, 1\], got 1.5"):
        losses.began_discriminator_loss(x, x, 1.5)
    with pytest.raises(ConfigError, match=r"gamma must lie in \[0, 1\], got -0.1"):
        losses.began_next_k(0.5, x, x, gamma=-0.1)
    with pytest.raises(ConfigError, match=r"gamma must lie in \[0, 1\], got nan"):
        losses.began_convergence(x, x, gamma=math.nan)
    with pytest.raises(ConfigError, match="rate must be finite and above 0, got 0"):
        losses.began_next_k(0.5, x, x, rate=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reduced_in_float32(dtype: torch.dtype) -> None:
    x = torch.rand(64, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    for value in (
        losses.energy_discriminator_loss(x, x),
        losses.pulling_away_term(x),
        losses.began_discriminator_loss(x, x, 0.3),
        losses.began_next_k(0.3, x, x),
    ):
        assert value.dtype == torch.float32
