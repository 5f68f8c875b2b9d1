"""GANStep against the plain loop: same weights, noise and masks, 50 steps in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import textbook
from gankit.models import mlp
from gankit.training import GANStep, Noise, gan_adam
from tests.training.nets import (
    SHAPE,
    Z_DIM,
    fed_discriminator,
    small_discriminator,
    small_generator,
)

STEPS = 50


def fed_noise(z_dim: int) -> Noise:
    return Noise((z_dim,), dtype=torch.float64, generator=torch.Generator().manual_seed(11))


def distance_after_training(
    G: nn.Module, D: nn.Module, z_dim: int, shape: tuple[int, ...], batch: int, **settings: Any
) -> tuple[float, float]:
    """Largest parameter difference after the same training by both, and how far both moved."""
    G, D = G.double(), D.double()
    before = [p.detach().clone() for p in [*G.parameters(), *D.parameters()]]
    plain = textbook.build(
        dtype=torch.float64, G=copy.deepcopy(G), D=copy.deepcopy(D), noise=fed_noise(z_dim)
    )
    step = GANStep(
        G,
        D,
        gan_adam(G.parameters()),
        gan_adam(D.parameters()),
        noise=fed_noise(z_dim),
        **settings,
    )
    data = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        real = torch.rand(batch, *shape, dtype=torch.float64, generator=data) * 2 - 1
        ours, theirs = step(real), textbook.step(plain, real)
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-10)
    ours_now = [*G.parameters(), *D.parameters()]
    plain_now = [*plain.G.parameters(), *plain.D.parameters()]
    return _largest(ours_now, plain_now), _largest(ours_now, before)


def _largest(xs: list[Any], ys: list[Any]) -> float:
    return max(float((x - y).detach().abs().max()) for x, y in zip(xs, ys, strict=True))


@pytest.mark.parametrize("paired", [True, False, "auto"])
def test_mlp_without_dropout_equals_the_plain_loop(paired: bool | str) -> None:
    torch.manual_seed(0)
    apart, moved = distance_after_training(
        small_generator(), small_discriminator(0.0), Z_DIM, SHAPE, 7, paired=paired
    )
    assert moved > 1e-3
    assert apart < 1e-10


@pytest.mark.parametrize("paired", [True, False])
def test_same_dropout_masks_equal_the_plain_loop(paired: bool) -> None:
    torch.manual_seed(1)
    apart, moved = distance_after_training(
        small_generator(), fed_discriminator(), Z_DIM, SHAPE, 7, paired=paired
    )
    assert moved > 1e-3
    assert apart < 1e-10


@pytest.mark.slow
def test_full_size_mlp_equals_the_plain_loop() -> None:
    torch.manual_seed(2)
    apart, moved = distance_after_training(
        mlp.Generator(), mlp.Discriminator(dropout=0.0), 100, (1, 28, 28), 60
    )
    assert moved > 1e-3
    assert apart < 1e-10


def test_one_step_in_float32_has_the_gradients_of_the_plain_loop() -> None:
    torch.manual_seed(3)
    G, D = small_generator(), small_discriminator(0.0)

    def noise() -> Noise:
        return Noise((Z_DIM,), generator=torch.Generator().manual_seed(4))

    plain = textbook.build(G=copy.deepcopy(G), D=copy.deepcopy(D), noise=noise())
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), noise=noise())
    seen: dict[str, list[Tensor]] = {}
    for name, owner in (("ours", step), ("plain", plain)):
        grads = seen.setdefault(name, [])
        for optimizer in (owner.d_optimizer, owner.g_optimizer):
            optimizer.register_step_pre_hook(
                lambda o, *_, grads=grads: grads.extend(
                    p.grad.clone() for group in o.param_groups for p in group["params"]
                )
            )
    real = torch.rand(9, *SHAPE) * 2 - 1
    step(real)
    textbook.step(plain, real)
    assert len(seen["ours"]) == len(list(G.parameters())) + len(list(D.parameters()))
    for ours, theirs in zip(seen["ours"], seen["plain"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(6)
    G, D = small_generator(), small_discriminator(0.0, "logit")
    results = {}
    real = torch.rand(9, *SHAPE) * 2 - 1
    for precision in ("fp32", "bf16"):
        g, d = copy.deepcopy(G), copy.deepcopy(D)
        step = GANStep(
            g,
            d,
            gan_adam(g.parameters()),
            gan_adam(d.parameters()),
            precision=precision,  # type: ignore[arg-type]
            noise=Noise((Z_DIM,), generator=torch.Generator().manual_seed(4)),
        )
        results[precision] = step(real)
        assert all(p.dtype == torch.float32 for p in [*g.parameters(), *d.parameters()])
    for key, value in results["fp32"].items():
        assert results["bf16"][key].dtype == torch.float32
        torch.testing.assert_close(results["bf16"][key], value, rtol=2e-2, atol=2e-2)
        assert not torch.equal(results["bf16"][key], value)
