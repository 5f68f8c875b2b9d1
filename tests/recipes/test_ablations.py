"""The ablations: every variant trains, and differs from the run as it is in what it says."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from examples import ablations
from gankit import recipes
from gankit.nn import BatchNormAct1d, LeakyReLUDropout
from gankit.runs.build import build_trainer
from gankit.runs.component import import_object, split_spec
from gankit.runs.settings import changed, written
from gankit.training.config import flat

PAGE = Path(__file__).parents[2] / "docs" / "ablations.md"
FLAGS = ("norm", "dropout", "hidden")


@pytest.mark.parametrize("variant", ablations.VARIANTS)
def test_a_variant_trains_and_changes_its_settings_alone(variant: str) -> None:
    settings = ablations.config(variant, 0, 2)
    trainer = build_trainer(settings)
    trainer.fit(steps=2)
    assert trainer.gan_step.paired
    before = flat(ablations.config("as it is", 0, 2).as_dict())
    after = flat(settings.as_dict())
    differing = {name.removeprefix("step.") for name in after if after[name] != before.get(name)}
    run, generator, discriminator = ablations.VARIANTS[variant]
    networks = {"generator": generator, "discriminator": discriminator}
    assert differing == {*run, *(name for name, settings in networks.items() if settings)}


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class ClassCoverage:
        classes_found, median_confidence = 8, 0.75

    class FakeClassifier:
        @classmethod
        def fit(cls, images: object, *, seed: int) -> FakeClassifier:
            return cls()

        def __call__(self, samples: torch.Tensor) -> ClassCoverage:
            return ClassCoverage()

    monkeypatch.setattr(ablations, "DigitClassifier", FakeClassifier)
    assert ablations.main(["--variants", "uniform z", "--seeds", "0", "1", "--steps", "1"]) == 0
    assert "| uniform z | 8, 8 | 0.75 (0.75 to 0.75) |" in capsys.readouterr().out


def takes(recipe: str) -> dict[str, set[str]]:
    """Which of ``FLAGS`` the networks of a recipe have, by their signatures."""
    found = {}
    for network in ("generator", "discriminator"):
        path, _ = split_spec(network, getattr(recipes.get(recipe).config, network))
        found[network] = set(FLAGS) & set(inspect.signature(import_object("", path)).parameters)
    return found


def test_the_page_says_which_recipe_takes_which_flag() -> None:
    said = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`") and cells[0].strip("`") != "generator":
            flags = [{flag for flag in FLAGS if f"`{flag}`" in cell} for cell in cells[1:]]
            for name in cells[0].replace("`", "").split(", "):
                said[name] = dict(zip(("generator", "discriminator"), flags, strict=True))
    assert said == {name: takes(name) for name in recipes.names()}


@pytest.mark.parametrize("recipe", ["mmgan", "cgan", "sgan", "ebgan", "ae", "vae"])
def test_the_flags_reach_the_networks_of_a_recipe(recipe: str) -> None:
    start = recipes.get(recipe).config.updated(image_size=8, batch_size=8, device="cpu")
    flags = ["generator.norm=batch", "generator.hidden=[12, 9, 7]"]
    flags += ["discriminator.dropout=0.3", "discriminator.hidden=[11]"]
    trainer = build_trainer(changed(start, written(flags), "--set"))
    G, D = trainer.gan_step.networks.values()
    assert [m.num_features for m in G.modules() if isinstance(m, BatchNormAct1d)] == [12, 9, 7]
    assert [m.p for m in D.modules() if isinstance(m, LeakyReLUDropout)] == [0.3]
    trainer.fit(steps=2)
    flags = ["generator.norm=batch", "discriminator.norm=batch"]
    trainer = build_trainer(changed(start, written(flags), "--set"))
    assert getattr(trainer.gan_step, "paired", None) is (None if recipe in ("ae", "vae") else True)
    before = [buffer.clone() for buffer in list(trainer.gan_step.networks.values())[1].buffers()]
    assert len(before) > 0
    trainer.fit(steps=2)
    for parameter in trainer.gan_step.parameters():
        assert parameter.isfinite().all()
    after = list(list(trainer.gan_step.networks.values())[1].buffers())
    assert not any(torch.equal(x, y) for x, y in zip(before, after, strict=True))
