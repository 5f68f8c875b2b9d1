"""Image files that a command reads, and those that it writes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.data.image_files import list_image_files
from gankit.errors import DataError, MissingExtra


def places(given: Path, out: Path) -> tuple[list[tuple[Path, Path]], int]:
    """Each image with the PNG that it becomes, and how many files of a folder are no images.

    A name keeps its suffix in front of ``.png`` where two images would have one name.
    """
    if given.is_dir():
        files, others = list_image_files(given)
        names = [file.relative_to(given) for file in files]
        if not files:
            raise DataError(f"{given} has no images in it")
    elif given.exists():
        files, names, others = [given], [Path(given.name)], []
    else:
        raise DataError(f"there is no file or folder {given}")
    shared = Counter(name.with_suffix(".png") for name in names)
    new = [
        name.with_suffix(".png")
        if shared[name.with_suffix(".png")] == 1
        else name.with_name(f"{name.name}.png")
        for name in names
    ]
    return [(file, out / name) for file, name in zip(files, new, strict=True)], len(others)


def shown(places: list[tuple[Path, Path]], *, quiet: bool) -> list[tuple[Path, Path]]:
    """The same, with a bar on a terminal that says how many are done."""
    if quiet:
        return places
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingExtra("tqdm", "train") from error
    bar: list[tuple[Path, Path]] = tqdm(places, unit="image", leave=False)
    return bar


def save(path: Path, image: Tensor) -> None:
    """Write ``image``, uint8 ``[C, H, W]``, as a PNG: grey, grey with opacity, RGB or RGBA."""
    from PIL import Image

    pixels = (image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy()
    with atomic_write(path) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")


def report(total: int, failed: Sequence[DataError], out: Path, others: int, *, given: str) -> int:
    """Say what became of ``total`` images of ``given``, and the exit code: 1 if some are missing.

    Raises DataError if all of them are. ``others`` files of the folder are no images.
    """
    done = total - len(failed)
    if not done:
        raise (
            failed[0]
            if len(failed) == 1
            else DataError(f"none of {len(failed)} images in {given} can be read; {failed[0]}")
        )
    beside = f", and {others} other file{'s'[: others > 1]} left alone" if others else ""
    print(f"{done} image{'s are' if done > 1 else ' is'} in {out}{beside}")
    for reason in failed:
        print(f"gankit: skipped {reason}", file=sys.stderr)
    return 1 if failed else 0
