"""Reader of idx files, the format MNIST comes in (http://yann.lecun.com/exdb/mnist/).

A file is two zero bytes, a type byte, the number of dimensions, each dimension as a big-endian
uint32, then the values in row-major order. Files may be gzip-compressed.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from gankit.data.images import ImageData
from gankit.data.paths import existing_path
from gankit.errors import DataError, shortened

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMS = 64  # NumPy's own limit
_CHUNK = 2**16
# Deflate packs 1,032 bytes into one at most. Of a large file, images are never packed as much as
# the second ratio says: it is made to fill the memory.
_MAX_RATIO, _BLANK_RATIO, _LARGE = 1040, 200, 2**30
# How the files of each split begin.
PREFIXES = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}


def read_idx(path: str | Path) -> np.ndarray:
    """One idx file, compressed or not, whole and checked, as an array of its own type and shape.

    No more is read than the header says, and no memory taken for what the file cannot hold.

    Raises:
        DataError: not a file, not an idx file, or its length is not what its header says.
    """
    path = Path(path)
    with _opened(path) as (file, size):
        shape, dtype = _read_header(path, file)
        start = 4 + 4 * len(shape)
        expected = start + math.prod(shape) * dtype.itemsize
        compressed = isinstance(file, gzip.GzipFile)
        ends_early = f"{expected} are expected for shape {shortened(list(shape))}"
        if compressed:
            if expected > _MAX_RATIO * size + start:
                raise DataError(f"{path}: truncated: {size} compressed bytes, {ends_early}")
            if expected > _LARGE and expected > _BLANK_RATIO * size:
                raise DataError(
                    f"{path}: unpacks to {expected} bytes, {expected // size} times its size, as "
                    "images do not; unpack it first if that is right"
                )
        elif size != expected:
            what = "truncated" if size < expected else "longer than its header says"
            raise DataError(f"{path}: {what}: {size} bytes, {ends_early}")
        content = _read_up_to(file, expected - start + _CHUNK)
        total = start + len(content)
    if total != expected:
        what = "truncated" if total < expected else "longer than its header says"
        more = "or more, " if total == expected + _CHUNK else ""
        raise DataError(f"{path}: {what}: {total} bytes, {more}{ends_early}")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _read_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    content = file.read(4)
    if len(content) < 4:
        raise DataError(f"{path}: {len(content)} bytes, an idx file has at least 4")
    zeros, kind, dims = struct.unpack(">HBB", content)
    if zeros != 0 or kind not in _TYPES or dims == 0:
        raise DataError(
            f"{path}: not an idx file: starts with 0x{content.hex()}, "
            "expected 0x00000803 (images) or 0x00000801 (labels)"
        )
    sizes = file.read(4 * dims)
    if len(sizes) < 4 * dims:
        raise DataError(
            f"{path}: truncated in its header: {4 + len(sizes)} bytes, {4 + 4 * dims} are expected"
        )
    shape, dtype = struct.unpack(f">{dims}I", sizes), np.dtype(_TYPES[kind])
    if dims > _MAX_DIMS:
        raise DataError(
            f"{path}: {dims} dimensions of {', '.join(map(str, shape[:4]))}...; expected are 1 "
            "(labels) or 3 (images)"
        )
    # Of no values, the other sizes could still be more than NumPy counts.
    if 0 in shape and math.prod(filter(None, shape)) >= 2**60:
        raise DataError(f"{path}: the set is empty (shape {list(shape)}), expected are images")
    return shape, dtype


def _read_up_to(file: BinaryIO, count: int) -> bytearray:
    """As many bytes as there are, ``count`` at most; memory is taken as they come."""
    content = bytearray()
    while len(content) < count:
        chunk = file.read(min(_CHUNK, count - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def read_images(path: str | Path) -> Tensor:
    """Images of an idx file as uint8 ``[N, 1, H, W]``; float files must lie in [-1, 1].

    Raises:
        DataError: as :func:`read_idx`, and for other types and shapes, NaN, or no images.
    """
    array = read_idx(path)
    if array.dtype.kind == "i":
        raise DataError(
            f"{path}: images of type {array.dtype} are not supported, "
            "uint8 or float in [-1, 1] is expected"
        )
    if array.ndim != 3:
        raise DataError(
            f"{path}: shape {list(array.shape)} has {array.ndim} dimensions, "
            "images need 3: count, height, width"
        )
    return ImageData.from_tensor(torch.from_numpy(array), name=str(path)).images


def read_labels(path: str | Path) -> Tensor:
    """Labels of an idx file as int64 ``[N]``.

    Raises:
        DataError: as :func:`read_idx`, and when the file does not hold one integer per image.
    """
    array = read_idx(path)
    if array.ndim != 1 or array.dtype.kind == "f":
        raise DataError(
            f"{path}: {array.dtype} of shape {list(array.shape)}, labels need one integer per image"
        )
    return torch.from_numpy(array.astype(np.int64))


def load_idx(path: str | Path, *, split: str = "train", name: str | None = None) -> ImageData:
    """An image set from a folder of idx files or from one images file.

    In a folder, ``train-images-idx3-ubyte`` serves split ``"train"``, ``t10k-images-idx3-ubyte``
    split ``"test"``, both together ``"all"``; ``.gz`` may follow. A folder with the t10k files
    alone, or a single file, is used whole for ``"train"`` and ``"all"``. Labels are read when the
    file ``...-labels-idx1-ubyte`` lies beside the images.

    Raises:
        DataError: nothing there, or any file that :func:`read_idx` refuses.
    """
    name = name or f"idx:{path}"
    path = existing_path(path, name, "a folder or a file in idx format")
    files = (
        _images_in_folder(path, split, name) if path.is_dir() else _single_file(path, split, name)
    )
    parts = [_with_labels(file) for file in files]
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise DataError(f"{name}: images of different shapes in one set: {sorted(shapes)}")
    labels = [part.labels for part in parts if part.labels is not None]
    return ImageData(
        torch.cat([part.images for part in parts]),
        torch.cat(labels) if len(labels) == len(parts) else None,
        name,
    )


def find_idx(folder: Path, prefix: str, kind: str) -> Path | None:
    """The file ``{prefix}-images-idx3-ubyte`` or ``{prefix}-labels-idx1-ubyte``, or its ``.gz``."""
    dims = {"images": 3, "labels": 1}[kind]
    for separator in "-.":
        for suffix in ("", ".gz"):
            path = folder / f"{prefix}-{kind}{separator}idx{dims}-ubyte{suffix}"
            if path.is_file():
                return path
    return None


def _images_in_folder(folder: Path, split: str, name: str) -> list[Path]:
    found = {prefix: find_idx(folder, prefix, "images") for prefix in ("train", "t10k")}
    wanted = [path for prefix in PREFIXES[split] if (path := found[prefix]) is not None]
    if not wanted and split == "train" and found["t10k"] is not None:
        wanted = [found["t10k"]]
    if not wanted:
        expected = " or ".join(f"{prefix}-images-idx3-ubyte" for prefix in PREFIXES[split])
        raise DataError(f"{name}: no {expected} (or .gz) in {folder} for split {split!r}")
    return wanted


def _single_file(path: Path, split: str, name: str) -> list[Path]:
    if split == "test" and not path.name.startswith("t10k"):
        raise DataError(
            f"{name}: a single file has no test split, only one named t10k-... counts as such"
        )
    return [path]


def _with_labels(path: Path) -> ImageData:
    images = read_images(path)
    labels_path = _labels_beside(path)
    if labels_path is None:
        return ImageData(images, None, str(path))
    labels = read_labels(labels_path)
    if len(labels) != len(images):
        raise DataError(
            f"{labels_path}: {len(labels)} labels but {path} has {len(images)} images, "
            "the counts must agree"
        )
    return ImageData(images, labels, str(path))


def _labels_beside(images: Path) -> Path | None:
    if "images" not in images.name:
        return None
    base = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for name in (base, base + ".gz"):
        path = images.with_name(name)
        if path.is_file():
            return path
    return None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file to read from, unpacked where it is compressed, and its size on the disk."""
    try:
        if not path.is_file():  # a pipe or a device has no end
            raise DataError(f"{path}: not a regular file, expected one in idx format")
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            with gzip.open(file, "rb") if compressed else nullcontext(file) as unpacked:
                yield cast(BinaryIO, unpacked), size
    except EOFError as error:
        raise DataError(
            f"{path}: truncated: the compressed data ends early, a whole gzip file is expected"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
