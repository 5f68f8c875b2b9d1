"""The conditional GAN: from labelled data through training, resume and sampling."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from gankit import data, recipes
from gankit.cli import main
from gankit.data import ImageData
from gankit.errors import ConfigError, DataError
from gankit.losses import gradient_penalty
from gankit.metrics import DigitClassifier
from gankit.runs.build import build_trainer
from gankit.training import SampleGrid, Trainer, generate
from gankit.training.gan_step import GANStep
from tests.recipes.classes import nearest_class
from tests.recipes.resumed import assert_resumes_exactly
from tests.training.nets import small_images

SMALL = """
generator: {class_path: gankit.models.conditional_mlp.Generator, init_args: {hidden: [16]}}
discriminator: {class_path: gankit.models.conditional_mlp.Discriminator,
                init_args: {hidden: [16], output: logit}}
image_size: 8
device: cpu
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("small.yaml").write_text(SMALL)
    return tmp_path


def test_a_run_resumes_exactly_and_draws_the_class_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_resumes_exactly("cgan", "small.yaml", first=13, last=30)
    pictures = {}
    for label in ("2", "3"):
        out = f"{label}.png"
        assert main(["sample", "straight", "--n", "4", "--label", label, "--out", out]) == 0
        pictures[label] = Path(out).read_bytes()
    assert pictures["2"] != pictures["3"]
    assert main(["sample", "straight", "--label", "10"]) == 2
    assert "--label is 10; allowed are 0 to 9" in capsys.readouterr().err


def test_a_run_without_labels_has_no_class_to_ask_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plain.yaml").write_text(
        "generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [4]}}\n"
        "discriminator: {class_path: gankit.models.mlp.Discriminator, init_args: {hidden: [4]}}\n"
    )
    plain = ["train", "gan", "--config", "plain.yaml", "--quiet", "--steps", "1", "--out", "plain"]
    assert main(plain) == 0
    assert main(["sample", "plain", "--label", "1"]) == 2
    assert "--label is 1, but the run in plain has no labels" in capsys.readouterr().err


def test_data_without_labels_is_named() -> None:
    changes = {"data": "tests.recipes.test_conditional_recipe.bare_images", "device": "cpu"}
    with pytest.raises(ConfigError, match=r"bare has no labels, and .*conditional_mlp.*needs"):
        build_trainer(recipes.get("cgan").config.updated(**changes))
    step = build_trainer(recipes.get("gan").config.updated(device="cpu")).gan_step
    bare = bare_images(28)
    step.fields = ("image", "label")
    with pytest.raises(DataError, match="bare has no labels; a conditional run needs them"):
        Trainer(step, bare, data.BatchSampler(80, 8))
    with pytest.raises(DataError, match="bare has no labels"):
        bare.gather_labels(torch.tensor([0]))


def bare_images(image_size: int) -> ImageData:
    """Images that nobody has labelled."""
    return ImageData(small_images(80).images, None, "bare").resize(image_size)


def test_images_and_labels_stay_together() -> None:
    seen = []
    trainer = build_trainer(recipes.get("cgan").config.updated(device="cpu", image_size=8))
    trainer.gan_step = _Spy(trainer.gan_step, seen)  # type: ignore[assignment]
    trainer.fit(steps=2)
    digits = trainer.data.normalized()
    for real, labels in seen:
        found = torch.cdist(real.flatten(1), digits.flatten(1)).argmin(dim=1)
        assert trainer.data.labels is not None
        assert torch.equal(labels, trainer.data.labels[found])


class _Spy:
    def __init__(self, step: GANStep, seen: list[tuple[Tensor, Tensor]]) -> None:
        self._step, self._seen = step, seen

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self._seen.append((batch["image"], batch["label"]))
        return self._step(batch)

    def __getattr__(self, name: str) -> object:
        return getattr(self._step, name)


