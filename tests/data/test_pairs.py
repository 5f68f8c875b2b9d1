"""Paired images: both layouts of files, and crops and flips that a pair shares."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
from PIL import Image

from gankit.data import FieldData, ImageData, PairData, load, load_pairs
from gankit.errors import DataError, GankitWarning
from tests.data.image_folders import flat, noise, write


def chw(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def side_by_side(folder, count=3, size=16):
    for i in range(count):
        write(folder / f"{i}.png", noise(i, size, 2 * size))
    return folder


def counting(n: int, size: int, channels: int = 1) -> ImageData:
    """Images whose pixels tell the image, and with two channels or more the row and column."""
    line = torch.arange(size, dtype=torch.uint8)
    planes = [
        torch.arange(n, dtype=torch.uint8)[:, None, None].expand(n, size, size),
        line[:, None].expand(n, size, size),
        line[None, :].expand(n, size, size),
    ]
    return ImageData(torch.stack(planes[:channels], dim=1))


def as_bytes(batch: torch.Tensor) -> torch.Tensor:
    return ((batch + 1) * 127.5).round().long()


def test_the_left_half_is_a_and_the_right_half_b(tmp_path):
    data = load_pairs(side_by_side(tmp_path), image_size=None, augment=False)
    assert isinstance(data, FieldData)
    assert data.fields == {"a": (3, 16, 16), "b": (3, 16, 16)}
    for i in range(3):
        pixels = chw(noise(i, 16, 32))
        assert torch.equal(data.a.images[i], pixels[:, :, :16])
        assert torch.equal(data.b.images[i], pixels[:, :, 16:])
    batch = data.batch(torch.tensor([2, 0]))
    assert torch.equal(batch["a"], data.a.gather(torch.tensor([2, 0])))
    assert torch.equal(batch["b"], data.b.gather(torch.tensor([2, 0])))


def test_folders_are_matched_by_name_whatever_the_suffix(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é ü")
    composed = unicodedata.normalize("NFC", decomposed)
    assert decomposed != composed
    for i, (a, b) in enumerate([("10.png", "10.bmp"), ("x/2.png", "x/2.png")]):
        write(tmp_path / "A" / a, noise(i, 8, 8, 1))
        write(tmp_path / "B" / b, noise(10 + i, 8, 8))
    write(tmp_path / "A" / f"{decomposed}.png", noise(2, 8, 8, 1))
    write(tmp_path / "B" / f"{composed}.png", noise(12, 8, 8))
    data = load_pairs(tmp_path, image_size=None, augment=False)
    assert data.fields == {"a": (1, 8, 8), "b": (3, 8, 8)}
    order = [
        0,
        2,
        1,
    ]  # by A's names: "10", then the decomposed one, which begins with "e", then "x/2"
    assert data.a.images[:, 0].tolist() == [noise(i, 8, 8, 1).tolist() for i in order]
    assert all(torch.equal(data.b.images[k], chw(noise(10 + i, 8, 8))) for k, i in enumerate(order))


@pytest.mark.parametrize("layout", ["train/0.png", "train/A/0.png", "A/train/0.png"])
def test_splits_lie_below_or_above_the_domains(tmp_path, layout):
    colors = {"train": (255, 0, 0), "val": (0, 255, 0), "test": (0, 0, 255)}
    for split, color in colors.items():
        path = layout.replace("train", split)
        flat(tmp_path / path, color, 8, 16)
        if "A" in path:
            flat(tmp_path / path.replace("A", "B"), color, 8, 16)

    def seen(split: str) -> list[list[int]]:
        return load_pairs(tmp_path, image_size=8, split=split).b.images[:, :, 0, 0].tolist()

    assert seen("train") == [[255, 0, 0]]
    assert seen("test") == [[0, 0, 255]]
    assert seen("all") == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_val_serves_as_test_and_a_folder_without_splits_as_train(tmp_path):
    flat(tmp_path / "two" / "train" / "0.png", (0, 0, 0), 8, 16)
    flat(tmp_path / "two" / "val" / "0.png", (9, 9, 9), 8, 16)
    assert load_pairs(tmp_path / "two", image_size=8, split="test").a.images.unique().tolist() == [
        9
    ]
    flat(tmp_path / "one" / "0.png", (7, 7, 7), 8, 16)
    for split in ("train", "all"):
        assert len(load_pairs(tmp_path / "one", image_size=8, split=split)) == 1
    with pytest.raises(DataError, match=r"no folder test or val in .*one for split 'test'"):
        load_pairs(tmp_path / "one", split="test")
    flat(tmp_path / "three" / "test" / "0.png", (0, 0, 0), 8, 16)
    with pytest.raises(DataError, match=r"no folder train in .* for split 'train'"):
        load_pairs(tmp_path / "three")


def test_training_loads_larger_and_crops_and_the_test_does_not(tmp_path):
    side_by_side(tmp_path / "train", size=30)
    side_by_side(tmp_path / "test", size=30)
    train = load(f"pairs:{tmp_path}", image_size=16)
    assert isinstance(train, PairData)
    assert (train.a.shape, train.crop_size, train.flip) == ((3, 18, 18), 16, True)
    assert train.fields["a"] == train.fields["b"] == (3, 16, 16)
    test = load(f"pairs:{tmp_path}", image_size=16, split="test")
    assert isinstance(test, PairData)
    assert (test.a.shape, test.crop_size, test.flip) == ((3, 16, 16), None, False)
    assert load_pairs(tmp_path, image_size=256).a.shape == (3, 286, 286)
    stretched = Image.fromarray(noise(1, 30, 60)[:, :30]).resize((16, 16), Image.BICUBIC)
    assert torch.equal(test.a.images[1], chw(np.array(stretched)))


def test_a_pair_shares_its_crop_and_its_flip():
    data = PairData(counting(5, 12, 3), counting(5, 12, 3), crop_size=9, flip=True)
    torch.manual_seed(0)
    indices = torch.arange(5).repeat(200)
    batch = data.batch(indices)
    assert batch["a"].shape == (1000, 3, 9, 9)
    assert torch.equal(batch["a"], batch["b"])
    image, row, column = as_bytes(batch["a"]).unbind(1)
    assert torch.equal(image, indices[:, None, None].expand_as(image))
    top, left, right = row[:, 0, 0], column[:, 0, 0], column[:, 0, -1]
    steps = torch.arange(9)
    assert torch.equal(row, (top[:, None] + steps)[:, :, None].expand_as(row))
    direction = (right > left).long() * 2 - 1
    columns = left[:, None] + direction[:, None] * steps
    assert torch.equal(column, columns[:, None, :].expand_as(column))
    # Every one of the four offsets along each axis, and both directions, about as often: the
    # bounds are six standard deviations away.
    for offset in (top, torch.minimum(left, right)):
        counts = torch.bincount(offset, minlength=4)
        assert len(counts) == 4
        assert ((counts > 168) & (counts < 332)).all()
    assert 405 < int((direction > 0).sum()) < 595


def test_the_default_generator_decides_and_is_used_once_a_batch():
    data = PairData(counting(5, 12, 3), counting(5, 12), crop_size=9, flip=True)
    indices = torch.arange(5)
    torch.manual_seed(3)
    first, second = data.batch(indices), data.batch(indices)
    torch.manual_seed(3)
    again = data.batch(indices)
    assert torch.equal(first["a"], again["a"])
    assert not torch.equal(first["a"], second["a"])
    before = torch.get_rng_state()
    PairData(data.a, data.b).batch(indices)
    assert torch.equal(torch.get_rng_state(), before)


def test_flips_without_a_crop():
    data = PairData(counting(2, 6, 3), counting(2, 6), flip=True)
    torch.manual_seed(0)
    batch = data.batch(torch.arange(2).repeat(20))
    first = as_bytes(batch["a"])[:, 2, 0, 0]
    assert set(first.tolist()) == {0, 5}
    assert batch["b"].shape == (40, 1, 6, 6)


def test_the_sampler_and_the_move(tmp_path):
    data = load_pairs(side_by_side(tmp_path), image_size=16)
    sampler = data.sampler(3, generator=torch.Generator().manual_seed(0))
    assert sorted(next(sampler).tolist()) == [0, 1, 2]
    moved = data.to("cpu")
    assert isinstance(moved, PairData)
    assert (moved.name, moved.crop_size, moved.flip) == (data.name, 16, True)
    assert moved.fields == data.fields


def test_damaged_files_are_skipped_with_their_partner(tmp_path):
    for i in range(4):
        write(tmp_path / "A" / f"{i}.png", noise(i, 8, 8))
        write(tmp_path / "B" / f"{i}.png", noise(10 + i, 8, 8))
    (tmp_path / "A" / "0.png").write_bytes(b"text")
    cut = tmp_path / "B" / "2.png"
    cut.write_bytes(cut.read_bytes()[:100])
    (tmp_path / "B" / "Thumbs.db").write_bytes(b"\0")
    with pytest.warns(GankitWarning) as caught:
        data = load_pairs(tmp_path, image_size=None, augment=False)
    (warning,) = caught
    text = str(warning.message)
    assert f"skipped 3 files: {tmp_path / 'A' / '0.png'}: not an image" in text
    assert f"{cut}: cannot be decoded" in text
    assert f"{tmp_path / 'B' / 'Thumbs.db'}: not an image" in text
    assert torch.equal(data.a.images, torch.stack([chw(noise(i, 8, 8)) for i in (1, 3)]))
    assert torch.equal(data.b.images, torch.stack([chw(noise(i, 8, 8)) for i in (11, 13)]))


def test_an_odd_width_has_no_two_halves(tmp_path):
    side_by_side(tmp_path, 2, 8)
    write(tmp_path / "odd.png", noise(0, 8, 15))
    with pytest.warns(GankitWarning, match=r"skipped 1 file: .*odd\.png: 15 pixels wide"):
        assert len(load_pairs(tmp_path, image_size=8)) == 2


def refuse(tmp_path, match: str, **arguments) -> None:
    with pytest.raises(DataError, match=match) as caught:
        load_pairs(tmp_path, **arguments)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_paired(tmp_path):
    refuse(tmp_path / "none", r"none does not exist, expected a folder of paired images")
    refuse(tmp_path, r"no images in .* for split 'train', expected files of type \.bmp")
    flat(tmp_path / "A" / "1.png", (0, 0, 0))
    refuse(tmp_path, r"has one of the folders A and B, expected both or none")
    flat(tmp_path / "B" / "1.png", (0, 0, 0))
    flat(tmp_path / "B" / "2.png", (0, 0, 0))
    refuse(tmp_path, r"1 image without a partner of the same name in the other folder: .*B/2\.png")
    flat(tmp_path / "A" / "2.png", (0, 0, 0))
    flat(tmp_path / "A" / "2.bmp", (0, 0, 0))
    refuse(tmp_path, r"A/2\.bmp and .*A/2\.png have one name")
    (tmp_path / "A" / "2.bmp").unlink()
    flat(tmp_path / "A" / "2.png", (0, 0, 0), 10, 10)
    refuse(tmp_path, r"images of different sizes in one set.*; give an image_size", image_size=None)
    refuse(tmp_path / "A" / "1.png", r"1\.png is not a folder")
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    refuse(tmp_path, r"none of 2 images can be read; .*not an image")


def test_two_layouts_in_one_set(tmp_path):
    side_by_side(tmp_path / "train")
    for domain in "AB":
        flat(tmp_path / "test" / domain / "0.png", (0, 0, 0))
    assert len(load_pairs(tmp_path, split="test")) == 1
    refuse(tmp_path, "some splits in .* have folders A and B, others do not", split="all")


@pytest.mark.parametrize(
    ("split", "a", "b"),
    [("train", "A/train", "B"), ("test", "A/test", "B/val"), ("all", "A/train", "B/val")],
)
def test_domains_of_different_splits(tmp_path, split, a, b):
    flat(tmp_path / a / "0.png", (0, 0, 0))
    flat(tmp_path / b / "0.png", (0, 0, 0))
    refuse(tmp_path, "A and B in .* have different splits", split=split)


def test_sets_that_are_no_pairs():
    five, six = counting(5, 12), counting(6, 12)
    with pytest.raises(DataError, match=r"got \[5, 1, 12, 12\] and \[6, 1, 12, 12\]"):
        PairData(five, six)
    with pytest.raises(DataError, match="as many images of one height and width"):
        PairData(five, counting(5, 13))
    with pytest.raises(DataError, match="b must be an ImageData, got Tensor"):
        PairData(five, five.images)  # type: ignore[arg-type]
    for crop in (0, 13, 2.5):
        with pytest.raises(DataError, match="crop_size must be from 1 to 12"):
            PairData(five, five, crop_size=crop)  # type: ignore[arg-type]
