"""Networks that hold a parameter together: the textbook loop's updates, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gankit.errors import ConfigError
from gankit.gans.autoencoder import AutoencoderStep
from gankit.losses import gradient_penalty, resolve
from gankit.models import mlp
from gankit.models.autoencoder import Encoder
from gankit.training import GANStep

Pair = tuple[nn.Module, nn.Module]
STEPS = 6


class Seen(nn.Module):
    """A linear map by the transpose of somebody else's weight."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.t())


class Conditional(nn.Module):
    """Adds the embedding of a label to what ``first`` makes of the input."""

    def __init__(self, first: nn.Module, label: nn.Embedding, last: nn.Module) -> None:
        super().__init__()
        self.first, self.label, self.last = first, label, last

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(x) + self.label(labels))
        return out


def a_layer(core: nn.Module | None = None) -> Pair:
    core = core or nn.Linear(8, 8)
    G = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), core, nn.Tanh(), nn.Linear(8, 6))
    D = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), core, nn.Tanh(), nn.Linear(8, 1))
    return G, D


def a_transposed_weight() -> Pair:
    G = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))
    return G, nn.Sequential(Seen(G[2].weight), nn.LeakyReLU(0.2), nn.Linear(8, 1))  # type: ignore[arg-type]


def one_memory() -> Pair:
    G, D = a_layer()
    D[2] = nn.Linear(8, 8)  # type: ignore[index]
    D[2].weight = nn.Parameter(G[2].weight.data)  # type: ignore[index]
    return G, D


def a_norm() -> Pair:
    norm = nn.BatchNorm1d(8)
    G = nn.Sequential(nn.Linear(4, 8), norm, nn.Tanh(), nn.Linear(8, 6))
    return G, nn.Sequential(nn.Linear(6, 8), norm, nn.LeakyReLU(0.2), nn.Linear(8, 1))


def an_embedding() -> Pair:
    label = nn.Embedding(3, 8)
    G = Conditional(nn.Linear(4, 8), label, nn.Sequential(nn.Tanh(), nn.Linear(8, 6)))
    return G, Conditional(nn.Linear(6, 8), label, nn.Sequential(nn.Tanh(), nn.Linear(8, 1)))


def all_of_g() -> Pair:
    G = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))
    return G, nn.Sequential(nn.Linear(6, 4), G, nn.LeakyReLU(0.2), nn.Linear(6, 1))


PAIRS: dict[str, Callable[[], Pair]] = {
    "a layer": a_layer,
    "a parametrized layer": lambda: a_layer(parametrizations.spectral_norm(nn.Linear(8, 8))),
    "a transposed weight": a_transposed_weight,
    "one memory": one_memory,
    "a batch norm": a_norm,
    "an embedding": an_embedding,
    "all of G": all_of_g,
    "nothing": lambda: (a_layer()[0], a_layer()[1]),
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "fused adam": lambda p: torch.optim.Adam(p, 0.01, fused=True),
}


def noise(n: int) -> Tensor:
    return torch.randn(n, 4, dtype=torch.float64)


def textbook(
    G: nn.Module,
    D: nn.Module,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    loss: str,
    real: Tensor,
    labels: tuple[Tensor, ...],
    clip: float | None,
    penalised: bool,
) -> None:
    """One step as a tutorial writes it."""
    game = resolve(loss, from_logits=True)
    g_optimizer, d_optimizer = optimizers
    fake = G(noise(len(real)), *labels).detach()
    d_optimizer.zero_grad()
    d_loss = game.discriminator(D(real, *labels), D(fake, *labels))
    if penalised:
        d_loss = d_loss + gradient_penalty(D, real, fake, path="autograd", critic_args=labels)
    d_loss.backward()
    d_optimizer.step()
    if clip is not None:
        for p in D.parameters():
            p.data.clamp_(-clip, clip)
    g_optimizer.zero_grad()
    answers = [D(G(noise(len(real)), *labels), *labels)]
    if game.relativistic:
        answers.append(D(real, *labels))
    game.generator(*answers).backward()
    g_optimizer.step()


