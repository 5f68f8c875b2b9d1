"""ProGAN's step: its schedule, the plain loop, resume within a fade, and what a run keeps."""

from __future__ import annotations

import copy
import csv
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gankit
from gankit import recipes
from gankit.data import BatchSampler, ImageData
from gankit.errors import CheckpointError, ConfigError, DataError
from gankit.gans.progan import Growth, ProGANStep
from gankit.losses import gradient_penalty
from gankit.models import mlp
from gankit.models.progan import Discriminator, Generator, at_level
from gankit.runs import resume, train
from gankit.runs.build import build_trainer
from gankit.runs.evaluating import evaluate
from gankit.training import Callback, Checkpoint, DiffAugment, Trainer, gan_adam, load_checkpoint
from gankit.training.diagnostics import look
from tests.gans.translation_processes import everything

SHAPE, Z, BATCH = (1, 16, 16), 5, 4
PENALTY = partial(gradient_penalty, weight=10.0, at="real")


def parts(dtype: torch.dtype = torch.float32) -> tuple[Generator, Discriminator, Any, Any]:
    torch.manual_seed(0)
    G, D = Generator(Z, SHAPE, 4).to(dtype), Discriminator(SHAPE, 4).to(dtype)
    g_optimizer, d_optimizer = (gan_adam(n.parameters(), 1e-2, (0.0, 0.99)) for n in (G, D))
    return G, D, g_optimizer, d_optimizer


def progan(dtype: torch.dtype = torch.float32, **settings: Any) -> ProGANStep:
    growth = {"stable_images": 8, "fade_images": 16, "ema": 0.9, "penalty": PENALTY}
    return ProGANStep(*parts(dtype), **{**growth, **settings})


def test_the_level_follows_from_the_images_alone() -> None:
    growth = Growth(0, (100, 50, 30), (10, 20))
    expected = {
        0: (0, 1.0),
        99: (0, 1.0),
        100: (1, 0.0),
        105: (1, 0.5),
        110: (1, 1.0),
        159: (1, 1.0),
        160: (2, 0.0),
        175: (2, 0.75),
        180: (2, 1.0),
        10**9: (2, 1.0),
    }
    assert {images: growth.at(images) for images in expected} == expected
    assert growth.grown_after == 180
    assert Growth(0, (5, 5), (0,)).at(5) == (1, 1.0)  # no fade
    assert Growth(0, (0, 0, 0), (0, 0)).at(0) == (2, 1.0)
    assert Growth(2, (7,), ()).at(0) == (2, 1.0)


def test_the_papers_schedule() -> None:
    config = recipes.get("progan").config
    shape = (3, config.image_size, config.image_size)
    G, D = Generator(2, shape, 1), Discriminator(shape, 1)
    knobs = {name: config.knobs[name] for name in ("stable_images", "fade_images")}
    made = [gan_adam(n.parameters(), config.lr, config.betas) for n in (G, D)]
    growth = ProGANStep(G, D, *made, **knobs).growth
    assert growth.at(799_999) == (0, 1.0)
    assert growth.at(1_200_000) == (1, 0.5)
    assert growth.grown_after + 800_000 == config.steps * config.batch_size  # type: ignore[operator]


