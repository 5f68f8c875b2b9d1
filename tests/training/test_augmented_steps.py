"""Steps whose discriminators are shown transformed images: who sees what, p, resume, replays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.data import BatchSampler
from gankit.errors import CheckpointError, ConfigError
from gankit.gans.autoencoder import AutoencoderStep
from gankit.losses import gradient_penalty, least_squares
from gankit.models import autoencoder, conditional_mlp
from gankit.runs.build import build_trainer
from gankit.training import (
    ADA,
    Checkpoint,
    DiffAugment,
    GANStep,
    Step,
    Trainer,
    gan_adam,
    load_checkpoint,
    noise_for,
)
from gankit.training.augmentation import Augmentation
from gankit.training.config import RunConfig
from tests.gans.test_on_the_device import batch, make
from tests.gans.translation_nets import trainer_of
from tests.training.nets import SHAPE, small_discriminator, small_generator, small_images

MAKERS = [DiffAugment, lambda: ADA(p=0.5, images=60)]
FAMILIES = ("began", "ebgan", "sgan", "pix2pix", "cyclegan")


def gan(augment: Augmentation | None, D: nn.Module | None = None, **settings: Any) -> GANStep:
    torch.manual_seed(0)
    G = small_generator()
    D = small_discriminator(0.0, "logit") if D is None else D
    dtype = next(D.parameters()).dtype
    optimizers = (gan_adam(network.to(dtype).parameters(), 1e-3) for network in (G, D))
    return GANStep(G, D, *optimizers, augment=augment, **settings)


class Watched(nn.Module):
    """A D that keeps what it was shown."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 1)).to(dtype)
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images.detach().clone())
        out: Tensor = self.body(images)
        return out


def batch_of(n: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=dtype) * 2 - 1


class Marking(Augmentation):
    """Adds 10 to everything, which tells who has seen it."""

    name, groups, uniforms = "marking", ("all",), 1

    def __init__(self) -> None:
        super().__init__("all")

    def transform(self, images: Tensor, numbers: Any) -> Tensor:
        return images + 10 + numbers.uniform[:, :, None, None]


def test_d_is_shown_nothing_else_and_real_and_generated_get_draws_of_their_own() -> None:
    D = Watched()
    seen: list[Tensor] = []

    def penalty(critic: Any, real: Tensor, fake: Tensor) -> Tensor:
        seen.extend((real, fake))
        return critic(real).sum() * 0

    step = gan(Marking(), D, paired=False, penalty=penalty)
    real = batch_of()
    step(real)
    d_real, d_fake, in_penalty, g_fake = D.shown
    assert all((images > 8.9).all() for images in D.shown)
    assert torch.equal(seen[0], d_real)  # D's input is what a penalty keeps smooth
    assert torch.equal(seen[0], in_penalty)
    assert torch.equal(seen[1], d_fake)
    drawn = d_real - real - 10
    assert drawn.flatten(1).std(1).max() < 1e-5  # one draw per image
    assert drawn.flatten(1)[:, 0].std() > 0.1
    # The body of G moves by one update, so compare the parts after the point of the added number.
    assert not torch.allclose(d_fake - d_real, g_fake - d_real)


def test_generated_images_of_another_shape_are_taken_in_that_of_the_real_ones() -> None:
    class Flat(nn.Module):
        z_dim = 5

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(5, 36)

        def forward(self, z: Tensor) -> Tensor:
            return self.body(z).tanh()

    G, D = Flat(), Watched()
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), augment=DiffAugment())
    step(batch_of())
    assert {images.shape for images in D.shown} == {(8, *SHAPE)}


def test_sampling_and_ds_answer_know_nothing_of_it() -> None:
    plain, augmented = gan(None), gan(ADA(p=1.0))
    x = batch_of()
    assert torch.equal(plain.answer(x), augmented.answer(x))
    panels = [step.panels({"image": x}, seed=0) for step in (plain, augmented)]
    assert all(torch.equal(a.images, b.images) for a, b in zip(*panels, strict=True))
    assert "augment" not in str(sorted(plain.state_dict()))
    assert plain.augmentation is None


