"""Images in a NumPy archive, as ``gankit sample --out images.npz`` writes them."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path

import numpy as np
import torch

from gankit.data.images import ImageData
from gankit.data.paths import existing_path
from gankit.errors import DataError

__all__ = ["load_npz"]


def load_npz(path: str | Path, *, split: str = "train") -> ImageData:
    """The array ``images`` of an .npz, and ``labels`` if there is one.

    ``images`` is uint8 0..255 or floating point in [-1, 1], ``[N, H, W, C]`` or ``[N, H, W]``;
    ``labels`` is integers ``[N]`` from 0, or -1 for an unlabelled image.

    The whole file is split ``"train"`` and ``"all"``.

    Raises:
        DataError: split ``"test"``, no such file, not an .npz, or arrays of another kind.
    """
    name = f"npz:{path}"
    if split == "test":
        raise DataError(f"{name}: an .npz is whole, it has no split 'test'")
    file = existing_path(path, name, "an .npz with the array images")
    if not file.is_file() or not zipfile.is_zipfile(file):
        raise DataError(f"{name}: {file} is not an .npz file, expected the array images in one")
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in ("images", "labels") if key in archive}
            there = ", ".join(sorted(archive)[:5]) or "none"
    except MemoryError:
        raise
    except Exception as error:  # of a damaged archive, NumPy and zipfile raise many kinds
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise DataError(f"{name}: {file} cannot be read ({reason})") from error
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None:
        raise DataError(f"{name}: {file} has no array images, its arrays are {there}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] > 4 or images.dtype.kind not in "uf":
        raise DataError(
            f"{name}: images must be uint8 or floats of shape [N, H, W, C] or [N, H, W], C up to "
            f"4, got {images.dtype} of shape {list(images.shape)}"
        )
    if labels is not None and labels.dtype.kind not in "iu":
        raise DataError(f"{name}: labels must be integers [N], got {labels.dtype}")
    if images.dtype.kind == "f":
        images = images.astype(np.float32)
    elif images.dtype != np.uint8:
        raise DataError(f"{name}: images must be uint8 or floats, got {images.dtype}")
    return ImageData.from_tensor(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        None if labels is None else torch.from_numpy(labels.astype(np.int64)),
        name=name,
    )