def test_samples_go_through_the_classes_unless_labels_are_given() -> None:
    step = build_trainer(recipes.get("cgan").config.updated(device="cpu", image_size=8)).gan_step
    every = generate(step.G, 20, seed=3)
    threes = generate(step.G, 20, seed=3, labels=torch.full((20,), 3), batch=7)
    close = torch.isclose(every, threes, atol=1e-5).flatten(1).all(dim=1)
    assert close.nonzero().flatten().tolist() == [3, 13]
    with pytest.raises(ConfigError, match=r"labels must be 2 of 0 to 9, got .* 1 to 11"):
        generate(step.G, 2, seed=0, labels=torch.tensor([1, 11]))
    plain = build_trainer(recipes.get("gan").config.updated(device="cpu")).gan_step.G
    with pytest.raises(ConfigError, match="Generator is not conditional"):
        generate(plain, 2, seed=0, labels=torch.tensor([1, 1]))


def test_the_penalty_sees_the_labels() -> None:
    config = recipes.get("cgan").config.updated(
        device="cpu",
        image_size=8,
        loss="wasserstein",
        penalty={"class_path": "gankit.losses.gradient_penalty"},
    )
    trainer = build_trainer(config)
    trainer.fit(steps=2)
    step, some = trainer.gan_step, torch.arange(4)
    real, labels = trainer.data.gather(some), trainer.data.gather_labels(some)
    value = gradient_penalty(step.D, real, -real, critic_args=(labels,))
    value.backward()
    assert value > 0
    gradient = next(step.D.main.parameters()).grad  # type: ignore[union-attr]
    assert gradient is not None
    assert gradient[:, -10:].any()


@pytest.mark.parametrize("name", ["bimodal", "ring"])
def test_points_have_labels_too(name: str, tmp_path: Path) -> None:
    config = recipes.get("cgan").config.updated(device="cpu", data=f"toy:{name}")
    trainer = build_trainer(config, callbacks=[SampleGrid(tmp_path / "samples")])
    trainer.fit(steps=1)
    with Image.open(tmp_path / "samples" / "epoch_0001_step_0000001.png") as picture:
        picture.load()


def small_trainer(seed: int) -> Trainer:
    """A twin of the recipe that learns within seconds."""
    networks = "gankit.models.conditional_mlp"
    hidden = {"hidden": [128, 128]}
    return build_trainer(
        recipes.get("cgan").config.updated(
            device="cpu",
            seed=seed,
            image_size=8,
            z_dim=32,
            lr=1e-3,
            generator={"class_path": f"{networks}.Generator", "init_args": hidden},
            discriminator={
                "class_path": f"{networks}.Discriminator",
                "init_args": {**hidden, "dropout": 0.3, "output": "logit"},
            },
        )
    )


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_the_class_asked_for_is_the_class_found(seed: int) -> None:
    trainer = small_trainer(seed)
    trainer.fit(steps=2500)
    fakes = generate(trainer.gan_step.G, 1000, seed=1, distribution="uniform")
    found = nearest_class(fakes)
    assert (found == torch.arange(1000) % 10).float().mean() >= 0.9
    # Not ten pictures: within a class samples differ as much as half of what the digits do.
    labels = torch.arange(1000) % 10
    real = trainer.data.normalized()
    assert trainer.data.labels is not None
    for digit in range(10):
        spread = real[trainer.data.labels == digit].std(dim=0).mean()
        assert fakes[labels == digit].std(dim=0).mean() > 0.4 * spread


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_recipe_draws_the_class_asked_for(seed: int) -> None:
    trainer = build_trainer(recipes.get("cgan").config.updated(device="cpu", seed=seed))
    trainer.fit(steps=4000)
    classifier = DigitClassifier.fit(data.load("digits", split="all"), seed=0)
    fakes = generate(trainer.gan_step.G, 1000, seed=1, distribution="uniform")
    found = classifier.probabilities(fakes).argmax(dim=1)
    assert (found == torch.arange(1000) % 10).float().mean() >= 0.9
