"""GANStep in float32 and bfloat16: as near to the exact run as plain PyTorch is."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import textbook
from gankit.models import dcgan
from gankit.training import GANStep, Noise, gan_adam
from tests.training.nets import (
    SHAPE,
    Z_DIM,
    PlainDCGAN,
    small_discriminator,
    small_generator,
)

STEPS = 50
Pair = tuple[nn.Module, nn.Module]


def fed_noise(dtype: torch.dtype) -> Noise:
    """The same values in every dtype."""
    generator = torch.Generator().manual_seed(11)

    class Rounded(Noise):
        def __call__(self, n: int) -> Tensor:
            return super().__call__(n).to(dtype)

    return Rounded((Z_DIM,), dtype=torch.float64, generator=generator)


def distance(a: Pair, b: Pair) -> float:
    """Euclidean, over all parameters."""
    pairs = (
        (x.detach().double(), y.detach().double())
        for m, n in zip(a, b, strict=True)
        for x, y in zip(m.parameters(), n.parameters(), strict=True)
    )
    return math.sqrt(sum(float((x - y).square().sum()) for x, y in pairs))


def train_three(ours: Pair, plain: Pair, shape: tuple[int, ...], batch: int) -> tuple[Pair, Pair]:
    """The plain loop in float64 and in float32, beside GANStep on ``ours``, in place."""
    twins = {dtype: copy.deepcopy(plain) for dtype in (torch.float64, torch.float32)}
    loops = {
        dtype: textbook.build(dtype=dtype, G=G.to(dtype), D=D.to(dtype), noise=fed_noise(dtype))
        for dtype, (G, D) in twins.items()
    }
    optimizers = [gan_adam(m.parameters()) for m in ours]
    step = GANStep(*ours, *optimizers, noise=fed_noise(torch.float32))
    data = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        real = torch.rand(batch, *shape, generator=data) * 2 - 1
        step(real)
        for dtype, loop in loops.items():
            textbook.step(loop, real.to(dtype))
    return twins[torch.float64], twins[torch.float32]


def networks(family: str) -> tuple[Pair, Pair, tuple[int, ...], int]:
    """Ours, the same written plainly, image shape and batch size."""
    if family == "mlp":
        ours: Pair = (small_generator(), small_discriminator(0.0))
        return ours, copy.deepcopy(ours), SHAPE, 7
    shape = (1, 28, 28)
    G, D = dcgan.Generator(Z_DIM, shape, width=4), dcgan.Discriminator(shape, width=4)
    return (G, D), (PlainDCGAN(G), PlainDCGAN(D)), shape, 6


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("family", ["mlp", "dcgan"])
def test_float32_drifts_no_further_than_the_plain_loop_does(family: str, seed: int) -> None:
    torch.manual_seed(seed)
    ours, plain, shape, batch = networks(family)
    before = copy.deepcopy(ours)
    exact, rounded = train_three(ours, plain, shape, batch)
    own = distance(rounded, exact)
    assert 0 < own < distance(exact, before) / 100
    assert distance(ours, exact) < 1.5 * own
    assert distance(ours, rounded) < 1.5 * own


def test_dcgan_in_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(6)
    (G, D), _, shape, batch = networks("dcgan")
    D = dcgan.Discriminator(shape, width=4, output="logit")
    real = torch.rand(batch, *shape) * 2 - 1
    results = {}
    for precision in ("fp32", "bf16"):
        g, d = copy.deepcopy(G), copy.deepcopy(D)
        step = GANStep(
            g, d, gan_adam(g.parameters()), gan_adam(d.parameters()),
            precision=precision, noise=fed_noise(torch.float32),  # type: ignore[arg-type]
        )  # fmt: skip
        results[precision] = step(real)
        kept = [t for m in (g, d) for t in (*m.parameters(), *m.buffers()) if t.is_floating_point()]
        assert all(t.dtype == torch.float32 for t in kept)
        assert all(bool(t.isfinite().all()) for t in kept)
    for key, value in results["fp32"].items():
        assert results["bf16"][key].dtype == torch.float32
        torch.testing.assert_close(results["bf16"][key], value, rtol=5e-2, atol=5e-2)
        assert not torch.equal(results["bf16"][key], value)
