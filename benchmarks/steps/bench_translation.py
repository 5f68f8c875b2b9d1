"""DiscoGAN's update of the generators and StarGAN's five critic steps and one of G.

The plain peer is the authors' loop with torch's own layers: those of gankit's networks after
``to_torch``, so that both run the same mathematics. torch.compile has no double backward, which
StarGAN's penalty needs. On a CPU the networks are an eighth as wide as the papers'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.replay import CLOCK, report_race
from benchmarks.steps.racing import Step, shared
from gankit.bench.races import Contender, Race, Settings
from gankit.gans.discogan import DiscoGANStep
from gankit.gans.stargan import StarGANStep
from gankit.models import discogan, stargan
from gankit.training.optimizers import gan_adam

N_CRITIC, DOMAINS, SIZE = 5, 4, 64


@pytest.mark.benchmark(timer=CLOCK)
def test_translation_step(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race per family and batch size."""
    device, seconds = settings.device, 20 * settings.seconds
    width = 64 if device.type == "cuda" else 8
    for size in settings.batch_sizes:
        for name, contenders in (("DiscoGAN", _discogan), ("StarGAN", _stargan)):
            group = f"{name}, {SIZE} pixels, width {width}, batch {size}"
            yield Race(group, tuple(contenders(device, size, width)), device, seconds)


def _discogan(device: torch.device, size: int, width: int) -> Iterator[Contender]:
    contender = shared(batch=(size, 3, SIZE, SIZE), device=device, check=_check_undecided, calls=3)
    yield contender("plain eager", "plain", lambda: PlainDiscoGAN(_pairs(device, width)))
    yield contender("gankit", "gankit", lambda: _gankit_discogan(device, width))
    if device.type == "cuda":
        without = {"cuda_graph": False}
        yield contender(
            "gankit without a graph", "variant", lambda: _gankit_discogan(device, width, **without)
        )


def _stargan(device: torch.device, size: int, width: int) -> Iterator[Contender]:
    batch = (size, 3, SIZE, SIZE)
    contender = shared(batch=batch, device=device, check=_check, calls=N_CRITIC)
    yield contender("plain eager", "plain", lambda: PlainStarGAN(_single(device, width)))
    yield contender("gankit", "gankit", lambda: _gankit_stargan(device, width))
    if device.type == "cuda":
        without = {"cuda_graph": False}
        yield contender(
            "gankit without a graph", "variant", lambda: _gankit_stargan(device, width, **without)
        )


def _pairs(device: torch.device, width: int) -> list[nn.Module]:
    networks: list[nn.Module] = [discogan.Generator(width=width, code=100) for _ in "ab"]
    networks += [discogan.Discriminator(width=width) for _ in "ab"]
    return [network.to(device) for network in networks]


def _single(device: torch.device, width: int) -> list[nn.Module]:
    G = stargan.Generator(DOMAINS, width=width)
    D = stargan.Discriminator(DOMAINS, (3, SIZE, SIZE), width=width)
    return [G.to(device), D.to(device)]


def _optimizer(networks: list[nn.Module], lr: float, decay: float) -> torch.optim.Adam:
    parameters = [p for network in networks for p in network.parameters()]
    return torch.optim.Adam(parameters, lr, (0.5, 0.999), weight_decay=decay)


def _plain(network: nn.Module) -> nn.Module:
    """``network`` with layers of torch in place of gankit's, each pair in one place."""
    for name, child in network.named_children():
        layers = getattr(child, "to_torch", None)
        if layers is None:
            _plain(child)
        else:
            made = layers()
            setattr(network, name, nn.Sequential(*made) if isinstance(made, tuple) else made)
    return network


