"""``npz:PATH``, and the sets that torchvision reads."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gankit.data import load
from gankit.errors import DataError, MissingExtra
from gankit.training.image_files import save_npz
from tests.data.image_folders import noise, write


@pytest.mark.parametrize("channels", [1, 3])
def test_what_sampling_writes_comes_back(tmp_path, channels):
    images = torch.randint(256, (5, channels, 8, 8), dtype=torch.uint8)
    batches = (images.float() / 127.5 - 1).split(2)
    save_npz(tmp_path / "x.npz", batches, (5, channels, 8, 8), torch.tensor([0, 1, 2, 0, 1]))
    data = load(f"npz:{tmp_path / 'x.npz'}", image_size=None)
    batch = data.batch(torch.arange(5))
    assert torch.equal(((batch["image"] + 1) * 127.5).round().to(torch.uint8), images)
    assert batch["label"].tolist() == [0, 1, 2, 0, 1]
    assert load(f"npz:{tmp_path / 'x.npz'}", image_size=4).fields["image"] == (channels, 4, 4)


def test_floats_and_grey_arrays(tmp_path):
    values = np.linspace(-1, 1, 4 * 6 * 5).reshape(4, 6, 5)
    np.savez_compressed(tmp_path / "x.npz", images=values)
    data = load(f"npz:{tmp_path / 'x.npz'}", image_size=None)
    assert data.fields == {"image": (1, 6, 5)}
    assert (
        data.batch(torch.arange(4))["image"][:, 0] - torch.from_numpy(values)
    ).abs().max() < 0.01


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(3)}, "has no array images, its arrays are pictures"),
        (
            {"images": np.zeros((2, 3, 8, 8), np.uint8)},
            r"\[N, H, W, C\] .* of shape \[2, 3, 8, 8\]",
        ),
        ({"images": np.zeros((2, 2), np.float32)}, r"got float32 of shape \[2, 2\]"),
        ({"images": np.zeros((2, 8, 8), np.int64)}, "got int64"),
        ({"images": np.zeros((2, 8, 8), np.uint16)}, "must be uint8 or floats, got uint16"),
        ({"images": np.full((2, 8, 8), 7.0)}, r"must lie in \[-1, 1\], got \[7, 7\]"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "is empty"),
        (
            {"images": np.full((2, 8, 8), 9, np.uint8), "labels": np.zeros(2)},
            r"labels must be integers \[N\], got float64",
        ),
        (
            {"images": np.full((2, 8, 8), 9, np.uint8), "labels": np.zeros(3, np.int8)},
            r"labels of shape \[2\], got \[3\]",
        ),
        ({"images": np.array([{"a": 1}], dtype=object)}, "cannot be read .*pickle"),
    ],
)
def test_archives_of_another_kind(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(f"npz:{tmp_path / 'x.npz'}")


def test_files_that_are_no_archives(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(DataError, match=r"does not exist, expected an \.npz"):
        load(f"npz:{path}")
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"is not an \.npz file"):
        load(f"npz:{path}")
    np.savez(path, images=np.full((9, 8, 8), 9, np.uint8))
    content = bytearray(path.read_bytes())
    content[200:210] = b"0123456789"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load(f"npz:{path}")
    with pytest.raises(DataError, match="has no split 'test'"):
        load(f"npz:{path}", split="test")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cifar10", "put the folder cifar-10-batches-py into {root}, as cifar-10-python.tar.gz of"),
        (
            "celeba",
            "put the folder img_align_celeba and identity_CelebA.txt, .* into {root}.celeba",
        ),
    ],
)
def test_sets_that_are_not_there(tmp_path, monkeypatch, name, wanted):
    pytest.importorskip("torchvision")
    with pytest.raises(DataError, match=wanted.format(root=tmp_path)):
        load(name, root=tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtra, match="torchvision"):
        load(name, root=tmp_path)


def test_cifar10(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    parts = {"data_batch_1": rows[:4], "test_batch": rows[4:]}
    for number, (name, values) in enumerate(parts.items()):
        content = {"data": values.reshape(-1, 3072), "labels": [number] * len(values)}
        (folder / name).write_bytes(pickle.dumps(content))
    classes = [f"class {i}" for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))
    # torchvision reads the files only if their checksums are the real ones.
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", ""]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", ""]])
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    data = load("cifar10", root=tmp_path, image_size=None, split="all")
    assert torch.equal(data.images, torch.from_numpy(rows))
    assert data.labels is not None
    assert data.labels.tolist() == [0] * 4 + [1] * 2
    assert data.class_names == tuple(classes)
    assert len(load("cifar10", root=tmp_path, split="test")) == 2
    small = load("cifar10", root=tmp_path, image_size=16)
    assert (small.shape, small.class_names) == ((3, 16, 16), tuple(classes))


def test_celeba(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    faces = tmp_path / "celeba" / "img_align_celeba"
    for number in range(4):
        write(faces / f"{number}.jpg", noise(number, 21, 17))
    names = [f"{number}.jpg" for number in range(4)]

    def read(self, root, split, download):
        assert (Path(root), download) == (tmp_path, False)
        self.filename = {"train": names[:3], "test": names[3:], "all": names}[split]

    monkeypatch.setattr(datasets.CelebA, "__init__", read)
    data = load("celeba", root=tmp_path, image_size=8)
    assert (len(data), data.shape, data.labels) == (3, (3, 8, 8), None)
    assert "celeba: 3 images, RGB, cropped around the center to 8x8" in data.notes[0]
    assert len(load("celeba", root=tmp_path, split="all", resize="pad")) == 4
