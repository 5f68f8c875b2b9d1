"""GANs on points reach the distributions they are trained on."""

from __future__ import annotations

import pytest
import torch

from gankit import recipes
from gankit.data.toy import TOYS
from gankit.metrics import ModeCount, count_modes, ks_distance
from gankit.runs.build import build_trainer
from gankit.training import Diagnostics, Trainer
from gankit.training.pictures import generate

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


@pytest.mark.parametrize("seed", SEEDS)
def test_gan_1d_reaches_the_normal_distribution_and_d_cannot_tell(seed: int) -> None:
    trainer = build_trainer(recipes.get("gan-1d").config.updated(device="cpu", seed=seed))
    step = trainer.gan_step
    target = TOYS["normal"]
    normal = torch.distributions.Normal(
        torch.tensor(target.centres[0][0], dtype=torch.float64), target.std[0]
    )

    def distance() -> float:
        fakes = generate(step.sampled, 5000, seed=1, distribution="uniform")
        return ks_distance(fakes, normal.cdf)

    def accuracy() -> float:
        fakes = generate(step.G, 5000, seed=2, distribution="uniform")
        reals = trainer.data.gather(torch.arange(5000))
        with torch.no_grad():
            right = torch.cat([step.D(reals) > 0, step.D(fakes) <= 0])
        return float(right.float().mean())

    assert distance() > 0.5
    trainer.fit(steps=2500)
    # D's answers sway around its score for a draw, so it is asked ten times.
    asked = []
    for steps in range(2550, 3001, 50):
        trainer.fit(steps=steps)
        asked.append(accuracy())
    assert distance() < 0.1
    assert 0.45 <= sum(asked) / len(asked) <= 0.60


def found(trainer: Trainer, toy: str, radius: float) -> ModeCount:
    points = generate(trainer.gan_step.sampled, 2500, seed=1, distribution="uniform")
    return count_modes(points, torch.tensor(TOYS[toy].centres), radius)


def assert_modes_are_found(toy: str, least: int, steps: int, seed: int) -> None:
    """A point counts within three standard deviations of a mode."""
    changes = {"data": f"toy:{toy}", "seed": seed, "device": "cpu"}
    trainer = build_trainer(recipes.get("gan-2d").config.updated(**changes))
    trainer.fit(steps=steps)
    count = found(trainer, toy, 3 * TOYS[toy].std[0])
    assert count.found >= least, str(count)
    assert count.near > 0.2, str(count)  # 0.02 of points spread evenly over [-1, 1]^2


def test_gan_2d_finds_the_modes_of_the_ring() -> None:
    """As in the long run, after fewer steps. The grid needs a minute, so only that run has it."""
    assert_modes_are_found("ring", 7, steps=4500, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(("toy", "least", "steps"), [("ring", 7, 6000), ("grid", 20, 15_000)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gan_2d_finds_the_modes(toy: str, least: int, steps: int, seed: int) -> None:
    assert_modes_are_found(toy, least, steps, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plain_gan_collapses_on_the_ring_and_the_diagnostics_say_so(seed: int) -> None:
    """A small D and Adam's usual momentum: G follows D from mode to mode."""
    networks = "gankit.models.mlp"
    watch = Diagnostics(every=1, after=200)
    config = recipes.get("gan-2d").config.updated(
        device="cpu",
        seed=seed,
        loss="non-saturating",
        penalty=None,
        n_critic=1,
        ema=None,
        z_distribution="normal",
        batch_size=100,
        lr=1e-3,
        betas=(0.9, 0.999),
        log_every=20,
        generator={"class_path": f"{networks}.Generator", "init_args": {"hidden": [64, 64]}},
        discriminator={
            "class_path": f"{networks}.Discriminator",
            "init_args": {"hidden": [16, 16], "dropout": 0.0, "output": "logit"},
        },
    )
    trainer = build_trainer(config, callbacks=[watch])
    trainer.fit(steps=800)
    points = generate(trainer.gan_step.G, 2500, seed=1)
    assert count_modes(points, torch.tensor(TOYS["ring"].centres), radius=0.06).found < 7
    said = [sentence for sentence in watch.found if sentence.startswith("Mode collapse: ")]
    assert said
    assert "of 8 classes are " in said[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_between_two_humps_a_gan_puts_nothing_where_a_normal_distribution_has_its_peak(
    seed: int,
) -> None:
    """The gap is what lies four standard deviations or more from both humps."""
    target = TOYS["bimodal"]
    edge = abs(target.centres[0][0]) - 4 * target.std[0]
    # G is continuous, so it crosses the gap: three layers make the slope there steep enough.
    deep = {"class_path": "gankit.models.mlp.Generator", "init_args": {"hidden": [64, 64, 64]}}
    config = recipes.get("gan-1d").config.updated(
        device="cpu", seed=seed, data="toy:bimodal", generator=deep
    )
    trainer = build_trainer(config)
    trainer.fit(steps=2000)
    points = trainer.data.normalized().double()
    assert (points.abs() < edge).double().mean() < 0.001
    # Maximum likelihood of one normal distribution: the mean and standard deviation of the data.
    fitted = torch.distributions.Normal(points.mean(), points.std(correction=0))
    gap = fitted.cdf(torch.tensor(edge).double()) - fitted.cdf(torch.tensor(-edge).double())
    assert gap >= 0.2
    fakes = generate(trainer.gan_step.sampled, 5000, seed=1, distribution="uniform")
    assert (fakes.abs() < edge).double().mean() <= 0.05
    humps = [(fakes < -edge).double().mean(), (fakes > edge).double().mean()]
    assert min(humps) > 0.2
