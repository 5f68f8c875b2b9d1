from __future__ import annotations

import gzip
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit.data import load
from gankit.data.idx import read_idx
from gankit.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def encode(array: np.ndarray) -> bytes:
    kind = array.dtype.str[1:]
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[kind], array.ndim, *array.shape)
    return header + array.astype(f">{kind}").tobytes()


def write_set(folder: Path, prefix: str = "train", n: int = 6, labels: int | None = None) -> None:
    images = np.arange(n * 16, dtype=np.uint8).reshape(n, 4, 4)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(encode(images))
    count = n if labels is None else labels
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
        encode((np.arange(count) % 10).astype(np.uint8))
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_is_read_whole(tmp_path, packed):
    write_set(tmp_path)
    if packed:
        for path in list(tmp_path.iterdir()):
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    data = load(f"idx:{tmp_path}", image_size=None)
    assert data.shape == (1, 4, 4)
    assert torch.equal(data.images.flatten(), torch.arange(96, dtype=torch.uint8))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_splits_of_a_folder(tmp_path):
    write_set(tmp_path, "train", 6)
    write_set(tmp_path, "t10k", 3)
    sizes = {split: len(load(f"idx:{tmp_path}", split=split)) for split in ("train", "test", "all")}
    assert sizes == {"train": 6, "test": 3, "all": 9}


def test_a_folder_with_t10k_alone_serves_every_split(tmp_path):
    write_set(tmp_path, "t10k", 3)
    assert [len(load(f"idx:{tmp_path}", split=s)) for s in ("train", "test", "all")] == [3, 3, 3]


def test_a_folder_with_train_alone_has_no_test_split(tmp_path):
    write_set(tmp_path)
    with pytest.raises(DataError, match="no t10k-images-idx3-ubyte"):
        load(f"idx:{tmp_path}", split="test")


def test_a_single_file_and_the_labels_beside_it(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    assert load(f"idx:{path}").labels is not None
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert load(f"idx:{path}").labels is None
    with pytest.raises(DataError, match="single file has no test split"):
        load(f"idx:{path}", split="test")


def test_images_are_resized_to_what_the_model_wants(tmp_path):
    write_set(tmp_path)
    assert load(f"idx:{tmp_path}", image_size=28).shape == (1, 28, 28)


def test_float_images_in_range_are_quantised(tmp_path):
    values = np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 4, 4)
    path = tmp_path / "float"
    path.write_bytes(encode(values))
    data = load(f"idx:{path}", image_size=None)
    assert np.abs(data.normalized().numpy()[:, 0] - values).max() <= 1 / 255 + 1e-6


@settings(deadline=None)
@given(st.integers(0, 4 + 12 + 95))
def test_any_truncation_is_refused(cut):
    content = encode(np.zeros((6, 4, 4), dtype=np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cut"
        path.write_bytes(content[:cut])
        with pytest.raises(DataError) as caught:
            read_idx(path)
    assert str(path) in str(caught.value)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_gzip_file_never_gives_other_images(position, value):
    array = np.random.default_rng(0).integers(0, 256, (20, 8, 8)).astype(np.uint8)
    content = bytearray(gzip.compress(encode(array), mtime=0))
    content[position % len(content)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.gz"
        path.write_bytes(content)
        try:
            result = read_idx(path)
        except DataError:
            return
    assert np.array_equal(result, array)


def header(zeros: int, kind: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", zeros, kind, len(shape), *shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"\x89PNG\r\n", "not an idx file: starts with 0x89504e47, expected 0x00000803"),
        (header(0, 0x07, 1, 1, 1) + b"x", "not an idx file"),
        (header(0, 0x08, 6, 4), "truncated"),
        (header(0, 0x08, 6, 4, 4) + bytes(95), "truncated: 111 bytes, 112 are expected"),
        (header(0, 0x08, 6, 4, 4) + bytes(97), "longer than its header says: 113 bytes, 112"),
        (header(0, 0x08, *[2**32 - 1] * 3) + bytes(9), "truncated"),
        (header(0, 0x08, 96) + bytes(96), "has 1 dimensions, images need 3"),
        (header(0, 0x08, 0, 28, 28), "empty"),
        (header(0, 0x0C, 1, 1, 1) + bytes(4), "int32 are not supported"),
        (header(0, 0x0D, 1, 1, 2) + struct.pack(">2f", 0.0, float("nan")), "1 of 2 .* NaN"),
        (header(0, 0x0D, 1, 1, 2) + struct.pack(">2f", 0.0, 255.0), r"lie in \[-1, 1\]"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_files_are_refused_by_name(tmp_path, content, message, packed):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message) as caught:
        load(f"idx:{path}")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_file(tmp_path):
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    noise = np.random.default_rng(0).integers(0, 256, (50, 28, 28)).astype(np.uint8)
    packed = gzip.compress(encode(noise))
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="truncated: the compressed data ends early"):
        load(f"idx:{tmp_path}")


def test_labels_that_disagree_with_the_images(tmp_path):
    write_set(tmp_path, labels=5)
    with pytest.raises(DataError, match=r"5 labels but .* 6 images"):
        load(f"idx:{tmp_path}")


def test_labels_that_are_images(tmp_path):
    write_set(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte"
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(images.read_bytes())
    with pytest.raises(DataError, match="labels need one integer per image"):
        load(f"idx:{tmp_path}")


def test_parts_of_different_sizes(tmp_path):
    write_set(tmp_path, "train")
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(encode(np.zeros((2, 5, 5), dtype=np.uint8)))
    with pytest.raises(DataError, match="different shapes"):
        load(f"idx:{tmp_path}", split="all")


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load(f"idx:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        load(f"idx:{tmp_path}")


def test_real_mnist(mnist_folder):
    data = load(f"idx:{mnist_folder}")
    assert data.images.shape == (10_000, 1, 28, 28)
    assert data.labels is not None
    assert torch.bincount(data.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]
    ink = data.normalized().mean()
    assert -0.8 < ink < -0.7


def test_digits_written_as_idx_come_back(tmp_path):
    digits = load("digits", split="all")
    assert digits.labels is not None
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(encode(digits.images[:, 0].numpy()))
    )
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(encode(digits.labels.numpy().astype(np.uint8)))
    )
    data = load(f"idx:{tmp_path}")
    assert torch.equal(data.images, digits.images)
    assert data.labels is not None
    assert torch.equal(data.labels, digits.labels)