class PlainDiscoGAN:
    """The authors' loop: all losses in every call, then the update of one side."""

    def __init__(self, networks: list[nn.Module]) -> None:
        self.networks = [_plain(network) for network in networks]
        self.optimizers = [_optimizer(two, 2e-4, 1e-5) for two in _halves(self.networks)]
        self.calls = 0

    def __call__(self, real: Tensor) -> Mapping[str, Tensor]:
        G_ab, G_ba, D_a, D_b = self.networks
        a, b = real, real.flip(0)
        ab, ba = G_ab(a), G_ba(b)
        g_loss, d_loss = real.new_zeros(()), real.new_zeros(())
        for D, image, fake in ((D_b, b, ab), (D_a, a, ba)):
            (real_out, real_features), (fake_out, fake_features) = D(image), D(fake)
            pairs = zip(real_features, fake_features, strict=True)
            features = sum((x.mean(0) - y.mean(0)).square().mean() for x, y in pairs)
            d_loss = d_loss + (F.softplus(-real_out).mean() + F.softplus(fake_out).mean()) / 2
            g_loss = g_loss + 0.99 * (0.1 * F.softplus(-fake_out).mean() + 0.9 * features)
        for back, image in ((G_ba(ab), a), (G_ab(ba), b)):
            g_loss = g_loss + 0.01 * F.mse_loss(back, image) / 4
        side = 1 if self.calls % 3 == 0 else 0
        self.calls += 1
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        (g_loss, d_loss)[side].backward()
        self.optimizers[side].step()
        return {"d_loss": d_loss.detach()}


class PlainStarGAN:
    """The authors' loop, with one update of D per step."""

    def __init__(self, networks: list[nn.Module]) -> None:
        self.G, self.D = (_plain(network) for network in networks)
        self.g_optimizer, self.d_optimizer = (
            _optimizer([network], 1e-4, 0.0) for network in (self.G, self.D)
        )
        self.calls = 0

    def __call__(self, real: Tensor) -> Mapping[str, Tensor]:
        label = torch.arange(len(real), device=real.device) % DOMAINS
        order = torch.randperm(len(real), device=real.device)
        own = F.one_hot(label, DOMAINS).to(real.dtype)
        real_out, logits = self.D(real)
        fake = self.G(real, own[order]).detach()
        alpha = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = (alpha * real + (1 - alpha) * fake).requires_grad_()
        out, _ = self.D(between)
        (slope,) = torch.autograd.grad(out, between, torch.ones_like(out), create_graph=True)
        penalty = 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        d_loss = self.D(fake)[0].mean() - real_out.mean() + penalty
        self.d_optimizer.zero_grad()
        (d_loss + F.cross_entropy(logits, label)).backward()
        self.d_optimizer.step()
        self.calls += 1
        if self.calls % N_CRITIC == 0:
            fake = self.G(real, own[order])
            fake_out, logits = self.D(fake)
            cycle = F.l1_loss(self.G(fake, own), real)
            g_loss = F.cross_entropy(logits, label[order]) + 10 * cycle - fake_out.mean()
            self.g_optimizer.zero_grad()
            g_loss.backward()
            self.g_optimizer.step()
        return {"d_loss": d_loss.detach()}


def _halves(networks: list[nn.Module]) -> tuple[list[nn.Module], list[nn.Module]]:
    return networks[:2], networks[2:]


def _gankit_discogan(device: torch.device, width: int, **settings: Any) -> Step:
    networks = _pairs(device, width)
    first, second = (
        gan_adam([p for n in two for p in n.parameters()], weight_decay=1e-5)
        for two in _halves(networks)
    )
    G_ab, G_ba, D_a, D_b = networks
    step = DiscoGANStep(G_ab, G_ba, D_a, D_b, first, second, **settings)

    def call(real: Tensor) -> Mapping[str, Tensor]:
        found = step({"a": real, "b": real.flip(0)})
        return {"d_loss": (found["d_a"] + found["d_b"]) / 2}

    return call


def _gankit_stargan(device: torch.device, width: int, **settings: Any) -> Step:
    G, D = _single(device, width)
    first, second = (gan_adam(n.parameters(), 1e-4) for n in (G, D))
    domains = "0123"
    step = StarGANStep(G, D, first, second, domains, exclusive=True, n_critic=N_CRITIC, **settings)

    def call(real: Tensor) -> Mapping[str, Tensor]:
        label = torch.arange(len(real), device=device) % DOMAINS
        return step({"image": real, "label": label})

    return call


def _check_undecided(step: Step, real: Tensor) -> None:
    """Fresh discriminators of both domains answer near chance, and the losses stay finite."""
    assert abs(float(step(real)["d_loss"]) - 2 * math.log(2)) < 0.7
    for _ in range(5):
        last = step(real)
    assert math.isfinite(float(last["d_loss"]))


def _check(step: Step, real: Tensor) -> None:
    """D learns to tell the images of one batch from generated ones."""
    first = float(step(real)["d_loss"])
    for _ in range(20):
        last = step(real)
    assert float(last["d_loss"]) < first, "D did not learn"
