"""What training would stumble on is found out before a run is there."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import recipes
from gankit.cli.streams import warnings_as_sentences
from gankit.data import ImageData
from gankit.errors import ConfigError, GankitError, GankitWarning
from gankit.losses import AdversarialLoss
from gankit.runs.build import build_trainer
from gankit.training import GANStep
from gankit.training.entries import check_plain

MLP = "gankit.models.mlp"
ONE_IMAGE = r"one image.*a larger batch_size, a smaller accumulate or fewer processes"


def spec(class_path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": arguments}


def build(recipe: str, **settings: Any) -> Any:
    small = {"steps": 4, "batch_size": 4}
    return build_trainer(recipes.get(recipe).config.updated(**{**small, **settings}))


G_NORM = spec(f"{MLP}.Generator", norm="batch", hidden=[8])
D_NORM = spec(f"{MLP}.Discriminator", norm="batch", hidden=[8])


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("gan", {"generator": G_NORM, "batch_size": 1}),
        ("gan", {"generator": G_NORM, "accumulate": 4}),
        ("gan", {"generator": G_NORM, "batch_size": 1, "eval_fakes": True}),
        ("gan", {"discriminator": D_NORM, "batch_size": 1}),
        ("gan", {"discriminator": D_NORM, "accumulate": 4, "paired": False}),
        ("ae", {"generator": G_NORM, "batch_size": 1}),
        ("vae", {"generator": G_NORM, "batch_size": 1}),
        (
            "cgan",
            {
                "generator": spec(
                    "gankit.models.conditional_mlp.Generator", norm="batch", hidden=[8]
                ),
                "batch_size": 1,
            },
        ),
        ("ebgan", {"pulling_away": 0.1, "batch_size": 1}),
    ],
)
def test_a_part_of_one_image_that_cannot_be_trained_on_is_named(
    recipe: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=ONE_IMAGE) as caught:
        build(recipe, **settings)
    assert "\n" not in str(caught.value)
    build(recipe, **{**settings, "batch_size": 4, "accumulate": 1})


@pytest.mark.parametrize("recipe", recipes.names())
def test_every_recipe_trains_on_one_image_or_says_that_it_cannot(recipe: str) -> None:
    large = recipes.get(recipe).config.image_size > 64
    sizes: dict[str, Any] = {"image_size": 64} if large else {}
    if recipe in ("sagan", "biggan", "biggan-deep"):
        networks = {
            f"gankit.models.{recipe.replace('-', '_')}.{n}": n
            for n in ("Generator", "Discriminator")
        }
        sizes |= {name.lower(): spec(path, width=2) for path, name in networks.items()}
    if recipe == "segan":  # windows of a second
        sizes = {"data": spec("toy:speech", window=1024, n=20)}
    if recipe == "progan":
        both = {"generator": "Generator", "discriminator": "Discriminator"}
        sizes = {
            name: spec(f"gankit.models.progan.{kind}", width=8) for name, kind in both.items()
        } | {"image_size": 16}
    try:
        trainer = build(recipe, batch_size=1, steps=2, epochs=None, **sizes)
    except GankitError:
        return
    trainer.fit(steps=1)


def fussy_penalty(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    return torch.zeros(()) + "1e1"  # type: ignore[operator]


def long_penalty(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    return D(real)  # type: ignore[no-any-return]


class InPlace(nn.Module):
    """Its forward is right, and its gradient cannot be computed."""

    def __init__(self, image_shape: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x.flatten(1)).sigmoid()
        return y.sub_(0.5)  # type: ignore[no-any-return]


class Known(nn.Module):
    """A conditional generator of the classes 0 to ``known`` - 1 alone."""

    def __init__(self, z_dim: int, n_classes: int, known: int) -> None:
        super().__init__()
        self.z_dim, self.n_classes = z_dim, n_classes
        self.layer, self.label = nn.Linear(z_dim, 784), nn.Embedding(known, 784)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return (self.layer(z) + self.label(labels)).tanh().view(-1, 1, 28, 28)


def sorted_digits() -> ImageData:
    """Sorted by class, so that the first images are of one."""
    labels = torch.arange(10).repeat_interleave(20)
    return ImageData(torch.randint(0, 256, (200, 1, 28, 28)).to(torch.uint8), labels)


HERE = "tests.recipes.test_checked_first"


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        ("gan", {"penalty": f"{HERE}.fussy_penalty"}, r"the penalty fails .*\(TypeError\)"),
        ("gan", {"penalty": f"{HERE}.fussy_penalty", "penalty_every": 9}, "the penalty fails"),
        ("wgan-gp", {"penalty": spec("gankit.losses.gradient_penalty", weight="1e1")}, "penalty"),
        ("gan", {"penalty": f"{HERE}.long_penalty"}, r"penalty returned shape \[4, 1\]"),
        ("gan", {"discriminator": f"{HERE}.InPlace"}, "the gradient of D's loss fails .*inplace"),
        (
            "gan",
            {"schedule": spec("torch.optim.lr_scheduler.StepLR", step_size="x")},
            "schedule StepLR cannot go on",
        ),
        (
            "gan",
            {"schedule": spec("torch.optim.lr_scheduler.OneCycleLR", max_lr=1.0, total_steps=3)},
            "OneCycleLR cannot go on: it ends after 3 steps, and the run has 4",
        ),
        (
            "gan",
            {"schedule": spec("torch.optim.lr_scheduler.StepLR", step_sise=3)},
            "init_args of schedule .* do not fit: .*; did you mean step_size\\?",
        ),
        (
            "gan",
            {"schedule": spec("gankit.training.schedules.LinearDecay", constnt=3)},
            "init_args of schedule .*'constnt'; did you mean constant\\?",
        ),
        ("began", {"accumulate": 4}, "accumulate is 4.*BEGAN's balance k moves once"),
        *[
            (
                "cgan",
                {
                    "data": f"{HERE}.sorted_digits",
                    "generator": spec(f"{HERE}.Known", known=9),
                    "batch_size": batch_size,
                },
                r"the forward of G \(Known\) fails .*\(IndexError\)",
            )
            for batch_size in (1, 2, 16)
        ],
    ],
)
def test_what_training_would_meet_is_named(
    recipe: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build(recipe, **settings)
    assert "\n" not in str(caught.value)


soft = AdversarialLoss(
    "soft",
    lambda real, fake: (F.softplus(-real) + F.softplus(fake)).mean(),
    lambda fake: F.softplus(-fake).mean(),
)


def soft_loss(real: Tensor, fake: Tensor) -> Tensor:
    return soft.discriminator(real, fake)


def made(slope: float = 1.0) -> AdversarialLoss:
    return soft


@pytest.mark.parametrize("name", ["soft", "made"])
def test_a_loss_is_named_by_what_it_is_or_by_what_makes_it(name: str) -> None:
    trainer = build("gan", loss=f"{HERE}.{name}")
    assert isinstance(trainer.gan_step, GANStep)
    assert trainer.gan_step.loss.name == "soft"
    trainer.fit(steps=1)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (f"{HERE}.soft_loss", "is a function of real, fake; allowed are an AdversarialLoss"),
        ("gankit.losses.hinge_discriminator_loss", "is a function of real, fake; allowed"),
        (spec(f"{HERE}.soft", slope=2.0), "is a made AdversarialLoss, which takes none"),
        (f"{HERE}.HERE", "is a str; allowed is a callable"),
        (f"{HERE}.spec", "missing a required argument: 'class_path'"),
    ],
)
def test_what_is_no_loss_is_named(loss: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build("gan", loss=loss)


def test_a_schedule_as_long_as_the_run_is_fine() -> None:
    one_cycle = spec("torch.optim.lr_scheduler.OneCycleLR", max_lr=1e-3, total_steps=4)
    build("gan", schedule=one_cycle).fit(steps=4)


def test_batch_norm_under_a_penalty_is_said_at_the_start() -> None:
    critic = spec(f"{MLP}.Discriminator", norm="batch", hidden=[8], output="logit")
    with pytest.warns(GankitWarning, match="mixes samples"):
        build("wgan-gp", discriminator=critic)


def test_warnings_are_sentences_on_the_command_line(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings_as_sentences():
        warnings.warn("one sentence", GankitWarning, stacklevel=1)
    with warnings_as_sentences(silent=True):
        warnings.warn("another", GankitWarning, stacklevel=1)
    assert caplog.messages == ["one sentence"]
    assert "GankitWarning" not in capsys.readouterr().err
    with pytest.warns(UserWarning, match="of others"), warnings_as_sentences():
        warnings.warn("of others", UserWarning, stacklevel=1)


def test_the_check_moves_nothing() -> None:
    """What follows the check draws the numbers and starts from the weights of a run without it."""
    results = []
    for again in (False, True):
        trainer = build("wgan-gp", generator=G_NORM, n_critic=1)
        if again:
            real = trainer.data.gather(torch.arange(4))
            trainer.gan_step.dry_run(real)
        assert all(p.grad is None for p in trainer.gan_step.D.parameters())
        assert not trainer.gan_step.d_optimizer.state
        trainer.fit(steps=2)
        results.append([*trainer.gan_step.G.state_dict().values()])
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_a_run_takes_numpys_numbers_and_keeps_pythons() -> None:
    config = recipes.get("gan").config.updated(
        steps=np.int64(2), batch_size=np.int32(4), lr=np.float32(1e-3), seed=np.int64(3),
        z_dim=np.int16(7), ema=np.float32(0.5), clip_weights=np.float64(0.1), n_critic=np.uint8(1),
        betas=(np.float32(0.5), np.float64(0.9)), eval_fakes=np.bool_(True),
        generator=spec(f"{MLP}.Generator", hidden=[np.int64(8)], negative_slope=np.float32(0.25)),
    )  # fmt: skip
    trainer = build_trainer(config)
    trainer.fit(steps=np.int64(2))  # type: ignore[arg-type]
    check_plain("state", trainer.state_dict())
    plain = recipes.get("gan").config.updated(
        steps=2, batch_size=4, lr=float(np.float32(1e-3)), seed=3, z_dim=7, ema=0.5,
        clip_weights=0.1, n_critic=1, betas=(0.5, 0.9), eval_fakes=True,
        generator=spec(f"{MLP}.Generator", hidden=[8], negative_slope=0.25),
    )  # fmt: skip
    assert config == plain
    assert all(type(value) is type(getattr(plain, name)) for name, value in vars(config).items())


def test_a_network_that_refuses_its_input_says_so_alone() -> None:
    config = recipes.get("cyclegan-toy").config.updated(device="cpu", batch_size=1, image_size=18)
    with pytest.raises(GankitError, match="multiples of 4") as caught:
        build_trainer(config)
    assert "each part of a batch" not in str(caught.value)