def built(pair: str) -> Pair:
    """The same networks in every call; neither copies nor conversions keep one memory."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        return PAIRS[pair]()
    finally:
        torch.set_default_dtype(torch.float32)


def both(
    pair: str, optimizer: str, loss: str, clip: float | None, penalised: bool, **settings: Any
) -> tuple[GANStep, Pair, Pair]:
    ours, theirs, before = built(pair), built(pair), built(pair)
    make = OPTIMIZERS[optimizer]
    step = GANStep(
        *ours, *(make(network.parameters()) for network in ours), loss=loss, noise=noise,
        penalty=gradient_penalty if penalised else None, clip_weights=clip, **settings,
    )  # fmt: skip
    optimizers = make(theirs[0].parameters()), make(theirs[1].parameters())
    for number in range(STEPS):
        real = torch.rand(6, 6, dtype=torch.float64)
        labels = (torch.arange(6) % 3,) if pair == "an embedding" else ()
        torch.manual_seed(number)
        step(real, *labels)
        torch.manual_seed(number)
        textbook(*theirs, optimizers, loss, real, labels, clip, penalised)
    return step, theirs, before


@pytest.mark.parametrize(
    ("pair", "optimizer", "loss", "clip", "penalised", "settings"),
    [
        *[(pair, "sgd", "non-saturating", None, False, {}) for pair in PAIRS],
        ("a layer", "adam", "non-saturating", None, False, {"paired": False}),
        ("a layer", "fused adam", "hinge", None, False, {"ema": 0.9}),
        ("a layer", "fused adam", "wasserstein", 0.1, False, {}),
        ("a layer", "adam", "wasserstein", None, True, {}),
        ("an embedding", "sgd", "wasserstein", None, True, {}),
        ("a transposed weight", "sgd", "wasserstein", None, True, {}),
        ("a layer", "sgd", "relativistic-average", None, False, {}),
        ("a layer", "adam", "non-saturating", None, False, {"accumulate": 3}),
        ("one memory", "fused adam", "non-saturating", None, False, {"channels_last": "auto"}),
    ],
)
def test_updates_are_the_textbooks(
    pair: str, optimizer: str, loss: str, clip: float | None, penalised: bool, settings: Any
) -> None:
    step, theirs, before = both(pair, optimizer, loss, clip, penalised, **settings)
    for ours, plain, first in zip((step.G, step.D), theirs, before, strict=True):
        for x, y in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-12)
        moved = [
            float((x - y).detach().abs().max())
            for x, y in zip(ours.parameters(), first.parameters(), strict=True)
        ]
        # Biases in front of a batch norm, and the last one of a Wasserstein critic, stand still.
        assert sorted(moved)[len(moved) // 2] > 1e-6
    assert any("share" in note for note in step.notes) == (pair != "nothing")


def test_g_learns_a_weight_that_its_optimizer_alone_holds() -> None:
    torch.manual_seed(0)
    G, D = (network.double() for network in a_layer())
    shared = {id(p) for p in G.parameters()}
    own = [p for p in D.parameters() if id(p) not in shared]
    step = GANStep(
        G, D, torch.optim.SGD(G.parameters(), 0.1), torch.optim.SGD(own, 0.1), noise=noise
    )
    core, at_d = G[2].weight, []  # type: ignore[index]
    step.d_optimizer.register_step_post_hook(lambda *_: at_d.append(core.detach().clone()))
    first = core.detach().clone()
    step(torch.rand(6, 6, dtype=torch.float64))
    assert torch.equal(at_d[0], first)
    assert float((core - first).detach().abs().max()) > 1e-6


@pytest.mark.parametrize("pair", sorted(PAIRS.keys() - {"nothing"}))
def test_fakes_cannot_be_reused_where_d_moves_gs_weights(pair: str) -> None:
    G, D = PAIRS[pair]()
    optimizers = torch.optim.SGD(G.parameters(), 0.1), torch.optim.SGD(D.parameters(), 0.1)
    with pytest.raises(ConfigError, match=r"reuse_fakes=True needs .* shares .*allowed is F"):
        GANStep(G, D, *optimizers, noise=noise, reuse_fakes=True)


def test_another_memory_format_does_not_part_one_memory() -> None:
    G = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh())
    D = nn.Sequential(nn.Conv2d(4, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(64, 1))
    D[0].weight = nn.Parameter(G[0].weight.data)  # type: ignore[arg-type]
    optimizers = torch.optim.SGD(G.parameters(), 0.1), torch.optim.SGD(D.parameters(), 0.1)
    settings: dict[str, Any] = {"noise": lambda n: torch.randn(n, 4, 6, 6)}
    step = GANStep(G, D, *optimizers, **settings)
    assert not step.channels_last
    step(torch.rand(2, 4, 6, 6) * 2 - 1)
    assert torch.equal(G[0].weight, D[0].weight)
    with pytest.raises(ConfigError, match="channels_last=True would part weights"):
        GANStep(G, D, *optimizers, channels_last=True, **settings)


def test_one_loss_moves_a_weight_of_both_networks_once() -> None:
    G = mlp.Generator(2, (1, 2, 4), hidden=(8,))
    D = Encoder(2, (1, 2, 4), hidden=(8,))
    D.main[1].weight = G.main[-2].weight  # type: ignore[assignment]
    weight, x = G.main[-2].weight, torch.rand(6, 1, 2, 4) * 2 - 1
    both = list(dict.fromkeys([*G.parameters(), *D.parameters()]))
    step = AutoencoderStep(G, D, torch.optim.SGD(both, 0.1))
    before = weight.detach().clone()
    error, _ = step.terms(x)
    (gradient,) = torch.autograd.grad(error.mean(), weight)
    step(x)
    torch.testing.assert_close(weight.detach(), before - 0.1 * gradient)
