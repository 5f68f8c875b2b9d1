"""What tells the games on the same networks apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gankit import recipes
from gankit.losses import AdversarialLoss, resolve
from gankit.runs.build import build_trainer


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("mmgan", "minimax"),
        ("nsgan", "non-saturating"),
        ("lsgan", "least-squares"),
        ("rgan", "relativistic-average"),
    ],
)
def test_a_recipe_plays_its_game(name: str, loss: str) -> None:
    trainer = build_trainer(recipes.get(name).config.updated(device="cpu"))
    assert trainer.gan_step.loss.name == loss
    assert trainer.gan_step.from_logits


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_only_the_minimax_generator_saturates_while_d_wins(seed: int) -> None:
    """D learns alone for 60 steps; then G's gradient under minimax is at most a tenth."""
    config = recipes.get("mmgan").config.updated(device="cpu", seed=seed, n_critic=1000)
    trainer = build_trainer(config)
    trainer.fit(steps=60)
    step = trainer.gan_step
    step.D.eval()

    def gradient_norm(game: AdversarialLoss) -> Tensor:
        z = torch.randn(60, 100, generator=torch.Generator().manual_seed(1))
        loss = game.generator(step.D(step.G(z)))
        gradients = torch.autograd.grad(loss, list(step.G.parameters()))
        return torch.stack([g.norm() for g in gradients]).norm()

    saturating = gradient_norm(step.loss)
    assert 0 < saturating <= 0.1 * gradient_norm(resolve("non-saturating", from_logits=True))
