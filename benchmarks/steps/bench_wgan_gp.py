"""One generator iteration of WGAN-GP on the MLP: five critic steps and one of G.

torch.compile has no double backward, so it has no entry: the penalty is what takes the time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.replay import CLOCK, report_race
from benchmarks.steps import textbook
from benchmarks.steps.parts import part_contenders
from benchmarks.steps.racing import Autocast, Step, check_learning, shared
from gankit.bench.ops.peers_gradient_penalty import textbook as textbook_penalty
from gankit.bench.ops.peers_gradient_penalty import tuned as tuned_penalty
from gankit.bench.races import Contender, Race, Settings
from gankit.losses import gradient_penalty
from gankit.models import mlp
from gankit.training import GANStep
from gankit.training.optimizers import gan_adam

N_CRITIC = 5
BETAS = (0.0, 0.9)


@pytest.mark.benchmark(timer=CLOCK)
def test_wgan_gp_iteration(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race per batch size and precision."""
    seconds = 20 * settings.seconds
    for size in settings.batch_sizes:
        group = f"WGAN-GP iteration, MLP, batch {size}"
        contenders = tuple(_contenders(settings.device, size))
        yield Race(group, contenders, settings.device, seconds)
        contenders = tuple(_contenders(settings.device, size, bf16=True))
        yield Race(f"{group}, bf16", contenders, settings.device, seconds)


def _contenders(device: torch.device, size: int, bf16: bool = False) -> Iterator[Contender]:
    contender = shared(batch=(size, 1, 28, 28), device=device, check=_check, calls=N_CRITIC)
    yield contender("plain eager", "plain", lambda: PlainWGANGP(device, bf16))
    yield contender("tuned eager", "peer", lambda: TunedWGANGP(device, bf16))
    if bf16:
        yield contender("gankit", "gankit", lambda: _gankit(device, precision="bf16"))
        return
    yield contender("gankit", "gankit", lambda: _gankit(device))
    yield contender("gankit, bf16", "variant", lambda: _gankit(device, precision="bf16"))
    yield contender("gankit, double backward", "variant", lambda: _gankit(device, path="autograd"))
    if device.type == "cuda":
        yield contender(
            "gankit without a graph", "variant", lambda: _gankit(device, cuda_graph=False)
        )
    yield from part_contenders(
        lambda: _gankit(device, cuda_graph=False), (size, 1, 28, 28), device, N_CRITIC
    )


class Critic(nn.Module):
    """The layers of the tutorial's D without dropout and sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Linear(784, 1024),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(1024, 512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(256, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.main(images.flatten(1))
        return scores


class PlainWGANGP:
    """Algorithm 1 of Gulrajani et al. (2017, arXiv 1704.00028), written plainly.

    With ``bf16`` the networks run under autocast, and the penalty in float32.
    """

    fused = False
    penalty = staticmethod(textbook_penalty)

    def __init__(self, device: torch.device, bf16: bool) -> None:
        self.G, self.D = textbook.Generator().to(device), Critic().to(device)
        self.g_optimizer, self.d_optimizer = (
            torch.optim.Adam(m.parameters(), lr=1e-4, betas=BETAS, fused=self.fused or None)
            for m in (self.G, self.D)
        )
        self.run_G = Autocast(self.G) if bf16 else self.G
        self.run_D = Autocast(self.D) if bf16 else self.D
        self.device, self.calls = device, 0

    def __call__(self, real: Tensor) -> dict[str, Tensor]:
        fake = self.make_fakes(len(real))
        real_out, fake_out = self.scores(real, fake)
        d_loss = fake_out.mean() - real_out.mean() + self.penalty(self.D, real, fake.detach())
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()
        self.calls += 1
        if self.calls % N_CRITIC == 0:
            self.generator_turn(len(real))
        return {"d_loss": d_loss.detach()}

    def make_fakes(self, n: int) -> Tensor:
        images: Tensor = self.run_G(torch.randn(n, 100, device=self.device))
        return images

    def scores(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return self.run_D(real), self.run_D(fake)

    def generator_turn(self, n: int) -> None:
        g_loss = -self.run_D(self.make_fakes(n)).mean()
        self.g_optimizer.zero_grad()
        g_loss.backward()
        self.g_optimizer.step()


class TunedWGANGP(PlainWGANGP):
    """Without waste: fakes under no_grad, one pass, a frozen critic, fused Adam."""

    fused = True
    penalty = staticmethod(tuned_penalty)

    def scores(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        real_out, fake_out = self.run_D(torch.cat([real, fake])).chunk(2)
        return real_out, fake_out

    def make_fakes(self, n: int) -> Tensor:
        with torch.set_grad_enabled(not next(self.D.parameters()).requires_grad):
            return super().make_fakes(n)

    def generator_turn(self, n: int) -> None:
        self.D.requires_grad_(False)
        super().generator_turn(n)
        self.D.requires_grad_(True)


def _gankit(device: torch.device, path: str = "auto", **settings: Any) -> Step:
    G = mlp.Generator().to(device)
    D = mlp.Discriminator(dropout=0.0, output="logit").to(device)
    return GANStep(
        G,
        D,
        gan_adam(G.parameters(), 1e-4, BETAS),
        gan_adam(D.parameters(), 1e-4, BETAS),
        loss="wasserstein",
        penalty=functools.partial(gradient_penalty, path=path),
        n_critic=N_CRITIC,
        **settings,
    )


def _check(step: Step, real: Tensor) -> None:
    """A fresh critic tells nothing apart, so its loss is the penalty, 10 at most; and it learns."""
    check_learning(step, real, first={"d_loss": 9.5}, within=1.0)
