"""The names of classes, from folders to the pictures and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gankit
from gankit.cli import main
from gankit.cli import sample as sample_command
from gankit.errors import CheckpointError, ConfigError
from gankit.training.callbacks import sample_grid
from tests.data.image_folders import noise, write

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
NAMES = ["cats", "hünde 日本"]


def train(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A conditional run on two folders of pictures, 16 high and 24 wide; what its grids showed."""
    for name in NAMES:
        for number in range(4):
            write(Path("pets", name, f"{number}.png"), noise(number, 16, 24))
    drawn: list[dict[str, Any]] = []
    saved = sample_grid.save_grid

    def watched(path: Any, panels: Any, **settings: Any) -> None:
        drawn.append({**settings, "panels": panels})
        saved(path, panels, **settings)

    monkeypatch.setattr(sample_grid, "save_grid", watched)
    argv = ["train", "cgan", "--data", "folder:pets", "--set", "data.image_size=[16, 24]"]
    argv += ["--set", "generator.hidden=[8]", "--set", "discriminator.hidden=[8]"]
    assert main([*argv, "--batch-size", "4", "--steps", "2", "--out", "run", "--quiet"]) == 0
    return drawn


def test_names_are_shown_and_asked_for(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    for grid in train(monkeypatch):
        assert grid["column_names"] == NAMES
        # Real and generated images have the aspect of the data.
        assert [tuple(images.shape[2:]) for images in grid["panels"]] == [(16, 24), (16, 24)]
    shown: dict[str, Any] = {}
    monkeypatch.setattr(sample_command, "save_grid", lambda *a, **k: shown.update(k))
    assert main(["sample", "run", "--n", "4"]) == 0
    assert shown["column_names"] == NAMES
    assert main(["sample", "run", "--n", "3", "--label", NAMES[1]]) == 0
    assert shown["captions"] == [f"generated, step 2, class {NAMES[1]}"]
    G = gankit.load("run")
    assert G.class_names == tuple(NAMES)
    images = G.sample(3, seed=0, label=NAMES[1])
    assert images.shape == (3, 3, 16, 24)
    assert torch.equal(images, G.sample(3, seed=0, label=1))
    assert gankit.export("run", "safetensors").is_file()
    assert gankit.load("run/generator.safetensors").class_names == tuple(NAMES)
    words = refused("sample", "run", "--label", "dogs")
    assert "--label is 'dogs'; allowed are cats, hünde 日本, and the numbers 0 to 1" in words
    assert "--label is 2; allowed are 0 to 1" in refused("sample", "run", "--label", "2")
    with pytest.raises(ConfigError, match="label is 'dogs'; allowed are cats"):
        G.sample(1, label="dogs")


def test_names_that_no_run_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    train(monkeypatch)
    path = Path("run/checkpoint.pt")
    state = gankit.training.load_checkpoint(path)
    for names in ([1, 2], "cats", [["cats"]]):
        state["config"]["class_names"] = names
        gankit.training.save_checkpoint(path, state)
        with pytest.raises(CheckpointError, match="its generator's noise, images or classes"):
            gankit.load("run")
