"""High-resolution images of any size and their crops, large and small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gankit.data import FieldData, load
from gankit.data.high_resolution import HighResolutionData, load_photographs, shrink
from gankit.data.images import normalize_bytes
from gankit.data.toy_prints import load_prints
from gankit.errors import ConfigError, DataError, GankitWarning
from gankit.runs.build import load_data
from gankit.training.config import RunConfig


def some_images(*sizes: tuple[int, int], channels: int = 2) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (channels, *size), generator=random, dtype=torch.uint8)
        for size in sizes
    ]


def test_without_chance_an_index_is_a_crop_of_one_place() -> None:
    images = some_images((8, 8), (17, 25))
    data = HighResolutionData.from_images(images, crop=8, scale=2, augment=False)
    assert len(data) == 1 + 2 * 3
    assert data.fields == {"low": (2, 4, 4), "high": (2, 8, 8)}
    assert isinstance(data, FieldData)
    batch = data.batch(torch.arange(7))
    crops = [images[0], *(images[1][:, y : y + 8, x : x + 8] for y in (0, 8) for x in (0, 8, 16))]
    assert torch.equal(batch["high"], normalize_bytes(torch.stack(crops)))
    assert torch.equal(batch["low"], shrink(batch["high"], 2))
    assert all(torch.equal(data.image(number), image) for number, image in enumerate(images))


def test_crops_at_random_lie_in_their_image_and_reach_every_place() -> None:
    # Each pixel holds its own row and column, and the image.
    images = []
    for number, (height, width) in enumerate(((9, 8), (11, 20))):
        rows, columns = torch.arange(height)[:, None], torch.arange(width)
        planes = torch.broadcast_tensors(rows, columns, torch.tensor(number))
        images.append(torch.stack(planes).to(torch.uint8))
    data = HighResolutionData.from_images(images, crop=8, scale=2)
    assert len(data) == 1 + 2
    torch.manual_seed(0)
    corners = set()
    for _ in range(60):
        high = data.batch(torch.tensor([0, 1, 2]))["high"].add(1).mul(127.5).round().long()
        assert torch.equal(high[:, 2, 0, 0], torch.tensor([0, 1, 1]))
        for crop in high:
            y, x, number = (int(value) for value in crop[:, 0, 0])
            assert torch.equal(crop, images[number][:, y : y + 8, x : x + 8].long())
            corners.add((number, y, x))
    assert {y for number, y, _ in corners if number == 0} == {0, 1}
    assert {x for number, _, x in corners if number == 1} == set(range(13))


def test_some_crops_are_mirrored() -> None:
    data = HighResolutionData.from_images(some_images((8, 8)), crop=8, scale=4, augment=False)
    (plain,) = data.batch(torch.tensor([0]))["high"]
    torch.manual_seed(0)
    batch = data.flipped(True).batch(torch.zeros(40, dtype=torch.int64))
    same = [torch.equal(crop, plain) for crop in batch["high"]]
    mirrored = [torch.equal(crop, plain.flip(2)) for crop in batch["high"]]
    assert all(a or b for a, b in zip(same, mirrored, strict=True))
    assert 10 < sum(mirrored) < 30
    assert torch.equal(batch["low"], shrink(batch["high"], 4))


def test_small_images_are_what_a_file_of_their_size_holds() -> None:
    random = torch.Generator().manual_seed(0)
    large = torch.randint(0, 256, (1, 3, 24, 32), generator=random, dtype=torch.uint8)
    small = (shrink(normalize_bytes(large), 4) + 1) * 127.5
    assert (small - small.round()).abs().max() < 1e-4
    pillow = Image.fromarray(large[0].permute(1, 2, 0).numpy())
    expected = np.array(pillow.resize((8, 6), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.abs(small[0].numpy() - expected).max() <= 1.01


def write(folder: Path, name: str, image: np.ndarray) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / name)


def test_a_folder_of_any_sizes_and_a_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    color = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write(tmp_path, "all/a.png", color)
    write(tmp_path, "all/below/b.png", random.integers(0, 256, (16, 16), dtype=np.uint8))
    write(tmp_path, "all/small.png", random.integers(0, 256, (15, 40, 3), dtype=np.uint8))
    (tmp_path / "all" / "notes.txt").write_text("none")
    words = r"skipped 2 files: .*small.png: an image of 40x15 is smaller than a crop, 16x16"
    with pytest.warns(GankitWarning, match=words):
        data = load(f"highres:{tmp_path / 'all'}", image_size=16, scale=4)
    assert isinstance(data, HighResolutionData)
    assert data.sizes.tolist() == [[20, 30], [16, 16]]
    assert (data.augment, data.flip, data.channels) == (True, True, 3)
    assert "2 RGB images, crops of 16x16" in data.notes[0]
    assert np.array_equal(data.image(0).permute(1, 2, 0).numpy(), color)
    file = tmp_path / "all" / "below" / "b.png"
    grey = load(f"highres:{file}", image_size=16, augment=False)
    assert grey.fields == {"low": (1, 4, 4), "high": (1, 16, 16)}
    # A run of a step that enlarges reads a plain folder in this way too.
    config = RunConfig(data=f"folder:{file}", image_size=16, step="gankit.gans.srgan.SRResNetStep")
    assert isinstance(load_data(config), HighResolutionData)


def test_photographs_are_cut_into_what_is_learnt_and_what_is_not() -> None:
    whole, train, test = (load_photographs(split=split) for split in ("all", "train", "test"))
    for number in (0, 1):
        halves = [train.image(number), test.image(number)]
        assert torch.equal(torch.cat(halves, 2), whole.image(number))
    assert test.sizes.tolist() == [[427, 160]] * 2
    assert (train.augment, test.augment) == (True, False)


def test_prints_are_pages_with_textures_or_without() -> None:
    pages, others = load_prints(n=3, image_size=32), load_prints(n=3, split="test")
    again, lines = load_prints(n=3), load_prints(n=3, textures=False)
    assert pages.sizes.tolist() == [[160, 160]] * 3
    assert torch.equal(pages.pixels, again.pixels)
    assert not torch.equal(pages.pixels, others.pixels)
    assert load_prints(n=3, split="all").sizes.shape == (6, 2)
    # Of letters and lines more of the paper is left.
    light = [(p.pixels > 180).float().mean() for p in (pages, lines)]
    assert light[0] < light[1]
    assert load_prints(n=1, image_size=200).sizes.tolist() == [[200, 200]]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("toy:prints", {"scale": 1}, "scale must be an integer from 2, got 1"),
        ("toy:prints", {"image_size": 30}, "image_size, .* must be a multiple of the scale 4"),
        ("toy:prints", {"n": 0}, "n must be at least 1, got 0"),
        ("photographs", {"image_size": 164, "split": "test"}, "160x427 is smaller than a crop"),
        ("highres:absent", {"image_size": 16}, "absent does not exist, expected an image, or a f"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    name: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        load(name, **{"image_size": 32, **arguments})


def test_images_that_no_set_has_are_named(tmp_path: Path) -> None:
    images = some_images((8, 8), (4, 9))
    with pytest.raises(DataError, match="an image of 9x4 is smaller than a crop, 8x8"):
        HighResolutionData.from_images(images, crop=8)
    with pytest.raises(DataError, match="images of 2 and of 5 channels in one set"):
        HighResolutionData.from_images([images[0], *some_images((8, 8), channels=5)], crop=8)
    with pytest.raises(DataError, match=r"must be uint8 \[C, H, W\], got torch.float32 \[2, 8"):
        HighResolutionData.from_images([images[0].float()], crop=8)
    with pytest.raises(DataError, match="the set is empty"):
        HighResolutionData.from_images([], crop=8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images in .*empty"):
        load(f"highres:{tmp_path / 'empty'}", image_size=16)
    write(tmp_path, "small.png", np.zeros((9, 9), dtype=np.uint8))
    with pytest.raises(DataError, match=r"highres:.*: .*small.png: an image of 9x9 is smaller"):
        load(f"highres:{tmp_path / 'small.png'}", image_size=16)
    config = RunConfig(
        data={"class_path": f"folder:{tmp_path}", "init_args": {"labels": "none"}},
        step="gankit.gans.srgan.SRResNetStep",
    )
    with pytest.raises((ConfigError, DataError), match="has no argument 'labels'"):
        load_data(config)
