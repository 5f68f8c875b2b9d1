"""GANStep against plain loops of DCGAN, WGAN and WGAN-GP: 50 steps in float64.

The loops below are written as their papers and tutorials write them, in plain PyTorch.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import textbook
from gankit.losses import gradient_penalty
from gankit.models import dcgan
from gankit.ops import interpolate
from gankit.training import GANStep, Noise, gan_adam
from gankit.training.optimizers import wgan_rmsprop
from tests.training.nets import SHAPE, Z_DIM, PlainDCGAN, small_discriminator, small_generator

STEPS = 50
Loop = Callable[[Tensor], None]


def fed_noise(z_dim: int) -> Noise:
    return Noise((z_dim,), dtype=torch.float64, generator=torch.Generator().manual_seed(11))


def train_both(step: GANStep, plain: Loop, shape: tuple[int, ...], batch: int) -> None:
    data = torch.Generator().manual_seed(5)
    for number in range(STEPS):
        real = torch.rand(batch, *shape, dtype=torch.float64, generator=data) * 2 - 1
        torch.manual_seed(number)  # where a penalty draws its points
        step(real)
        torch.manual_seed(number)
        plain(real)


def assert_equal(ours: nn.Module, theirs: nn.Module, before: nn.Module) -> None:
    """Parameters and buffers within 1e-10, and the parameters have moved.

    All but one: the bias of a Wasserstein critic's output cancels.
    """
    tensors = [[*m.parameters(), *m.buffers()] for m in (ours, theirs)]
    for x, y in zip(*tensors, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-10)
    moved = [
        float((x - y).detach().abs().max())
        for x, y in zip(ours.parameters(), before.parameters(), strict=True)
    ]
    assert sorted(moved)[1] > 1e-4


@pytest.mark.parametrize("paired", ["auto", False])
def test_dcgan_equals_the_plain_loop(paired: bool | str) -> None:
    torch.manual_seed(0)
    G = dcgan.Generator(Z_DIM, (1, 28, 28), width=3).double()
    D = dcgan.Discriminator((1, 28, 28), width=3).double()
    first = copy.deepcopy((G, D))
    plain = textbook.build(
        dtype=torch.float64, G=PlainDCGAN(G), D=PlainDCGAN(D), noise=fed_noise(Z_DIM)
    )
    step = GANStep(
        G, D, gan_adam(G.parameters()), gan_adam(D.parameters()),
        noise=fed_noise(Z_DIM), paired=paired,  # type: ignore[arg-type]
    )  # fmt: skip
    assert step.paired is (paired == "auto")
    train_both(step, lambda real: textbook.step(plain, real), (1, 28, 28), 6)
    assert_equal(G, plain.G, first[0])
    assert_equal(D, plain.D, first[1])


def wasserstein_loop(
    G: nn.Module,
    D: nn.Module,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    n_critic: int,
    clip: float | None,
) -> Loop:
    """Algorithm 1 of Arjovsky et al. (2017), or of Gulrajani et al. (2017) without ``clip``."""
    noise, calls = fed_noise(Z_DIM), [0]
    g_optimizer, d_optimizer = optimizers

    def loop(real: Tensor) -> None:
        fake = G(noise(len(real))).detach()
        loss = D(fake).mean() - D(real).mean()
        if clip is None:
            between = interpolate(real, fake).requires_grad_()
            (grad,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
            loss = loss + 10 * (grad.flatten(1).norm(dim=1) - 1).square().mean()
        d_optimizer.zero_grad()
        loss.backward()
        d_optimizer.step()
        if clip is not None:
            with torch.no_grad():
                for p in D.parameters():
                    p.clamp_(-clip, clip)
        calls[0] += 1
        if calls[0] % n_critic == 0:
            g_optimizer.zero_grad()
            (-D(G(noise(len(real)))).mean()).backward()
            g_optimizer.step()

    return loop


@pytest.mark.parametrize("family", ["wgan", "wgan-gp"])
def test_wasserstein_gans_equal_their_plain_loops(family: str) -> None:
    torch.manual_seed(1)
    G, D = small_generator().double(), small_discriminator(0.0, "logit").double()
    first = copy.deepcopy((G, D))
    twins = copy.deepcopy((G, D))
    if family == "wgan":
        build, clip, penalty = wgan_rmsprop, 0.03, None
    else:
        build = functools.partial(gan_adam, betas=(0.0, 0.9))  # type: ignore[assignment]
        clip, penalty = None, gradient_penalty  # type: ignore[assignment]
    step = GANStep(
        G, D, build(G.parameters()), build(D.parameters()), loss="wasserstein",
        n_critic=5, clip_weights=clip, penalty=penalty, noise=fed_noise(Z_DIM),
    )  # fmt: skip
    optimizers = build(twins[0].parameters()), build(twins[1].parameters())
    train_both(step, wasserstein_loop(*twins, optimizers, 5, clip), SHAPE, 7)
    assert_equal(G, twins[0], first[0])
    assert_equal(D, twins[1], first[1])
