"""Many images as files for other programs, written while they are generated."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.errors import ConfigError, MissingExtra
from gankit.training.pictures import channels_in_words, to_bytes


def check_folder(folder: Path, channels: int) -> None:
    """Raise ConfigError unless PNGs of so many channels may be written into ``folder``."""
    if channels_in_words(channels) is not None:
        raise ConfigError(
            f"images of {channels} channels are no PNGs; allowed are 1, 3 and 4, and a .npz for all"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is not an empty folder; allowed is a new one, so that no other image is "
            "taken for a generated one"
        )


def save_folder(folder: Path, batches: Iterable[Tensor], n: int, labels: Tensor | None) -> None:
    """Write ``n`` images ``[N, C, H, W]`` in [-1, 1] as ``00000.png`` and so on.

    With ``labels`` the class is in the name, as ``00000_class_3.png``. The folder is there when
    all are. Raises ConfigError as ``check_folder``, and MissingExtra without Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    digits = max(5, len(str(n - 1)))
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        number = 0
        for batch in batches:
            check_folder(folder, batch.shape[1])
            for image in to_bytes(batch):
                label = "" if labels is None else f"_class_{int(labels[number])}"
                pixels = (image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy()
                name = f"{number:0{digits}d}{label}.png"
                Image.fromarray(np.ascontiguousarray(pixels)).save(temporary / name)
                number += 1
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_npz(
    path: Path, batches: Iterable[Tensor], shape: tuple[int, ...], labels: Tensor | None
) -> None:
    """Write images in [-1, 1] as the array ``images`` of a .npz, and ``labels`` (int64 ``[N]``).

    ``shape`` is ``(N, C, H, W)``. Images are uint8 ``[N, H, W, C]``; points of one or two numbers
    are float32 ``[N, d]``. No more than a batch is held in memory.
    """
    n, channels, height, width = shape
    points = channels == height == 1 and width <= 2
    whole = (n, width) if points else (n, height, width, channels)
    header = {"descr": "<f4" if points else "|u1", "fortran_order": False, "shape": whole}
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("images.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array_header_1_0(entry, header)
            for batch in batches:
                values = batch if points else to_bytes(batch).permute(0, 2, 3, 1)
                entry.write(values.contiguous().numpy().tobytes())
        if labels is not None:
            with archive.open("labels.npy", "w") as entry:
                np.lib.format.write_array(entry, labels.numpy())