def plain_step(
    G: Generator, D: Discriminator, optimizers: tuple[Any, Any], real: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """The two updates as the paper has them."""
    small = F.avg_pool2d(real, 2)
    half = F.interpolate(F.avg_pool2d(small, 2), scale_factor=2)
    small = alpha * small + (1 - alpha) * half
    fake = G(torch.randn(BATCH, Z, dtype=real.dtype)).detach()
    real_scores, fake_scores = D(small), D(fake)
    points = small.clone().requires_grad_()
    (grad,) = torch.autograd.grad(D(points).sum(), points, create_graph=True)
    penalty = (grad.flatten(1).square().sum(1).sqrt() - 1).square().mean()
    drift = real_scores.square().mean()
    d_loss = fake_scores.mean() - real_scores.mean() + 10 * penalty + 0.001 * drift
    optimizers[1].zero_grad()
    d_loss.backward()
    optimizers[1].step()
    g_loss = -D(G(torch.randn(BATCH, Z, dtype=real.dtype))).mean()
    optimizers[0].zero_grad()
    g_loss.backward()
    optimizers[0].step()
    return d_loss.detach(), g_loss.detach()


def test_a_step_within_a_fade_is_the_papers() -> None:
    step = progan(torch.float64, fade_images=32)
    step.images = 8  # level 1 begins
    G, D, *optimizers = parts(torch.float64)
    average = [p.detach().clone() for p in G.parameters()]
    torch.manual_seed(3)
    images = torch.rand(6, BATCH, *SHAPE, dtype=torch.float64) * 2 - 1
    random = torch.get_rng_state()
    found = [step(real) for real in images]
    torch.set_rng_state(random)
    for number, real in enumerate(images):
        alpha = number * BATCH / 32
        for network in (G, D):
            network.grow(1, alpha)
        losses = plain_step(G, D, tuple(optimizers), real, alpha)
        average = [0.9 * a + 0.1 * p for a, p in zip(average, G.parameters(), strict=True)]
        for name, value in zip(("d_loss", "g_loss"), losses, strict=True):
            torch.testing.assert_close(found[number][name], value, rtol=0, atol=1e-9)
    for mine, theirs in ((step.G, G), (step.D, D)):
        for x, y in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
    kept = list(step.averages["G"].parameters())
    torch.testing.assert_close(kept, average, rtol=0, atol=1e-9)
    assert step.paired  # the two halves of a pass keep their own deviation


def test_drift_holds_real_scores_near_0() -> None:
    real = torch.rand(BATCH, *SHAPE)
    losses = []
    for drift in (0.0, 0.5):
        step = progan(drift=drift)
        torch.manual_seed(1)
        with torch.no_grad():
            scores = step.D(F.avg_pool2d(real, 4))
        losses.append(float(step(real)["d_loss"]))
    assert losses[1] - losses[0] == pytest.approx(0.5 * float(scores.square().mean()), abs=1e-5)


def trainer_of(*callbacks: Callback) -> Trainer:
    images = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(5)) * 2 - 1
    sampler = BatchSampler(20, BATCH, generator=torch.Generator().manual_seed(0))
    return Trainer(progan(), images, sampler, callbacks=callbacks)


