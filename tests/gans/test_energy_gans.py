"""BEGAN and EBGAN against the plain loops of their papers, what they remember, what they refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import BatchSampler, ImageData
from gankit.errors import CheckpointError, ConfigError
from gankit.gans.began import BEGANStep
from gankit.gans.ebgan import EBGANStep
from gankit.losses import began_convergence, pulling_away_term
from gankit.models import conditional_mlp, convolutional_autoencoder, mlp
from gankit.models.autoencoder import Discriminator
from gankit.training import GANStep, Trainer, gan_adam

SHAPE = (1, 2, 2)
STEPS = 7
Parts = tuple[mlp.Generator, Discriminator, torch.optim.Optimizer, torch.optim.Optimizer]


def parts(dtype: torch.dtype = torch.float64, error: str = "absolute") -> Parts:
    torch.manual_seed(0)
    G = mlp.Generator(3, SHAPE, hidden=(8,)).to(dtype)
    D = Discriminator(SHAPE, hidden=(8,), code=2, error=error).to(dtype)
    return G, D, gan_adam(G.parameters(), 1e-2), gan_adam(D.parameters(), 1e-2)


def batches(n: int = STEPS) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.rand(n, 6, *SHAPE, dtype=torch.float64, generator=generator) * 2 - 1


def plain_loop(
    made: Parts,
    d_loss: Callable[[Tensor, Tensor], Tensor],
    g_loss: Callable[[nn.Module, Tensor], Tensor],
    after: Callable[[Tensor, Tensor], None] = lambda real, fake: None,
) -> None:
    """The alternating updates as the papers write them: ``d_loss`` of D's outputs on real and
    generated images, ``g_loss`` of D and generated images, ``after`` of the two real outputs."""
    G, D, g_optimizer, d_optimizer = made
    torch.manual_seed(4)
    for real in batches():
        fake = G(torch.randn(6, 3, dtype=torch.float64)).detach()
        d_optimizer.zero_grad()
        real_out = D(real)
        d_loss(real_out, D(fake)).backward()
        d_optimizer.step()
        g_optimizer.zero_grad()
        fake = G(torch.randn(6, 3, dtype=torch.float64))
        g_loss(D, fake).backward()
        after(real_out.detach(), D(fake).detach())
        g_optimizer.step()


def assert_same(step: GANStep, made: Parts) -> None:
    for mine, theirs in zip((step.G, step.D), made[:2], strict=True):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_a_step_of_began_is_the_papers() -> None:
    step = BEGANStep(*parts(), rate=0.5)
    assert step.paired
    torch.manual_seed(4)
    seen = [step(real) for real in batches()]
    k, measures = [0.0], []

    def balance(real: Tensor, fake: Tensor) -> None:
        measures.append(float(began_convergence(real, fake)))
        k.append(min(max(k[-1] + 0.5 * float(0.5 * real.mean() - fake.mean()), 0.0), 1.0))

    made = parts()
    plain_loop(
        made,
        lambda real, fake: real.mean() - k[-1] * fake.mean(),
        lambda D, fake: D(fake).mean(),
        balance,
    )
    assert_same(step, made)
    assert 0 < k[-1] < 1
    assert [float(s["k"]) for s in seen] == pytest.approx(k[1:], rel=1e-12)
    assert [float(s["measure"]) for s in seen] == pytest.approx(measures, rel=1e-12)
    assert {"k", "measure", "real_error"} <= step.state_dict().keys()


def train(step: GANStep, data: ImageData, steps: int, before: dict[str, Any] | None) -> Trainer:
    sampler = BatchSampler(len(data), 4, generator=torch.Generator().manual_seed(0))
    trainer = Trainer(step, data, sampler, log_every=2)
    torch.manual_seed(8)
    if before is not None:
        trainer.load_state_dict(before)
    trainer.fit(steps=steps)
    return trainer


def run(**execution: Any) -> BEGANStep:
    return BEGANStep(*parts(torch.float32), gamma=0.7, rate=0.3, n_critic=2, **execution)


@pytest.mark.parametrize(
    "make",
    [
        run,
        lambda: run(precision="bf16", ema=0.9),
        lambda: EBGANStep(*parts(torch.float32), margin=0.3, pulling_away=0.1, accumulate=2),
    ],
)
def test_a_run_resumes_exactly(make: Callable[[], GANStep]) -> None:
    data = ImageData((batches().float().flatten(0, 1) * 127 + 128).byte())
    straight = train(make(), data, 11, None)
    half = copy.deepcopy(train(make(), data, 5, None).state_dict())
    resumed = train(make(), data, 11, half)
    one, other = straight.state_dict()["gan_step"], resumed.state_dict()["gan_step"]
    assert all(torch.equal(one[name], other[name]) for name in one if name != "_extra_state")
    if isinstance(straight.gan_step, BEGANStep):
        assert 0 < float(straight.gan_step.k) < 1


@pytest.mark.parametrize("k", [float("nan"), float("inf")])
def test_a_balance_that_is_no_number_is_not_gone_on_from(k: float) -> None:
    data = ImageData((batches().float().flatten(0, 1) * 127 + 128).byte())
    trainer = train(run(), data, 2, None)
    state = copy.deepcopy(trainer.state_dict())
    state["gan_step"]["k"].fill_(k)
    with pytest.raises(CheckpointError, match="k of the step is NaN or infinite"):
        trainer.load_state_dict(state)


def test_a_dry_run_leaves_the_balance_alone() -> None:
    step = BEGANStep(*parts(), rate=0.5)
    step(batches()[0])
    before = [step.k.clone(), step.measure.clone(), step.real_error.clone()]
    step.dry_run(batches()[1])
    assert [step.k, step.measure, step.real_error] == before


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_of_ebgan_is_the_papers(weight: float, accumulate: int) -> None:
    settings = {"margin": 0.3, "pulling_away": weight, "accumulate": accumulate}
    step = EBGANStep(*parts(error="squared"), **settings)
    torch.manual_seed(4)
    seen = [step(real) for real in batches()]
    made = parts(error="squared")
    terms: list[float] = []

    def g_loss(D: Any, fake: Tensor) -> Tensor:
        # The pairs are those of a micro-batch.
        term = torch.stack(
            [pulling_away_term(D.encoder(x.flatten(1))) for x in fake.chunk(accumulate)]
        )
        terms.append(float(term.detach().mean()))
        return D(fake).mean() + weight * term.mean()

    plain_loop(made, lambda real, fake: real.mean() + (0.3 - fake).clamp_min(0).mean(), g_loss)
    assert_same(step, made)
    assert ("pulling_away" in step.metrics) is (weight > 0)
    if weight:
        assert [float(s["pulling_away"]) for s in seen] == pytest.approx(terms, rel=1e-12)


def test_codes_come_out_of_the_forward_that_gives_the_energies() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 1, 8, 8)
    for D in (
        Discriminator((1, 8, 8), hidden=(8,), code=3),
        convolutional_autoencoder.Discriminator((1, 8, 8), code=3, width=2),
    ):
        calls: list[int] = []
        D.encoder[0].register_forward_hook(lambda *_: calls.append(1))  # noqa: B023
        energies, codes = D.with_code(x)
        assert codes.shape == (4, 3)
        assert torch.equal(energies, D(x))
    assert calls == [1, 1]


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (BEGANStep, {"gamma": 1.5}, "gamma must lie in"),
        (BEGANStep, {"rate": 0.0}, "rate must be finite"),
        (BEGANStep, {"accumulate": 2}, "accumulate is 2; allowed is 1: BEGAN's balance k moves"),
        (BEGANStep, {"loss": "hinge"}, "loss is given, but BEGANStep has its own"),
        (EBGANStep, {"margin": 0.0}, "margin must be finite and above 0"),
        (EBGANStep, {"pulling_away": -1.0}, "pulling_away is -1.0; allowed are finite numbers"),
        (BEGANStep, {"gamma": "x"}, r"gamma must lie in \[0, 1\], got 'x'"),
        (BEGANStep, {"rate": True}, "rate must be finite and above 0, got True"),
        (EBGANStep, {"margin": None}, "margin must be finite and above 0, got None"),
        (EBGANStep, {"pulling_away": "x"}, "pulling_away is 'x'; allowed are finite numbers"),
        (EBGANStep, {"loss": "hinge"}, "loss is given, but EBGANStep has its own"),
    ],
)
def test_settings_that_are_not_allowed_are_named(
    kind: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        kind(*parts(), **settings)


def test_the_pulling_away_term_leaves_a_class_head_its_part_of_gs_loss() -> None:
    class Classifies(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

        def with_code(self, images: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
            code = self.code(images.flatten(1))
            return (code.square().mean(1), self.head(code)), code

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return self.with_code(images)[0]

    torch.manual_seed(0)
    G, D = conditional_mlp.Generator(2, 3, SHAPE, hidden=(5,)), Classifies()
    z, labels = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    (energies, logits), codes = D.with_code(G(z, labels))
    expected = energies.mean() + 0.1 * pulling_away_term(codes) + F.cross_entropy(logits, labels)
    step = EBGANStep(G, D, *(gan_adam(m.parameters()) for m in (G, D)), pulling_away=0.1)
    loss, _ = step.phase_loss("G", {"image": torch.zeros(4, *SHAPE), "z": z, "label": labels})
    torch.testing.assert_close(loss, expected)


def test_the_pulling_away_term_needs_codes() -> None:
    G, _, g_optimizer, _ = parts(torch.float32)
    D = mlp.Discriminator(SHAPE, hidden=(8,), output="logit")
    with pytest.raises(ConfigError, match=r"D \(Discriminator\) has no method with_code"):
        EBGANStep(G, D, g_optimizer, gan_adam(D.parameters()), pulling_away=0.1)


def test_the_curves_name_the_energies_and_the_balance() -> None:
    labels = [curve.label for curve in run().curves()]
    assert labels == ["loss", "mean energy", "balance"]
