"""EBGAN and BEGAN: what BEGAN remembers, that a run goes on exactly, and what both learn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit import data, recipes
from gankit.cli import main
from gankit.errors import ConfigError
from gankit.losses import began, began_convergence, began_next_k, ebgan
from gankit.metrics import Judge
from gankit.models import mlp
from gankit.models.autoencoder import Discriminator
from gankit.runs.build import build_trainer
from gankit.runs.settings import configured, read_yaml
from gankit.training import GANStep, Trainer, gan_adam, generate
from tests.recipes.classes import nearest_class

SMALL = Path(__file__).parents[2] / "examples" / "began_small.yaml"


def test_ebgan_plays_its_game() -> None:
    real, fake = torch.tensor([0.1, 0.3]), torch.tensor([0.5, 1.5])
    game = ebgan(margin=1.0)
    assert game.discriminator(real, fake).item() == pytest.approx(0.2 + 0.25)
    assert game.generator(fake).item() == pytest.approx(1.0)
    assert game.scores
    with pytest.raises(ConfigError, match="margin must be finite and above 0"):
        ebgan(margin=0.0)
    step = build_trainer(recipes.get("ebgan").config.updated(device="cpu", image_size=8)).gan_step
    assert step.loss.name == "ebgan"


def test_began_remembers_in_its_discriminator() -> None:
    D = nn.Linear(2, 1)
    game = began(D, gamma=0.5, rate=0.1)
    k = torch.zeros(())
    for turn in range(1, 4):
        real, fake = torch.tensor([[0.8], [1.2]]) * turn, torch.tensor([[0.1], [0.3]])
        loss = game.discriminator(real, fake)
        assert loss.item() == pytest.approx(turn - k.item() * 0.2)
        new = torch.tensor([[0.4]])
        assert game.generator(new).item() == pytest.approx(0.4)
        k = began_next_k(k, real, new, gamma=0.5, rate=0.1)
        torch.testing.assert_close(D.get_buffer("began_k"), k)
        measure = began_convergence(real, new, gamma=0.5)
        torch.testing.assert_close(D.get_buffer("began_measure"), measure)
    assert k.item() == pytest.approx(0.1 * (0.1 + 0.6 + 1.1))
    assert set(D.state_dict()) > {"began_k", "began_real", "began_measure"}
    with pytest.raises(ConfigError, match="gamma must lie in"):
        began(D, gamma=1.5)
    with pytest.raises(ConfigError, match="rate must be finite"):
        began(D, rate=0.0)


def test_a_step_of_began_is_the_papers() -> None:
    def parts() -> tuple[nn.Module, nn.Module, Any, Any]:
        torch.manual_seed(0)
        G = mlp.Generator(3, (1, 2, 2), hidden=(8,)).double()
        D = Discriminator((1, 2, 2), hidden=(8,), code=2, error="absolute").double()
        return G, D, gan_adam(G.parameters(), 1e-2), gan_adam(D.parameters(), 1e-2)

    images = torch.rand(7, 6, 1, 2, 2, dtype=torch.float64) * 2 - 1
    G, D, g_optimizer, d_optimizer = parts()
    step = GANStep(G, D, g_optimizer, d_optimizer, began(D, rate=0.5))
    assert step.paired
    torch.manual_seed(4)
    for real in images:
        step(real)
    plain_G, plain_D, g_optimizer, d_optimizer = parts()
    torch.manual_seed(4)
    k = 0.0
    for real in images:
        fake = plain_G(torch.randn(6, 3, dtype=torch.float64))
        d_optimizer.zero_grad()
        error = plain_D(real).mean()
        (error - k * plain_D(fake.detach()).mean()).backward()
        d_optimizer.step()
        g_optimizer.zero_grad()
        g_error = plain_D(plain_G(torch.randn(6, 3, dtype=torch.float64))).mean()
        g_error.backward()
        g_optimizer.step()
        k = min(max(k + 0.5 * float((0.5 * error - g_error).detach()), 0.0), 1.0)
    assert D.get_buffer("began_k").item() == pytest.approx(k, abs=1e-6)
    for mine, theirs in ((G, plain_G), (D, plain_D)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)  # k is float32


def weights(path: str) -> dict[str, Tensor]:
    state = torch.load(path, weights_only=True)
    return {k: v for k, v in state["gan_step"].items() if k != "_extra_state"}


@pytest.mark.parametrize("name", ["ebgan", "began"])
def test_a_run_resumes_exactly(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    lines = "image_size: 8\ngrid_rows: 2\ngrid_columns: 2\ndevice: cpu\n"
    if name == "ebgan":
        lines += "generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [16]}}\n"
    Path("small.yaml").write_text(lines)
    start = ["train", name, "--config", "small.yaml", "--quiet"]
    assert main([*start, "--steps", "20", "--out", "straight"]) == 0
    assert main([*start, "--steps", "9", "--out", "halves"]) == 0
    again = ["train", name, "--out", "halves", "--resume", "--steps", "20", "--quiet"]
    assert main(again) == 0
    straight, halves = weights("straight/checkpoint.pt"), weights("halves/checkpoint.pt")
    assert straight.keys() == halves.keys()
    assert all(torch.equal(straight[key], halves[key]) for key in straight)
    if name == "began":
        assert straight["k"] > 0
    assert main(["sample", "straight", "--n", "2"]) == 0


def began_twin(gamma: float, seed: int) -> Trainer:
    """The recipe on 8x8 digits, with networks of 8 maps that learn within seconds."""
    config = configured(recipes.get("began").config, read_yaml(SMALL), str(SMALL))
    return build_trainer(config.updated(device="cpu", seed=seed, gamma=gamma))


def spread(images: Tensor) -> float:
    """The mean distance between two images."""
    return float(torch.pdist(images.flatten(1)).mean())


GAMMAS = (0.2, 0.35, 0.6)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 9, 12))]
)
def test_began_converges_and_diversity_rises_with_gamma(seed: int) -> None:
    """The bounds leave room for all of seeds 0 to 12; 9 and 12 have the fewest classes."""
    spreads, classes, balances = [], [], []
    for gamma in GAMMAS:
        trainer = began_twin(gamma, seed)
        D = trainer.gan_step.D
        trainer.fit(steps=50)
        early = float(trainer.gan_step.measure)
        trainer.fit(steps=600)
        assert float(trainer.gan_step.measure) < 0.65 * early
        real = trainer.data.normalized()[:500]
        fakes = generate(trainer.gan_step.G, 500, seed=1, distribution="uniform").clamp(-1, 1)
        spreads.append(spread(fakes) / spread(real))
        classes.append(int((torch.bincount(nearest_class(fakes), minlength=10) >= 5).sum()))
        with torch.no_grad():
            balances.append(float(D(fakes).mean() / D(real).mean()))
    # Copies of one image have no spread; a k that stays at 0 makes the three runs the same.
    assert spreads[0] > 0.08
    assert spreads[1] > spreads[0] + 0.05
    assert spreads[2] > spreads[1] + 0.05
    assert spreads[2] > 1.6 * spreads[0]
    assert classes[2] >= 5
    assert classes[2] > classes[0]
    # G's energy over that of real images is what gamma asks for.
    for gamma, balance in zip(GAMMAS, balances, strict=True):
        assert 0.6 * gamma < balance < 1.6 * gamma


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_began_draws_most_digits_at_28x28(seed: int) -> None:
    config = recipes.get("began").config.updated(device="cpu", seed=seed)
    trainer = build_trainer(config)
    assert config.steps is not None
    trainer.fit(steps=100)
    early = float(trainer.gan_step.measure)
    trainer.fit(steps=config.steps)
    assert float(trainer.gan_step.measure) < 0.65 * early
    fakes = generate(trainer.gan_step.G, 1000, seed=1, distribution="uniform").clamp(-1, 1)
    assert spread(fakes) > 0.75 * spread(trainer.data.normalized()[:1000])
    verdict = Judge.fit(data.load("digits", split="all"), seed=0)(fakes)
    assert verdict.passed(min_classes=7, min_confidence=0.6, min_accuracy=0.97), str(verdict)