@pytest.mark.parametrize("augment", MAKERS)
def test_micro_batches_train_as_the_whole_batch(augment: Callable[[], Augmentation]) -> None:
    ends = []
    for accumulate in (1, 4):
        torch.manual_seed(0)
        noise = noise_for(small_generator().double(), random=torch.Generator().manual_seed(3))
        D = small_discriminator(0.0, "logit").double()
        step = gan(augment(), D, accumulate=accumulate, noise=noise, loss="hinge")
        torch.manual_seed(1)
        for _ in range(5):
            step(batch_of(dtype=torch.float64))
        ends.append(step.state_dict())
    for name in (name for name in ends[0] if name != "_extra_state"):
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("augment", MAKERS)
def test_the_analytic_penalty_is_that_of_double_backward(
    augment: Callable[[], Augmentation],
) -> None:
    ends = []
    for path in ("analytic", "autograd"):
        torch.manual_seed(0)
        D = small_discriminator(0.0, "logit").double()
        penalty = partial(gradient_penalty, path=path, weight=10.0)
        step = gan(augment(), D, penalty=penalty)
        torch.manual_seed(1)
        for _ in range(3):
            step(batch_of(dtype=torch.float64))
        ends.append(list(step.parameters()))
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("augment", MAKERS)
def test_the_families(family: str, augment: Callable[[], Augmentation]) -> None:
    if isinstance(made := augment(), ADA) and family in ("began", "ebgan"):
        with pytest.raises(ConfigError, match="the loss has no output at which D is undecided"):
            make(family, augment=made)(batch(family, 0))
        return
    plain, step = make(family), make(family, augment=made)
    for one in (plain, step):
        torch.manual_seed(2)
        for seed in range(4):
            scalars = one(batch(family, seed))
    assert all(value.isfinite() for value in scalars.values())
    if isinstance(made, ADA):
        assert made.p != 0.5
        assert torch.equal(scalars["augment_p"], made.p)
        assert -1 <= scalars["real_sign"] <= 1
    ours, theirs = (list(one.parameters()) for one in (plain, step))
    assert not all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_labels_stay_and_bf16_and_channels_last_go_with_it() -> None:
    torch.manual_seed(0)
    G = conditional_mlp.Generator(3, 5, SHAPE, hidden=(8,))
    D = conditional_mlp.Discriminator(3, SHAPE, hidden=(8,), output="logit")
    optimizers = gan_adam(G.parameters()), gan_adam(D.parameters())
    step = GANStep(G, D, *optimizers, augment=ADA(p=0.5), precision="bf16", channels_last=True)
    for _ in range(2):
        scalars = step(batch_of(6), torch.arange(6) % 3)
    assert all(value.isfinite() for value in scalars.values())
    assert step.augmentation is not None
    assert step.augmentation.note in step.notes


# --- p ------------------------------------------------------------------------------------------


