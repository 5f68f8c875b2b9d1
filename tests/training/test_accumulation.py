"""Gradients that add up over parts of a batch are those of the batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit import recipes
from gankit.errors import ConfigError
from gankit.nn import BatchNormAct1d
from gankit.runs.build import build_trainer
from gankit.training import GANStep, Noise, Trainer, gan_adam
from tests.training.nets import SHAPE, Z_DIM, small_discriminator, small_generator
from tests.training.test_step_options import (
    CLASSES,
    ConditionalDiscriminator,
    ConditionalGenerator,
)


def slope(D: nn.Module, real: Tensor, fake: Tensor, critic_args: tuple[Tensor, ...] = ()) -> Tensor:
    """The mean squared gradient of D at the real images: a penalty that draws nothing."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(D(real, *critic_args).sum(), real, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()


def train(G: nn.Module, D: nn.Module, *, labelled: bool = False, **settings: Any) -> list[Tensor]:
    """All scalars and, at the end, all weights of five steps on batches of 12 in float64."""
    G, D = copy.deepcopy(G).double(), copy.deepcopy(D).double()
    noise = Noise((Z_DIM,), dtype=torch.float64, generator=torch.Generator().manual_seed(11))
    step = GANStep(
        G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), noise=noise, **settings
    )
    random = torch.Generator().manual_seed(5)
    seen: list[Tensor] = []
    for _ in range(5):
        real = torch.rand(12, *SHAPE, dtype=torch.float64, generator=random) * 2 - 1
        labels = torch.randint(CLASSES, (12,), generator=random)
        seen += step(real, *([labels] if labelled else [])).values()
    weights = [*G.parameters(), *D.parameters(), *(step.ema.parameters() if step.ema else ())]
    return [t.detach().nan_to_num() for t in (*seen, *weights)]


@pytest.mark.parametrize(
    "settings",
    [
        {"paired": True},
        {"paired": False},
        {"reuse_fakes": True},
        {"n_critic": 2, "ema": 0.9, "clip_weights": 0.3},
        {"loss": "wasserstein", "penalty": slope, "penalty_every": 2},
        {"loss": "relativistic"},
    ],
    ids=str,
)
def test_any_number_of_parts_trains_as_the_whole_batch(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    networks = small_generator(), small_discriminator(0.0, "logit")
    whole = train(*networks, **settings)
    for parts in (2, 12):
        torch.testing.assert_close(
            train(*networks, accumulate=parts, **settings), whole, rtol=1e-9, atol=1e-10
        )


def test_each_part_has_its_labels() -> None:
    torch.manual_seed(0)
    networks = ConditionalGenerator(), ConditionalDiscriminator()
    settings: dict[str, Any] = {"labelled": True, "penalty": slope}
    parts, whole = train(*networks, accumulate=3, **settings), train(*networks, **settings)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-10)


def test_networks_see_a_part_at_a_time_and_learn_once_a_turn() -> None:
    torch.manual_seed(0)
    G, D = small_generator(), small_discriminator()
    optimizers = gan_adam(G.parameters()), gan_adam(D.parameters())
    step = GANStep(G, D, *optimizers, accumulate=4, paired=False)
    sizes: list[int] = []
    steps: list[object] = []
    for network in (G, D):
        network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    for optimizer in optimizers:
        optimizer.register_step_pre_hook(lambda *_: steps.append(_))
    step(torch.rand(12, *SHAPE) * 2 - 1)
    assert sizes == [3] * (4 * 3 + 4 * 2)
    assert len(steps) == 2
    assert "Gradients add up over 4 equal parts of each batch." in step.notes


def test_batch_norm_takes_the_statistics_of_each_part() -> None:
    torch.manual_seed(0)
    D = nn.Sequential(nn.Flatten(), BatchNormAct1d(36, activation="none"), nn.Linear(36, 1))
    norm, G = D[1], small_generator()
    assert isinstance(norm, BatchNormAct1d)
    step = GANStep(
        G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), accumulate=2, from_logits=True
    )
    step(torch.rand(12, *SHAPE) * 2 - 1)
    # Real and fake images in D's turn, fakes in G's: each in two parts.
    assert norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == 6


@pytest.mark.parametrize(
    ("accumulate", "words"),
    [(0, "accumulate is 0; allowed are integers from 1"), (5, "accumulate is 5, which does not")],
)
def test_what_cannot_be_divided_is_refused(accumulate: int, words: str) -> None:
    G, D = small_generator(), small_discriminator()
    with pytest.raises(ConfigError, match=words):
        GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), accumulate=accumulate)(
            torch.rand(12, *SHAPE)
        )


def make(**changes: Any) -> Trainer:
    small = {"class_path": "gankit.models.mlp.Generator", "init_args": {"hidden": [8]}}
    discriminator = {
        "class_path": "gankit.models.mlp.Discriminator",
        "init_args": {"hidden": [8], "dropout": 0.0},
    }
    config = recipes.get("gan").config.updated(
        steps=4,
        device="cpu",
        batch_size=12,
        generator=small,
        discriminator=discriminator,
        **changes,
    )
    return build_trainer(config)


def test_a_run_is_told_by_its_config() -> None:
    one, three = make(clip_gradients=0.1), make(clip_gradients=0.1, accumulate=3)
    for trainer in (one, three):
        # D draws a seed for its masks in each pass, also where none is dropped.
        trainer.gan_step.noise = Noise((100,), generator=torch.Generator().manual_seed(1))
        trainer.fit(steps=1)
    for a, b in zip(one.gan_step.G.parameters(), three.gan_step.G.parameters(), strict=True):
        assert float((a - b).detach().abs().mean()) < 1e-5  # one step of Adam goes 2e-4 far
    with pytest.raises(ConfigError, match="accumulate is 5, which does not divide the 12 samples"):
        make(accumulate=5)
    with pytest.raises(ConfigError, match="has no argument 'n_critic'; it has loss"):
        build_trainer(recipes.get("ae").config.updated(steps=4, device="cpu", n_critic=2))
