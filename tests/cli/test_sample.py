"""gankit sample: grids with a column per class, arrays, and single files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import gankit
from gankit.cli import main
from gankit.errors import ConfigError
from gankit.training import save_grid
from gankit.training.image_files import save_folder, save_npz

SMALL = """
generator: {class_path: gankit.models.conditional_mlp.Generator, init_args: {hidden: [16]}}
discriminator: {class_path: gankit.models.conditional_mlp.Discriminator,
                init_args: {hidden: [16], output: logit}}
image_size: 8
device: cpu
sample_every: 100
"""
pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
TRAIN = ["train", "cgan", "--config", "small.yaml", "--steps", "2", "--out", "run", "--quiet"]


def as_bytes(images: Tensor) -> Tensor:
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def cells(path: str, columns: int, rows: int, scale: int, top: int) -> Tensor:
    """The images ``[rows * columns, 8, 8]`` of a grid of grey ones."""
    with Image.open(path) as picture:
        page = torch.from_numpy(np.array(picture))
    step = 8 * scale + 2
    assert page.shape == (top + rows * step + 2, columns * step + 2)
    found = [
        page[top + row * step + 2 :, column * step + 2 :][: 8 * scale : scale, : 8 * scale : scale]
        for row in range(rows)
        for column in range(columns)
    ]
    return torch.stack(found)


def test_what_is_drawn_of_a_conditional_run(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    assert main(TRAIN) == 0
    G = gankit.load("run")
    drawn: dict[str, object] = {}

    def spy(path: Path, panels: list[Tensor], **words: object) -> None:
        drawn.update(words)
        save_grid(path, panels, **words)  # type: ignore[arg-type]

    monkeypatch.setattr("gankit.cli.sample.save_grid", spy)
    # A column per class, named, by default.
    assert main(["sample", "run", "--n", "24", "--seed", "5", "--out", "deep/er/grid.png"]) == 0
    assert drawn["column_names"] == [str(label) for label in range(10)]
    assert drawn["captions"] == ["generated, step 2"]
    images = cells("deep/er/grid.png", columns=10, rows=3, scale=7, top=36)
    wanted = as_bytes(G.sample(24, seed=5, label=torch.arange(24) % 10))
    assert torch.equal(images[:24], wanted[:, 0])
    # Fewer columns are of classes evenly spread, more go around.
    assert main(["sample", "run", "--n", "6", "--columns", "3", "--scale", "1"]) == 0
    assert drawn["column_names"] == ["0", "3", "6"]
    with Image.open("grid.png") as picture:
        assert picture.height == 36 + 2 * 10 + 2
    assert main(["sample", "run", "--n", "24", "--columns", "12"]) == 0
    assert drawn["column_names"] == [str(label) for label in (*range(10), 0, 1)]
    # One class: as square as before.
    assert main(["sample", "run", "--n", "9", "--label", "4"]) == 0
    assert drawn["column_names"] == []
    assert drawn["captions"] == ["generated, step 2, class 4"]
    images = cells("grid.png", columns=3, rows=3, scale=7, top=18)
    assert torch.equal(images, as_bytes(G.sample(9, seed=0, label=4))[:, 0])
    # Single files and an array hold the same images, whole.
    assert main(["sample", "run", "--n", "12", "--seed", "3", "--out", "images/"]) == 0
    wanted = as_bytes(G.sample(12, seed=3))
    names = sorted(os.listdir("images"))
    assert names == [f"{number:05d}_class_{number % 10}.png" for number in range(12)]
    for name, image in zip(names, wanted, strict=True):
        with Image.open(Path("images") / name) as picture:
            assert torch.equal(torch.from_numpy(np.array(picture)), image[0])
    assert main(["sample", "run", "--n", "12", "--seed", "3", "--out", "images.npz"]) == 0
    with np.load("images.npz") as arrays:
        assert torch.equal(torch.from_numpy(arrays["images"]), wanted.permute(0, 2, 3, 1))
        assert arrays["labels"].tolist() == [n % 10 for n in range(12)]
    # Nothing mixes with what lies there, nor goes to the folder at hand unasked.
    assert "--out is ''; allowed are FILE.png" in refused("sample", "run", "--out", "")
    words = "images is not an empty folder; allowed is a new one"
    assert words in refused("sample", "run", "--out", "images")
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def parts(n: int, channels: int) -> tuple[Tensor, list[Tensor]]:
    images = torch.rand(n, channels, 5, 4) * 2 - 1
    return as_bytes(images), list(images.split(3))


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_arrays_hold_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    wanted, batches = parts(7, channels)
    save_npz(tmp_path / "a.npz", batches, (7, channels, 5, 4), None)
    with np.load(tmp_path / "a.npz") as arrays:
        assert list(arrays) == ["images"]
        assert torch.equal(torch.from_numpy(arrays["images"]), wanted.permute(0, 2, 3, 1))


def test_arrays_of_points_are_numbers(tmp_path: Path) -> None:
    points = torch.randn(7, 1, 1, 2)
    save_npz(tmp_path / "a.npz", points.split(3), (7, 1, 1, 2), None)
    with np.load(tmp_path / "a.npz") as arrays:
        assert torch.equal(torch.from_numpy(arrays["images"]), points.flatten(1))


def test_what_fails_in_between_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Tensor]:
        yield torch.zeros(2, 3, 5, 4)
        raise RuntimeError("out of memory")

    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(RuntimeError, match="out of memory"):
        save_npz(place / "a.npz", failing(), (4, 3, 5, 4), None)
    with pytest.raises(RuntimeError, match="out of memory"):
        save_folder(place / "a", failing(), 4, None)
    assert not list(place.iterdir())


def test_a_folder_takes_what_a_png_can_hold(tmp_path: Path) -> None:
    for channels in (2, 6):
        with pytest.raises(ConfigError, match=f"images of {channels} channels are no PNGs"):
            save_folder(tmp_path / "a", parts(2, channels)[1], 2, None)
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        save_folder(tmp_path / mode, parts(2, channels)[1], 2, None)
        assert sorted(os.listdir(tmp_path / mode)) == ["00000.png", "00001.png"]
        with Image.open(tmp_path / mode / "00001.png") as picture:
            assert (picture.mode, picture.size) == (mode, (4, 5))
    (tmp_path / "empty").mkdir()
    save_folder(tmp_path / "empty", parts(1, 1)[1], 1, None)
    assert os.listdir(tmp_path / "empty") == ["00000.png"]
