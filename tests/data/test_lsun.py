"""LSUN's databases, as images in files."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from gankit.data import load
from gankit.errors import DataError, MissingExtra
from tests.data.image_folders import noise

lmdb = pytest.importorskip("lmdb")


def database(root: Path, name: str, count: int, first: int = 0) -> Path:
    """A database as LSUN's: WebP images under hashes."""
    folder = root / "lsun" / f"{name}_lmdb"
    folder.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(folder), map_size=2**22) as opened, opened.begin(write=True) as writing:
        for number in range(first, first + count):
            out = io.BytesIO()
            Image.fromarray(noise(number, 12, 17)).save(out, "WEBP", lossless=True)
            writing.put(f"{number:040x}".encode(), out.getvalue())
    return folder


def test_categories_are_classes(tmp_path):
    database(tmp_path, "tower_train", 3)
    database(tmp_path, "bedroom_train", 2, first=10)
    database(tmp_path, "bedroom_val", 1, first=20)
    data = load("lsun", root=tmp_path, image_size=[12, 17])
    assert (len(data), data.shape, data.class_names) == (5, (3, 12, 17), ("bedroom", "tower"))
    assert data.labels.tolist() == [0, 0, 1, 1, 1]
    expected = torch.from_numpy(noise(10, 12, 17)).permute(2, 0, 1)
    assert torch.equal(data.images[0], expected)
    assert "lsun: 5 images, RGB" in data.notes[0]
    assert "2 classes: bedroom, tower." in data.notes[0]
    turned = load("lsun", root=tmp_path, image_size=8, categories=["tower", "bedroom"])
    assert turned.labels.tolist() == [0, 0, 0, 1, 1]
    one = load("lsun", root=tmp_path, image_size=8, categories="tower")
    assert (len(one), one.labels) == (3, None)
    assert len(load("lsun", root=tmp_path, image_size=8, split="test")) == 1
    assert len(load("lsun", root=tmp_path, image_size=8, split="all")) == 6


def test_unpacked_once_and_again_when_the_database_changes(tmp_path):
    database(tmp_path, "tower_train", 3)
    load("lsun", root=tmp_path, image_size=8)
    files = sorted((tmp_path / "cache" / "lsun" / "tower_train").glob("*/*.webp"))
    times = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 3
    load("lsun", root=tmp_path, image_size=8)
    assert [file.stat().st_mtime_ns for file in files] == times
    # Killed in the middle: a file half written and no mark that all are there.
    files[1].write_bytes(files[1].read_bytes()[:20])
    (files[0].parents[1] / ".whole.json").unlink()
    assert len(load("lsun", root=tmp_path, image_size=8)) == 3
    # Another database in the same place.
    for file in (tmp_path / "lsun" / "tower_train_lmdb").iterdir():
        file.unlink()
    database(tmp_path, "tower_train", 2, first=30)
    again = load("lsun", root=tmp_path, image_size=[12, 17])
    assert len(again) == 2
    assert torch.equal(again.images[1], torch.from_numpy(noise(31, 12, 17)).permute(2, 0, 1))


def test_an_image_that_was_removed_is_unpacked_again(tmp_path):
    database(tmp_path, "tower_train", 3)
    load("lsun", root=tmp_path, image_size=8)
    files = sorted((tmp_path / "cache" / "lsun" / "tower_train").glob("*/*.webp"))
    files[1].unlink()
    assert len(load("lsun", root=tmp_path, image_size=8)) == 3
    assert files[1].is_file()


def test_a_database_that_is_cut_off_is_refused(tmp_path):
    # As by a download that broke off: reading what is not there would kill the process.
    file = database(tmp_path, "tower_train", 3) / "data.mdb"
    content = file.read_bytes()
    for length in (len(content) // 2, len(content) - 4096, 4096, 0):
        file.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut off|damaged"):
            load("lsun", root=tmp_path, image_size=8)
    file.write_bytes(content)
    assert len(load("lsun", root=tmp_path, image_size=8)) == 3


def test_streamed_as_resident(tmp_path):
    database(tmp_path, "tower_train", 3)
    database(tmp_path, "bedroom_train", 2, first=10)
    resident = load("lsun", root=tmp_path, image_size=8)
    streamed = load("lsun", root=tmp_path, image_size=8, resident=False, workers=1)
    indices = torch.tensor([4, 0, 2])
    for field, values in resident.batch(indices).items():
        assert torch.equal(streamed.batch(indices)[field], values)


def test_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match=r"no folder bedroom_train_lmdb in .*bedroom_train_lmdb\.zip"
    ):
        load("lsun", root=tmp_path)
    folder = database(tmp_path, "tower_train", 3)
    with pytest.raises(DataError, match="no folder kitchen_train_lmdb"):
        load("lsun", root=tmp_path, categories=["tower", "kitchen"])
    with pytest.raises(DataError, match=r"categories is .*, expected names such as bedroom"):
        load("lsun", root=tmp_path, categories=["../tower"])
    with pytest.raises(DataError, match="no folder bedroom_val_lmdb"):
        load("lsun", root=tmp_path, split="test")
    (folder / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match="tower_train_lmdb is damaged"):
        load("lsun", root=tmp_path)
    (folder / "data.mdb").unlink()
    with pytest.raises(DataError, match=r"has no file data\.mdb"):
        load("lsun", root=tmp_path)
    database(tmp_path, "tower_train", 0)
    with pytest.raises(DataError, match="has no images"):
        load("lsun", root=tmp_path)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingExtra, match=r"lmdb is not installed: pip install 'gankit\[lsun\]'"):
        load("lsun", root=tmp_path)
