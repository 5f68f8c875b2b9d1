"""Autoencoders by the same loop: command line, resume, pictures, and what they learn."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from gankit import data, recipes
from gankit.cli import main
from gankit.errors import ConfigError
from gankit.gans.autoencoder import AutoencoderStep
from gankit.runs.build import build_trainer
from gankit.training import Trainer
from tests.recipes.resumed import assert_resumes_exactly

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


def built(name: str, **changes: Any) -> tuple[Trainer, AutoencoderStep]:
    trainer = build_trainer(recipes.get(name).config.updated(device="cpu", **changes))
    assert isinstance(trainer.gan_step, AutoencoderStep)
    return trainer, trainer.gan_step


@pytest.mark.parametrize(("name", "panels"), [("ae", 2), ("vae", 3)])
def test_a_run_resumes_exactly_and_draws_what_it_can(
    name: str,
    panels: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    settings = ("image_size: 8", "grid_rows: 2", "grid_columns: 2", "log_every: 5", "device: cpu")
    Path("small.yaml").write_text("\n".join(settings))
    assert_resumes_exactly(name, "small.yaml", first=11, last=25, quiet=False)
    printed = capsys.readouterr().err
    assert "reconstruction 0." in printed if name == "ae" else "KL divergence" in printed
    assert "D loss" not in printed
    with open("straight/metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["reconstruction"]) > 0
    assert ("kl" in last) == (name == "vae")
    assert "d_real" not in last
    with Image.open("straight/samples/epoch_0002_step_0000025.png") as picture:
        assert picture.size == (panels * 176 + (panels - 1) * 12, 18 + 2 * 58 + 2)
    for made in ("losses.png", "samples.gif"):
        with Image.open(f"straight/{made}") as picture:
            picture.load()
    code = main(["sample", "straight", "--n", "4"])
    if name == "ae":
        assert code == 2
        assert "without a distribution of codes to draw from" in capsys.readouterr().err
    else:
        assert code == 0


def test_settings_of_gans_are_refused() -> None:
    for changes, words in (
        ({"n_critic": 2}, r"step \(AutoencoderStep\) has no argument 'n_critic'; it has loss"),
        ({"d_lr": 0.1}, "d_lr is 0.1, but AutoencoderStep has no optimizer of a discriminator"),
        ({"z_distribution": "uniform"}, "has no argument 'z_distribution'"),
    ):
        with pytest.raises(ConfigError, match=words):
            built("vae", **changes)
    with pytest.raises(ConfigError, match="gave a dict; allowed are an AdversarialLoss"):
        built("vae", loss="builtins.dict")


def test_the_elbos_settings_are_arguments() -> None:
    spec = {
        "class_path": "gankit.losses.elbo",
        "init_args": {"likelihood": "gaussian", "std": 0.3, "beta": 2.0},
    }
    trainer, step = built("vae", loss=spec, image_size=8)
    trainer.fit(steps=2)
    assert (step.loss.variational, step.loss.beta) == (True, 2.0)


def test_points_are_encoded_too(tmp_path: Path) -> None:
    from gankit.training import SampleGrid

    loss = {"class_path": "gankit.losses.elbo", "init_args": {"likelihood": "gaussian"}}
    trainer, _ = built("vae", data="toy:normal", z_dim=1, loss=loss)
    trainer.callbacks = (SampleGrid(tmp_path / "samples"),)
    trainer.fit(steps=1)
    with Image.open(tmp_path / "samples" / "epoch_0001_step_0000001.png") as picture:
        picture.load()


def principal_components_error(known: Tensor, unseen: Tensor, count: int) -> float:
    """Mean squared error of ``unseen`` projected on the first ``count`` components of ``known``."""
    mean = known.mean(dim=0)
    axes = torch.linalg.svd(known - mean, full_matrices=False).Vh[:count]
    rest = unseen - mean - (unseen - mean) @ axes.T @ axes
    return float(rest.square().mean())


def test_a_vae_of_points_asks_for_a_gaussian_likelihood() -> None:
    with pytest.raises(ConfigError, match=r"likelihood of .*'elbo' is 'bernoulli'.*toy:ring"):
        built("vae", data="toy:ring")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_autoencoder_beats_principal_components_twice_over(seed: int) -> None:
    trainer, step = built("ae", seed=seed)
    trainer.fit(steps=1000)
    unseen = data.load("digits", split="test").normalized()
    known = trainer.data.normalized()
    error = float((step.reconstruct(unseen) - unseen).square().mean())
    pca = principal_components_error(known.flatten(1), unseen.flatten(1), step.noise.shape[0])
    assert error < 0.5 * pca


@pytest.mark.parametrize("seed", SEEDS)
def test_the_vaes_bound_on_unseen_digits(seed: int) -> None:
    """At least -290 nats; the mean image as the answer to every image has -355."""
    trainer, step = built("vae", seed=seed)
    trainer.fit(steps=700)
    unseen = data.load("digits", split="test").normalized()
    with torch.no_grad():
        error, divergence = step.terms(unseen)
    bound = -float((error + divergence).mean())
    assert bound > -290
    # It is a bound by more than a code that says nothing, and no better than a perfect answer.
    assert divergence.mean() > 5
    mean = trainer.data.normalized().mean(dim=0).expand_as(unseen)
    assert -float(step.loss.reconstruction(mean, unseen).mean()) < -350
    assert bound < -float(step.loss.reconstruction(unseen, unseen).mean())