# Steps of 4 images: level 1 begins with the third and fades in until the sixth, level 2 from the
# ninth to the twelfth.
@pytest.mark.parametrize("stop", [1, 4, 8, 10])
def test_a_run_that_was_stopped_goes_on_exactly(stop: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    straight = trainer_of()
    torch.manual_seed(1)
    straight.fit(steps=14)
    stopped = trainer_of(Checkpoint(tmp_path / "c.pt"))
    torch.manual_seed(1)
    stopped.fit(steps=stop)
    resumed = trainer_of()
    resumed.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    resumed.fit(steps=14)
    torch.testing.assert_close(everything(resumed), everything(straight), rtol=0, atol=0)
    assert resumed.gan_step.get_extra_state() == straight.gan_step.get_extra_state()


def test_the_schedule_counts_images_and_not_steps() -> None:
    steps = {}
    for batch in (2, 8):
        step = progan()
        torch.manual_seed(0)
        seen = []
        for real in torch.rand(24, *SHAPE).split(batch):
            step(real)
            seen.append((step.resolution, step.alpha))
        steps[batch] = seen
        assert step.images == 24
    assert steps[8] == steps[2][::4] == [(4, 1.0), (8, 0.0), (8, 0.5)]


def test_a_dry_run_goes_to_the_last_level_and_leaves_no_trace() -> None:
    step = progan()
    step.images = 12
    step(torch.rand(BATCH, *SHAPE))
    seen: list[torch.Size] = []
    hook = step.D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    before = copy.deepcopy(step.state_dict())
    step.dry_run(torch.rand(BATCH, *SHAPE))
    hook.remove()
    assert {shape[-1] for shape in seen} == {8, 16}
    for name, value in step.state_dict().items():
        assert value == before[name] if name == "_extra_state" else torch.equal(value, before[name])
    for network in (step.G, step.D, step.sampled):
        assert isinstance(network, Generator | Discriminator)
        assert (network.level, network.alpha) == (1, 0.25)


def test_pictures_have_one_size_and_say_the_level() -> None:
    step = progan()
    batch = {"image": torch.rand(3, *SHAPE) * 2 - 1}
    captions = []
    for images in (0, 12, 100):
        step.images = images
        step(torch.rand(BATCH, *SHAPE))
        panels = step.panels(batch, 0)
        captions.append([panel.caption for panel in panels])
        assert {panel.images.shape for panel in panels} == {(3, *SHAPE)}
        shown = F.avg_pool2d(panels[1].images, 16 // step.resolution)
        expected = at_level(batch["image"], step.resolution, step.alpha)
        torch.testing.assert_close(shown, expected, rtol=0, atol=1e-6)
    assert captions == [
        ["generated, 4x4", "real"],
        ["generated, 8x8, alpha 0.25", "real"],
        ["generated, 16x16", "real"],
    ]


SETTINGS: dict[str, Any] = {
    "image_size": 16,
    "batch_size": 16,
    "device": "cpu",
    "z_dim": 8,
    "log_every": 1,
    "grid_rows": 2,
    "grid_columns": 2,
    "stable_images": 16,
    "fade_images": 32,
    "ema": 0.9,
    "generator": {"class_path": "gankit.models.progan.Generator", "init_args": {"width": 4}},
    "discriminator": {
        "class_path": "gankit.models.progan.Discriminator",
        "init_args": {"width": 4},
    },
}


def test_a_run_is_used_at_its_level(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = train("progan-digits", run, steps=3, **SETTINGS)
    step = done.trainer.gan_step
    assert isinstance(step, ProGANStep)
    assert (step.resolution, step.alpha) == (8, 0.5)
    G = gankit.load(run)
    assert G.image_shape == (1, 8, 8)
    made = G.sample(5, seed=0)
    assert made.shape == (5, 1, 8, 8)
    network: nn.Module = step.inference()
    z = torch.randn(4, 8)
    with torch.no_grad():
        assert torch.equal(G(z), network(z))  # the moving average
    file = gankit.export(run, format="torch-export")
    exported = torch.export.load(file).module()
    torch.testing.assert_close(exported(z), G(z), rtol=1e-4, atol=1e-5)
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [(row["resolution"], row["alpha"]) for row in rows] == [
        *(("4", "1"), ("8", "0"), ("8", "0.5")),
    ]
    resume(run, steps=8)
    assert gankit.load(run).sample(2, seed=0).shape == (2, 1, 16, 16)
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["resolution"] for row in rows] == ["4", *["8"] * 3, *["16"] * 4]


def test_what_a_run_makes_is_evaluated_at_the_size_of_its_data(tmp_path: Path) -> None:
    train("progan-digits", tmp_path / "run", steps=1, **SETTINGS)
    result = evaluate(tmp_path / "run", metrics=["nearest"], n=20)
    assert "1x16x16" in result.preprocessing


def test_the_diagnostics_look_at_the_present_level() -> None:
    images = torch.zeros(40, *SHAPE)
    images[::2, :, :8] = 1
    images[1::2, :, 8:] = 1
    data = ImageData((images * 255).to(torch.uint8), torch.arange(40) % 2)
    trainer = Trainer(progan(), data, BatchSampler(40, BATCH))
    trainer.fit(steps=4)
    step = trainer.gan_step
    assert isinstance(step, ProGANStep)
    assert step.resolution == 8
    health = look(trainer)
    assert health.classes == 2
    assert 0 < health.distance < 100
    assert 0 < health.g_gradient < float("inf")
    # Of what has the means of both classes at this level it finds both.
    with torch.no_grad():
        for parameter in step.G.parameters():
            parameter.zero_()
    assert look(trainer).modes <= 1
    real = step.seen(images[:2])
    step.G.forward = lambda z: real.repeat(len(z) // 2, 1, 1, 1)
    assert look(trainer).modes == 2


@pytest.mark.parametrize(
    "settings", [{"precision": "bf16"}, {"augment": DiffAugment()}, {"accumulate": 2}]
)
def test_all_levels_train_with_the_settings_of_any_step(settings: dict[str, Any]) -> None:
    step = progan(**settings)
    torch.manual_seed(2)
    for images in (0, 12, 40, 100):
        step.images = images
        assert bool(
            torch.stack([*step(torch.rand(BATCH, *SHAPE) * 2 - 1).values()]).isfinite().all()
        )
    assert all(p.dtype == torch.float32 for p in step.parameters())


def test_networks_that_do_not_grow_begin_at_the_last_level() -> None:
    step = progan(initial_resolution=16)
    step(torch.rand(BATCH, *SHAPE))
    assert (step.resolution, step.alpha) == (16, 1.0)
    assert step.notes[0] == "Networks do not grow."
    assert progan().notes[0] == (
        "Images grow from 4x4 to 16x16, which stands alone after 48 real images."
    )


def built(**settings: Any) -> None:
    build_trainer(recipes.get("progan-digits").config.updated(**{**SETTINGS, **settings}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 24}, "one power of two from 8, got .1, 24, 24.; set image_size"),
        ({"stable_images": [1, 2]}, "stable_images has 2 numbers; allowed are one number, and 3"),
        ({"fade_images": [1, 2, 3]}, "fade_images has 3 numbers; allowed are one number, and 2"),
        ({"fade_images": -1}, "fade_images is -1; allowed are integers from 0"),
        ({"initial_resolution": 6}, "initial_resolution is 6; allowed are 4, 8, 16"),
        ({"drift": -1}, "drift is -1; allowed are finite numbers from 0"),
        ({"cuda_graph": True}, "cuda_graph=True, but the layers that run, and the weight alpha"),
        (
            {
                "generator": {
                    "class_path": "gankit.models.progan.Generator",
                    "init_args": {"width": 4, "image_shape": [1, 32, 32]},
                }
            },
            r"G grows to images of shape \[1, 32, 32\], and D to \[1, 16, 16\]",
        ),
        ({"generator": "gankit.models.mlp.Generator"}, "G .Generator. has no grow, level, alpha"),
    ],
)
def test_what_does_not_fit_is_one_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words) as caught:
        built(**settings)
    assert "\n" not in str(caught.value)


