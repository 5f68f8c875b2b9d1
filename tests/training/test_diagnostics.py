"""Each warning on a run built to fail that way, and none on runs that do well."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from gankit import recipes
from gankit.data import BatchSampler, ImageData
from gankit.errors import ConfigError
from gankit.runs.build import build_trainer
from gankit.training import (
    Diagnostics,
    DivergedError,
    GANStep,
    Trainer,
    clip_gradients,
    gan_adam,
)
from gankit.training.diagnostics import Classes, Health, complaints, look
from tests.training.nets import SHAPE, small_discriminator, small_generator
from tests.training.test_trainer import everything, make_trainer


def blobs(n: int = 240) -> ImageData:
    """Images of four classes, with labels: a bright quarter on dark ground."""
    labels = torch.arange(n) % 4
    images = torch.randint(0, 40, (n, *SHAPE), generator=torch.Generator().manual_seed(1))
    for label in range(4):
        top, left = 3 * (label // 2), 3 * (label % 2)
        images[labels == label, :, top : top + 3, left : left + 3] += 200
    return ImageData(images.to(torch.uint8), labels)


def run(steps: int, *, g_lr: float, d_lr: float, seed: int = 0, **settings: Any) -> Diagnostics:
    torch.manual_seed(seed)
    G, D = small_generator(), small_discriminator(0.0, "logit")
    optimizers = gan_adam(G.parameters(), g_lr), gan_adam(D.parameters(), d_lr)
    data, watch = blobs(), Diagnostics(every=1, after=40)
    sampler = BatchSampler(len(data), 24, generator=torch.Generator().manual_seed(seed))
    step = GANStep(G, D, *optimizers, **settings)
    Trainer(step, data, sampler, callbacks=[watch], log_every=20).fit(steps=steps)
    return watch


def starts(found: Sequence[str]) -> set[str]:
    return {sentence.split(":")[0].split(" is too ")[0] for sentence in found}


# One seed shows that each warning comes, more of them that it is no matter of luck.
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_strong_d_and_a_vanishing_gradient(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        watch = run(360, g_lr=1e-7, d_lr=2e-2, seed=seed, loss="minimax")
    said = "\n".join(watch.found)
    assert "D is too strong: it takes 100% of the images for what they are" in said
    assert "G's gradient vanishes: its norm is " in said
    assert "D is too weak" not in said
    assert len([r for r in caplog.records if "D is too strong" in r.getMessage()]) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_weak_d(seed: int) -> None:
    watch = run(160, g_lr=1e-7, d_lr=1e-7, seed=seed)
    assert any(s.startswith("D is too weak: it takes ") for s in watch.found)
    assert not any("too strong" in s for s in watch.found)


@pytest.mark.parametrize("seed", SEEDS)
def test_mode_collapse(seed: int) -> None:
    watch = run(200, g_lr=2e-2, d_lr=1e-4, seed=seed)
    (said,) = [s for s in watch.found if s.startswith("Mode collapse: ")]
    assert "of 4 classes" in said


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_ends_the_run_with_advice(value: float) -> None:
    trainer = make_trainer(Diagnostics(every=1, after=1), log_every=2)
    with torch.no_grad():
        next(trainer.gan_step.G.parameters()).fill_(value)
    with pytest.raises(DivergedError, match="is not finite; try a smaller learning rate"):
        trainer.fit(steps=10)


def test_running_statistics_must_be_finite_and_masks_need_not() -> None:
    trainer = make_trainer()
    D = trainer.gan_step.D
    D.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    trainer.check_finite()
    D.norm = torch.nn.BatchNorm1d(2)
    trainer.check_finite()
    D.norm.running_var[1] = math.inf
    with pytest.raises(DivergedError, match=r"norm\.running_var of D is not finite"):
        trainer.check_finite()


def test_averages_of_the_optimizers_must_be_finite() -> None:
    """A checkpoint with others would be refused at a resume."""
    trainer = make_trainer()
    trainer.fit(steps=2)
    optimizer = trainer.gan_step.d_optimizer
    weight = next(trainer.gan_step.D.parameters())
    weight.grad = torch.full_like(weight, 1e25)  # its square is more than float32 holds
    optimizer.step()
    assert all(bool(value.isfinite().all()) for value in trainer.gan_step.D.state_dict().values())
    with pytest.raises(DivergedError, match=r"exp_avg_sq of D's optimizer is not finite"):
        trainer.check_finite()


HEALTHY = Health(0.7, 0.3, 0.3, 1.0, 0.9, 0.3, 9, 10, 1.0)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"accuracy": 1.0, "logit_gap": 20.0}, "strong D"),
        ({"accuracy": 0.5, "distance": 1.2}, "weak D"),
        ({"diversity": 0.1}, "mode collapse"),
        ({"diversity": 0.6, "modes": 1}, "mode collapse"),
        ({"g_gradient": 1e-7}, "vanishing gradient"),
    ],
)
def test_each_complaint_has_its_sign(changes: dict[str, Any], name: str) -> None:
    assert complaints(HEALTHY) == {}
    assert list(complaints(replace(HEALTHY, **changes))) == [name]
    scores = {"accuracy": math.nan, "false_positives": math.nan, "logit_gap": math.nan}
    assert complaints(replace(HEALTHY, **scores, distance=2.0)) == {}
    # At the game's end D cannot tell, and nothing is wrong.
    assert complaints(replace(HEALTHY, accuracy=0.5)) == {}


def test_looking_changes_nothing() -> None:
    plain = make_trainer()
    plain.fit(steps=12)
    watched = make_trainer(Diagnostics(every=1, after=1))
    watched.fit(steps=12)
    pairs = zip(everything(plain), everything(watched), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert watched.gan_step.D.training
    health = look(watched)
    assert health == look(watched)
    assert (health.modes, health.classes) == (0, 0)
    assert health.false_positives + health.false_negatives == pytest.approx(
        2 * (1 - health.accuracy)
    )


def test_a_resumed_run_counts_on() -> None:
    watch = Diagnostics(every=1, after=1)
    make_trainer(watch).fit(steps=12)
    again = Diagnostics(every=1, after=1)
    again.load_state_dict(watch.state_dict())
    assert again.state_dict() == watch.state_dict()
    assert again.state_dict()["logs"] == 3


def test_clipping_hides_no_gradient() -> None:
    trainer = make_trainer()
    clip_gradients(trainer.gan_step.g_optimizer, 1e-5)
    trainer.fit(steps=4)
    assert look(trainer).g_gradient > 1e-4
    assert "vanishing gradient" not in complaints(look(trainer))


def test_modes_are_counted_on_sorted_data_too() -> None:
    labels = torch.arange(6000) // 1500
    images = (60 * labels)[:, None, None, None].expand(-1, *SHAPE).to(torch.uint8)
    trainer = make_trainer()
    trainer.data = ImageData(images.contiguous(), labels)
    assert look(trainer).classes == 4


def test_the_classes_are_gathered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Classes] = []
    of = Classes.of
    monkeypatch.setattr(Classes, "of", lambda data: found.append(of(data)) or found[-1])
    watch = Diagnostics(every=1, after=1)
    trainer = make_trainer(watch)
    trainer.data = blobs()
    trainer.fit(steps=16)
    assert len(found) == 1
    assert watch.health is not None
    assert watch.health.classes == 4
    assert watch.health == look(trainer) == look(trainer, classes=found[0])
    for label in range(4):
        own = trainer.data.gather((trainer.data.labels == label).nonzero().flatten())
        torch.testing.assert_close(found[0].means[label], own.flatten(1).double().mean(0))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="patience is 0"):
        Diagnostics(patience=0)


def small(family: str, **settings: Any) -> dict[str, Any]:
    return {"class_path": f"gankit.models.{family}", "init_args": settings}


NARROW = {
    "generator": small("dcgan.Generator", width=16),
    "discriminator": small("dcgan.Discriminator", width=16),
}


def silent(recipe: str, steps: int, watch: Diagnostics, **changes: Any) -> None:
    config = recipes.get(recipe).config.updated(steps=steps, device="cpu", **changes)
    build_trainer(config, callbacks=[watch]).fit(steps=steps)
    assert watch.health is not None
    assert watch.found == []


@pytest.mark.parametrize("seed", SEEDS)
def test_silence_on_a_ring_of_points(seed: int) -> None:
    watch = Diagnostics(every=2, after=60)
    silent("gan-2d", 700, watch, seed=seed)
    assert watch.state_dict()["logs"] == 14
    assert watch.health is not None
    assert watch.health.modes >= 6
    assert watch.health.classes == 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("recipe", "steps", "changes"),
    [("gan", 1600, {}), ("dcgan", 1000, NARROW), ("wgan-gp", 3600, {})],
)
def test_silence_where_all_is_well(
    recipe: str, steps: int, changes: dict[str, Any], seed: int
) -> None:
    silent(recipe, steps, Diagnostics(), seed=seed, **changes)


@pytest.mark.parametrize(
    ("loss", "advice", "absent"),
    [
        ("minimax", "Try the non-saturating loss in place of the minimax one", "learning rate"),
        ("non-saturating", "Try a lower learning rate, a weaker D, or a Wasserstein", "minimax"),
        ("wasserstein", "Try a lower learning rate, a weaker D.", "a Wasserstein"),
    ],
)
def test_what_is_there_already_is_no_advice(loss: str, advice: str, absent: str) -> None:
    words = complaints(replace(HEALTHY, g_gradient=1e-7), loss)["vanishing gradient"]
    assert advice in words
    assert absent not in words