class Constant(nn.Module):
    """A D that always says the same, whatever it learns."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.weight, self.score = nn.Parameter(torch.zeros(())), score

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).sum(1) * self.weight * 0 + self.score


def trained(score: float, steps: int, loss: Any = "non-saturating", **ada: Any) -> GANStep:
    step = gan(ADA(**ada), Constant(score), loss=loss)
    for _ in range(steps):
        step(batch_of())
    return step


def p_of(step: Step) -> float:
    assert isinstance(step.augmentation, ADA)
    return float(step.augmentation.p)


def test_p_rises_while_d_is_sure_of_real_images_and_falls_while_it_is_not() -> None:
    assert p_of(trained(1.0, 3, images=320)) == 0.0  # not before the fourth update
    assert p_of(trained(1.0, 4, images=320)) == pytest.approx(4 * 8 / 320)
    assert p_of(trained(1.0, 11, images=320)) == pytest.approx(8 * 8 / 320)
    assert p_of(trained(1.0, 8, images=1)) == 1.0
    assert p_of(trained(-1.0, 8, images=320, p=0.5)) == pytest.approx(0.5 - 8 * 8 / 320)
    assert p_of(trained(-1.0, 8, images=1, p=0.5)) == 0.0
    assert p_of(trained(1.0, 8, images=1, p=0.25, target=None)) == 0.25


def test_the_sign_is_that_of_ds_decision() -> None:
    """A score of 0.3 is above 0, the boundary of logits and the hinge loss, and below 0.5."""
    assert p_of(trained(0.3, 4, images=320)) > 0
    assert p_of(trained(0.3, 4, loss="hinge", images=320)) > 0
    assert p_of(trained(0.3, 4, loss="least-squares", images=320, p=0.5)) < 0.5
    assert p_of(trained(0.3, 4, loss=least_squares(1.0, -1.0, 0.0), images=320)) > 0
    probability = gan(ADA(images=320, p=0.5), Constant(0.3), from_logits=False)
    for _ in range(4):
        probability(batch_of())
    assert p_of(probability) < 0.5


@pytest.mark.parametrize("loss", ["wasserstein", "relativistic", "relativistic-average"])
def test_ada_needs_a_loss_by_which_d_decides(loss: str) -> None:
    step = gan(ADA(), loss=loss)
    with pytest.raises(ConfigError, match="the loss has no output at which D is undecided"):
        step.dry_run(batch_of())
    gan(DiffAugment(), loss=loss)(batch_of())


def test_ada_is_refused_by_a_step_that_does_not_tell_it_of_real_images() -> None:
    class Silent(GANStep):
        def observe_real(self, scores: Tensor, boundary: float | None) -> None:
            pass

    torch.manual_seed(0)
    G, D = small_generator(), small_discriminator()
    optimizers = gan_adam(G.parameters()), gan_adam(D.parameters())
    with pytest.raises(ConfigError, match="ada', but Silent does not call observe_real with D's"):
        Silent(G, D, *optimizers, augment=ADA()).dry_run(batch_of())
    Silent(G, D, *optimizers, augment=DiffAugment()).dry_run(batch_of())


def test_a_dry_run_moves_nothing() -> None:
    step = gan(ADA(images=8))
    for _ in range(9):
        step.dry_run(batch_of())
    assert isinstance(step.augmentation, ADA)
    assert step.augmentation.counts.tolist() == [0, 0]
    assert (p_of(step), int(step.augmentation.updates)) == (0.0, 0)


# --- runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "augment"),
    [("gan", DiffAugment), *((kind, MAKERS[1]) for kind in ("gan", "pix2pix", "cyclegan"))],
)
def test_n_and_n_are_2n(kind: str, augment: Callable[[], Augmentation], tmp_path: Path) -> None:
    def begun(*callbacks: Any) -> Trainer:
        torch.manual_seed(0)
        if kind != "gan":
            return trainer_of(kind, *callbacks, augment=augment())
        sampler = BatchSampler(12, 4, generator=torch.Generator().manual_seed(0))
        step = gan(augment(), small_discriminator(), ema=0.9)
        return Trainer(step, small_images(12).flipped(), sampler, callbacks=callbacks)

    straight = begun()
    straight.fit(steps=6)
    begun(Checkpoint(tmp_path / "c.pt")).fit(steps=3)
    torch.manual_seed(99)
    resumed = begun()
    resumed.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    resumed.fit(steps=6)
    ours, theirs = (trainer.gan_step.state_dict() for trainer in (straight, resumed))
    for name in (name for name in ours if name != "_extra_state"):
        assert torch.equal(ours[name], theirs[name]), name
    if "augmentation.p" in ours:
        assert ours["augmentation.p"] != 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("p", torch.tensor(1.5)), ("p", torch.tensor(float("nan"))), ("updates", torch.tensor(4))],
)
def test_a_p_that_no_run_had_is_refused(name: str, value: Tensor) -> None:
    step = gan(ADA())
    state = {**step.state_dict(), f"augmentation.{name}": value}
    with pytest.raises(CheckpointError, match=f"{name} is tensor"):
        gan(ADA()).load_state_dict(state)


def test_steps_without_a_discriminator_are_refused() -> None:
    decoder = small_generator()
    encoder = autoencoder.Encoder(5, SHAPE, hidden=(8,))
    both = gan_adam([*decoder.parameters(), *encoder.parameters()])
    with pytest.raises(ConfigError, match="AutoencoderStep does not augment what a discriminator"):
        AutoencoderStep(decoder, encoder, both, augment=DiffAugment())
    with pytest.raises(ConfigError, match=r"augment is a str; allowed are None and an instance"):
        gan("ada")  # type: ignore[arg-type]


SMALL: dict[str, Any] = {"steps": 2, "epochs": None, "batch_size": 8, "image_size": 8}


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ("diffaugment", ("color", "translation", "cutout")),
        (
            {"class_path": "diffaugment", "init_args": {"policy": "cutout,color"}},
            ("color", "cutout"),
        ),
        ({"class_path": "ada", "init_args": {"policy": "geometry"}}, ("geometry",)),
    ],
)
def test_the_setting(spec: Any, policy: tuple[str, ...]) -> None:
    trainer = build_trainer(RunConfig(augment=spec, **SMALL))
    assert trainer.gan_step.augmentation is not None
    assert trainer.gan_step.augmentation.policy == policy


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"augment": "crop"}, "augment is 'crop'; allowed are none, diffaugment, ada"),
        ({"augment": 3}, "augment is 3; allowed is a name, an import path"),
        (
            {"augment": {"class_path": "ada", "init_args": {"tarjet": 1}}},
            "augment 'ada' has no argument 'tarjet'; it has policy, target, images, p",
        ),
        (
            {"augment": {"class_path": "none", "init_args": {"p": 1}}},
            "augment 'none' has no argument 'p'; it has none",
        ),
        (
            {"augment": "ada", "data": "toy:ring"},
            r"augment is 'ada', which transforms images .*, got \[8, 1, 1, 2\]; allowed is 'none'",
        ),
        (
            {"augment": "ada", "step": "gankit.gans.autoencoder.AutoencoderStep"},
            "AutoencoderStep does not augment what a discriminator is given; allowed is 'none'",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(settings: dict[str, Any], words: str) -> None:
    if "step" in settings:
        settings = {**settings, "discriminator": "gankit.models.autoencoder.Encoder"}
    with pytest.raises(ConfigError, match=words):
        build_trainer(RunConfig(**{**SMALL, **settings}))