def test_data_of_another_size_than_the_networks_are_refused() -> None:
    both = {
        name: {
            "class_path": f"gankit.models.progan.{name.capitalize()}",
            "init_args": {"width": 4, "image_shape": [1, 32, 32]},
        }
        for name in ("generator", "discriminator")
    }
    words = r"real has images of shape \[1, 16, 16\], and the networks grow to \[1, 32, 32\]"
    with pytest.raises(ConfigError, match=words):
        built(**both)
    with pytest.raises(ConfigError, match=r"real has images of shape \[1, 12, 12\]"):
        progan()(torch.rand(BATCH, 1, 12, 12))
    G, _, g_optimizer, _ = parts()
    D = mlp.Discriminator(SHAPE, hidden=(4,))
    d_optimizer = gan_adam(D.parameters())
    with pytest.raises(ConfigError, match=r"D \(Discriminator\) has no grow, level, alpha"):
        ProGANStep(G, D, g_optimizer, d_optimizer)


def test_a_damaged_count_of_images_is_refused() -> None:
    step = progan()
    state = step.state_dict()
    state["_extra_state"] = {**state["_extra_state"], "images": -1}
    with pytest.raises(CheckpointError, match="images are -1; allowed are integers from 0"):
        step.load_state_dict(state)


def test_labels_of_the_data_are_not_read() -> None:
    images = (torch.rand(8, *SHAPE) * 255).to(torch.uint8)
    data = ImageData(images, torch.arange(8) % 2)
    trainer = Trainer(progan(), data, BatchSampler(8, 4))
    trainer.fit(steps=2)
    assert trainer.gan_step.fields == ("image",)
