"""Conditional runs on labels that have gaps, or that some images lack."""

from __future__ import annotations

import argparse
import warnings

import pytest
import torch

from gankit.cli.sample import _labels
from gankit.data import ImageData
from gankit.errors import DataError, GankitWarning
from gankit.loaded import Interface
from gankit.recipes import get
from gankit.runs.build import build_trainer
from gankit.training.config import RunConfig
from gankit.training.diagnostics import Classes, look

_STATE = {"labels": torch.zeros(0, dtype=torch.int64)}


def own_images() -> ImageData:
    labels = _STATE["labels"]
    values = torch.randint(0, 256, (len(labels), 1, 8, 8))
    return ImageData(values.to(torch.uint8), labels, name="letters")


def config(recipe: str, labels: torch.Tensor, **changes: object) -> RunConfig:
    _STATE["labels"] = labels
    here = f"{__name__}.own_images"
    return get(recipe).config.updated(data=here, steps=2, batch_size=20, device="cpu", **changes)


def test_a_class_without_images_is_told(caplog: pytest.LogCaptureFixture) -> None:
    trainer = build_trainer(config("cgan", torch.arange(260) % 26 + 1))
    assert caplog.messages == [
        "letters has images of 26 of 27 classes: none of class 0, of which what G makes means "
        "nothing"
    ]
    assert trainer.config["classes"] == list(range(1, 27))
    trainer.fit(steps=2)


def test_all_classes_there_is_nothing_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    trainer = build_trainer(config("cgan", torch.arange(260) % 10))
    assert caplog.messages == []
    assert trainer.config["classes"] == list(range(10))


def test_a_class_without_images_is_told_when_it_is_drawn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    interface = Interface(5, "normal", (1, 8, 8), n_classes=27, classes=tuple(range(1, 27)))
    for label, said in ((1, 0), (0, 1)):
        arguments = argparse.Namespace(run="run", label=str(label), n=3)
        drawn = _labels(arguments, interface)
        assert drawn is not None
        assert drawn.tolist() == [label] * 3
        assert caplog.text.count("no image of class 0 was in the data") == said
    with pytest.warns(GankitWarning, match="no image of class 0 was in the data"):
        interface.labels(3, [1, 0, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interface.labels(3, 26)
        interface.labels(60)


@pytest.mark.parametrize("recipe", ["cgan", "sgan"])
@pytest.mark.parametrize("factor", [10**6, 1000])
def test_identifiers_are_no_classes(recipe: str, factor: int) -> None:
    changes = {"labelled": 52} if recipe == "sgan" else {}
    with pytest.raises(DataError, match="number them without gaps"):
        build_trainer(config(recipe, torch.arange(260) % 26 * factor, **changes))


def test_a_gan_without_conditions_does_not_look_at_labels() -> None:
    trainer = build_trainer(
        config("gan", torch.arange(260) % 26 * 10**6 - 1 * (torch.arange(260) == 0))
    )
    assert trainer.config["classes"] is None


@pytest.mark.parametrize("place", [0, 1, 150, 259])
def test_an_unlabelled_image_is_found_at_the_start(place: int) -> None:
    labels = torch.arange(260) % 10
    labels[place] = -1
    with pytest.raises(DataError, match=r"letters has 1 unlabelled image \(label -1\)"):
        build_trainer(config("cgan", labels))


def test_diagnostics_count_the_classes_of_labelled_images() -> None:
    labels = torch.arange(260) % 10
    labels[40:] = -1
    trainer = build_trainer(config("sgan", labels, labelled=40))
    trainer.fit(steps=2)
    assert look(trainer).classes == 10
    classes = Classes.of(trainer.data)
    assert classes.counts.tolist() == [4] * 10


def test_diagnostics_of_data_of_which_none_is_labelled() -> None:
    trainer = build_trainer(config("gan", torch.full((260,), -1)))
    trainer.fit(steps=2)
    health = look(trainer)
    assert (health.modes, health.classes) == (0, 0)
