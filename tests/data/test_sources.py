from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import pytest
import torch

from gankit.cli import main
from gankit.data import load
from gankit.data.paths import data_root
from gankit.data.sources import NAMES
from gankit.errors import DataError, MissingExtra


def test_digits_are_scikit_learns_at_model_size():
    train, test = load("digits"), load("digits", split="test")
    assert train.shape == (1, 28, 28)
    assert (len(train), len(test), len(load("digits", split="all"))) == (1442, 355, 1797)
    values = train.normalized()
    assert values.min() == -1.0
    assert values.max() > 0.95


def test_digits_at_their_own_size_keep_all_seventeen_levels():
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    data = load("digits", image_size=None, split="all")
    assert data.shape == (1, 8, 8)
    expected = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8)
    assert torch.equal(data.images[:, 0], expected)
    assert data.labels is not None
    assert data.labels.tolist() == bunch.target.tolist()


def test_digits_come_from_scikit_learns_function_where_its_file_is_elsewhere(monkeypatch):
    pytest.importorskip("sklearn.datasets")
    expected = load("digits", split="all")
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    found = load("digits", split="all")
    assert torch.equal(found.images, expected.images)
    assert found.labels.tolist() == expected.labels.tolist()


def test_digits_are_resized_bilinearly():
    small = load("digits", image_size=None, split="all")
    expected = torch.nn.functional.interpolate(
        small.images[:50].float(), size=(28, 28), mode="bilinear", align_corners=False
    )
    resized = load("digits", split="all").images[:50].float()
    assert (resized - expected).abs().max() <= 1.01


def test_digits_split_is_disjoint_stratified_and_repeatable():
    train, test = load("digits", image_size=None), load("digits", image_size=None, split="test")
    assert train.labels is not None
    assert test.labels is not None
    share = test.labels.bincount() / (test.labels.bincount() + train.labels.bincount())
    assert ((share > 0.19) & (share < 0.21)).all()
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in test.images)
    assert torch.equal(load("digits", image_size=None, split="test").images, test.images)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match=r"scikit-learn .* pip install 'gankit\[train\]'"):
        load("digits")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "minst",
            "unknown data .minst., allowed are digits, .* photographs, folder:PATH, csv:PATH",
        ),
        ("files:x", "unknown data 'files:x'.* or in a run the import path of a callable that"),
        ("folder:", "'folder:' lacks a path, expected folder:FOLDER"),
        ("idx:", "'idx:' lacks a path, expected idx:FOLDER or idx:FILE"),
        ("pairs:", "'pairs:' lacks a path, expected pairs:FOLDER"),
        ("unpaired:", "'unpaired:' lacks a path, expected unpaired:FOLDER"),
        ("pairs", "unknown data .pairs., .* pairs:PATH, unpaired:PATH, highres:PATH, toy:"),
        ("toy", "unknown data 'toy'"),
        ("toy:edge", "unknown toy data 'edge', allowed are .*toy:ring.* toy:edges, toy:discs"),
        ("", "unknown data ''"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(DataError, match=message):
        load(name)


def test_the_help_of_training_has_every_name(capsys):
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(NAMES)} or an import path" in text


def test_unknown_split_and_size():
    with pytest.raises(DataError, match="train, test, all, got 'valid'"):
        load("digits", split="valid")
    with pytest.raises(DataError, match="image_size must be at least 1, got 0"):
        load("digits", image_size=0)


def write_mnist(root: Path, name: str = "MNIST", prefix: str = "train", n: int = 4) -> Path:
    folder = root / name / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    images = struct.pack(">4I", 0x803, n, 28, 28) + bytes(n * 784)
    labels = struct.pack(">2I", 0x801, n) + bytes(n)
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    return folder


@pytest.fixture
def offline(monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")

    def refuse(self):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nno route\n")

    monkeypatch.setattr(datasets.MNIST, "download", refuse)


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_files_that_are_there_need_no_network(tmp_path, offline, name, folder):
    write_mnist(tmp_path, folder)
    data = load(name, root=tmp_path)
    assert (len(data), data.name) == (4, name)
    with pytest.raises(DataError, match=r"put t10k-images-idx3-ubyte\.gz, t10k-labels"):
        load(name, root=tmp_path, split="test")


def test_offline_and_absent_says_where_to_put_the_files(tmp_path, offline):
    with pytest.raises(DataError) as caught:
        load("mnist", root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in message
    assert "put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz there" in message
    assert "(Error downloading train-images-idx3-ubyte.gz: no route): put" in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir()), "a download that failed left something behind"


def test_absent_and_no_torchvision(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtra, match="torchvision"):
        load("mnist", root=tmp_path)


def test_a_damaged_file_is_named(tmp_path, offline):
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"truncated.*delete the file") as caught:
        load("mnist", root=tmp_path)
    assert str(path) in str(caught.value)


def test_root_comes_from_the_argument_then_the_environment_then_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path))
    assert data_root("elsewhere") == Path("elsewhere")
    assert data_root() == tmp_path
    monkeypatch.delenv("GANKIT_DATA")
    assert data_root() == Path.home() / ".cache" / "gankit" / "data"
