"""The named recipes: their numbers, and that they train."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from gankit import recipes
from gankit.data import BatchSampler
from gankit.errors import ConfigError, DataError
from gankit.runs.build import build_trainer, pick_device
from gankit.training import GANStep
from gankit.training.config import RunConfig


def test_names_and_get_agree() -> None:
    assert recipes.names() == (
        *(
            "ae",
            "vae",
            "began",
            "biggan",
            "biggan-deep",
            "biggan-digits",
            "cgan",
            "cyclegan",
            "dcgan",
            "discogan",
            "ebgan",
        ),
        *("gan", "gan-keras", "mmgan", "nsgan", "lsgan", "rgan", "gan-1d", "pix2pix"),
        *("progan", "progan-digits", "r3gan"),
        *("sagan", "sagan-toy", "segan", "segan-toy", "sgan", "srresnet", "srgan", "srgan-toy"),
        *("stargan", "pix2pix-toy", "cyclegan-toy", "discogan-toy", "stargan-toy"),
        *("unrolled", "wgan", "wgan-gp", "wgan-gp-conv", "gan-2d"),
    )
    for name in recipes.names():
        recipe = recipes.get(name)
        assert recipe.name == recipe.config.recipe == name
        assert recipe.summary
        assert any("http" in s or "arXiv" in s for s in recipe.sources), name


def test_an_unknown_recipe_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="no recipe 'dcgann'; allowed are ae, vae, began, biggan, "
    ):
        recipes.get("dcgann")


def narrow(config: RunConfig) -> RunConfig:
    """The same layers with few feature maps: those of a GPU take seconds for each step."""
    width = 8 if "progan" in config.recipe else 2
    specs = {name: getattr(config, name) for name in ("generator", "discriminator")}
    paths = {name: s if isinstance(s, str) else s["class_path"] for name, s in specs.items()}
    init = {"width": width}
    return config.updated(
        **{name: {"class_path": path, "init_args": init} for name, path in paths.items()}
    )


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_trains(name: str) -> None:
    config = recipes.get(name).config.updated(device="cpu")
    if config.image_size == 256:  # some GB, and a minute for each step
        config = config.updated(image_size=64)
    if name == "segan":  # windows of a second
        config = config.updated(
            data={"class_path": "toy:speech", "init_args": {"window": 1024, "n": 20}}, batch_size=4
        )
    if name in ("srresnet", "srgan", "r3gan"):
        config = config.updated(image_size=32, batch_size=2)
    if name == "discogan":
        config = config.updated(batch_size=2)
    if name == "stargan":
        config = narrow(config).updated(batch_size=2)
    if name.startswith("progan"):  # all layers but those of other levels' images
        config = narrow(config).updated(image_size=16, initial_resolution=16, batch_size=2)
    if name in ("sagan", "biggan", "biggan-deep"):
        # A moving average of 0.9999 takes in less than float32 keeps of so few steps.
        config = narrow(config).updated(image_size=32, batch_size=4, ema=None)
    trainer = build_trainer(config)
    used = [
        name
        for name, _ in trainer.gan_step.inference().named_parameters()
        if not name.startswith(("to_rgb.0", "to_rgb.1"))
    ]
    parameters = dict(trainer.gan_step.inference().named_parameters())
    before = [parameters[name].detach().clone() for name in used]
    # What is behind a norm whose scale begins at 0, within another, moves in the third step.
    least = 3 if "zero-residual" in str(config.generator) else 2
    # So does what is behind the factor 0 of an attention, which is G's.
    n_critic = getattr(trainer.gan_step, "n_critic", 1)
    trainer.fit(steps=2 * n_critic if "biggan" in name else max(least, n_critic))
    assert not isinstance(trainer.gan_step, GANStep) or trainer.gan_step.paired
    after = [parameters[name] for name in used]
    moves = [(b - a).abs().max() for a, b in zip(before, after, strict=True)]
    assert all(0 < move < 0.05 for move in moves)


def test_the_tutorials_numbers() -> None:
    config = recipes.get("gan").config
    trainer = build_trainer(config.updated(device="cpu"))
    step = trainer.gan_step
    assert (config.epochs, config.batch_size, step.z_distribution) == (100, 60, "normal")
    assert sum(p.numel() for p in step.G.parameters()) == 1_486_352
    assert sum(p.numel() for p in step.D.parameters()) == 1_460_225
    for optimizer in (step.g_optimizer, step.d_optimizer):
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)
    assert [m.p for m in step.D.modules() if hasattr(m, "p")] == [0.5] * 3
    assert not step.from_logits


def test_the_dcgan_numbers() -> None:
    config = recipes.get("dcgan").config
    trainer = build_trainer(config.updated(device="cpu"))
    step = trainer.gan_step
    assert (config.epochs, config.batch_size, step.z_distribution) == (100, 60, "normal")
    assert sum(p.numel() for p in step.G.parameters()) == 1_501_472
    assert sum(p.numel() for p in step.D.parameters()) == 414_848
    for optimizer in (step.g_optimizer, step.d_optimizer):
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)
    assert not step.from_logits


def test_the_keras_numbers() -> None:
    config = recipes.get("gan-keras").config
    assert (config.epochs, config.batch_size, config.eps) == (400, 128, 1e-7)
    assert (config.grid_rows, config.grid_columns, config.grid_inverted) == (10, 10, True)
    assert (config.sample_first, config.sample_every) == (1, 20)
    assert BatchSampler(60_000, config.batch_size, replacement=True).steps_per_epoch == 468
    trainer = build_trainer(config.updated(device="cpu"))
    step = trainer.gan_step
    assert trainer.sampler.replacement
    assert step.eval_fakes
    assert step.g_optimizer.defaults["eps"] == step.d_optimizer.defaults["eps"] == 1e-7
    assert [m.p for m in step.D.modules() if hasattr(m, "p")] == [0.3] * 3
    for network in (step.G, step.D):
        linears = [m for m in network.modules() if isinstance(m, nn.Linear)]
        assert float(linears[0].weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        for linear in linears[1:]:
            limit = (6 / (linear.in_features + linear.out_features)) ** 0.5
            largest = float(linear.weight.detach().abs().max())
            assert 0.9 * limit < largest <= limit
        assert all(not linear.bias.detach().any() for linear in linears)


def test_the_keras_losses_are_those_of_train_on_batch() -> None:
    step = build_trainer(recipes.get("gan-keras").config.updated(device="cpu")).gan_step
    real, fake = torch.rand(128, 1), torch.rand(128, 1)
    labels = torch.cat([torch.full((128, 1), 0.9), torch.zeros(128, 1)])
    both = torch.cat([real, fake])
    keras = -(labels * both.log() + (1 - labels) * (1 - both).log()).mean()
    torch.testing.assert_close(step.loss.discriminator(real, fake), keras)
    torch.testing.assert_close(step.loss.generator(fake), -fake.log().mean())


def test_the_seed_decides_the_run() -> None:
    def weights(seed: int) -> torch.Tensor:
        trainer = build_trainer(recipes.get("gan").config.updated(device="cpu", seed=seed))
        trainer.fit(steps=2)
        return next(trainer.gan_step.inference().parameters()).detach()

    first = weights(5)
    assert torch.equal(first, weights(5))
    assert not torch.equal(first, weights(6))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_the_discriminator_may_learn_at_a_rate_of_its_own(optimizer: str) -> None:
    config = recipes.get("gan").config.updated(device="cpu", optimizer=optimizer, lr=1e-3)
    for d_lr, expected in ((None, 1e-3), (2e-4, 2e-4)):
        step = build_trainer(config.updated(d_lr=d_lr)).gan_step
        assert step.g_optimizer.defaults["lr"] == 1e-3
        assert step.d_optimizer.defaults["lr"] == expected


def test_uniform_noise_reaches_the_generator() -> None:
    config = recipes.get("gan").config.updated(device="cpu", z_distribution="uniform", z_dim=7)
    step = build_trainer(config).gan_step
    z = step.noise(4000)
    assert z.shape == (4000, 7)
    assert -1 <= float(z.min()) < -0.99
    assert 0.99 < float(z.max()) < 1


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_takes_both_kinds_of_noise(name: str) -> None:
    config = recipes.get(name).config.updated(device="cpu")
    if name in ("sagan", "biggan", "biggan-deep"):
        config = narrow(config).updated(image_size=32)
    elif name not in ("dcgan", "wgan-gp-conv", "sagan-toy", "biggan-digits"):
        config = config.updated(image_size=8)
    if name == "progan":
        config = narrow(config).updated(data="digits")
    drawn = config.knobs.get("z_distribution", "normal")
    other = "uniform" if drawn == "normal" else "normal"
    # The code of a vae is normal by its loss, that of an ae is no noise, and images are none.
    if name in ("ae", "vae") or name.startswith(
        ("pix2pix", "cyclegan", "discogan", "stargan", "segan", "sr")
    ):
        with pytest.raises(ConfigError, match="has no argument 'z_distribution'"):
            build_trainer(config.updated(z_distribution=other))
        return
    z = build_trainer(config.updated(z_distribution=other)).gan_step.noise(500)
    assert z.shape == (500, config.z_dim)
    assert (float(z.abs().max()) <= 1) is (other == "uniform")


def test_more_images_asked_for_than_there_are() -> None:
    with pytest.raises(DataError, match="batch_size is 100000"):
        build_trainer(recipes.get("gan").config.updated(device="cpu", batch_size=100_000))


def test_an_absent_device_is_named() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cuda", "mps", "cpu")
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(ConfigError, match=f"device '{absent}' is not available here"):
        pick_device(absent)


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.get("gan").config.lr = 1.0  # type: ignore[misc]
