"""LSUN, whose databases are unpacked once into image files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gankit.atomic import atomic_write
from gankit.data.decoded import one_process_at_a_time
from gankit.data.file_set import Annotations, Cache, ImageSize, file_set
from gankit.data.image_files import Fit
from gankit.data.image_set import ImageSet
from gankit.data.paths import cache_root, data_root
from gankit.data.residency import Resident, in_words
from gankit.errors import DataError, MissingExtra, shortened
from gankit.json_text import json_text

__all__ = ["load_lsun"]

_SUFFIX = "_lmdb"
_FOLDERS = {"train": ("train",), "test": ("val",), "all": ("train", "val")}
_WHOLE = ".whole.json"  # written last, so a folder without it is unpacked again


def load_lsun(
    *,
    root: str | Path | None = None,
    image_size: ImageSize = 28,
    split: str = "train",
    categories: Sequence[str] | str | None = None,
    resize: Fit = "crop",
    resident: Resident = "auto",
    cache: Cache = "auto",
    workers: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> ImageSet:
    """The scenes of LSUN (Yu et al., 2015, arXiv:1506.03365): RGB, labelled by their category.

    The first call writes the images of each database, as they are, into the folder ``cache`` of
    ``root``; this takes as much space as the database.

    Args:
        root: as for ``load``; the databases lie in its folder ``lsun``, such as
            ``lsun/bedroom_train_lmdb``.
        image_size: height and width, one number for both or two; None keeps the files' own.
        split: ``"train"``, ``"test"`` (LSUN's ``val``) or ``"all"``.
        categories: such as ``["bedroom", "church_outdoor"]``, whose order numbers the labels; None:
            those that are there, in alphabetical order. One category has no labels.
        resize: as for ``load_folder``, and so ``resident``, ``cache``, ``workers`` and ``device``.
        progress: show on a terminal how far the unpacking and the decoding are.

    Raises:
        DataError: a database is absent or damaged, or the disk has not the space for its images.
        MissingExtra: lmdb, tqdm or Pillow is not installed.
    """
    if split not in _FOLDERS:
        raise DataError(f"lsun: split is {shortened(split)}, expected train, test or all")
    place = data_root(root) / "lsun"
    wanted = _categories(categories, place, _FOLDERS[split])
    files: list[Path] = []
    labels: list[int] = []
    below = cache_root(root) / "lsun"
    for number, category in enumerate(wanted):
        for part in _FOLDERS[split]:
            database = place / f"{category}_{part}{_SUFFIX}"
            if database.is_dir() or split != "all":
                found = _unpacked(database, below / f"{category}_{part}", progress)
                files += found
                labels += [number] * len(found)

    def annotate(kept: list[int]) -> Annotations:
        if len(wanted) == 1:
            return Annotations()
        note = f" {len(wanted)} classes: {', '.join(wanted)}."
        numbers = torch.tensor([labels[number] for number in kept], dtype=torch.int64)
        return Annotations(numbers, tuple(wanted), note=note)

    return file_set(
        files,
        below,
        "lsun",
        annotate,
        root=root,
        owner=below / f"{split}-{'-'.join(wanted)}",
        image_size=image_size,
        channels=3,
        resize=resize,
        resident=resident,
        cache=cache,
        workers=workers,
        device=device,
        progress=progress,
    )


def _categories(
    categories: Sequence[str] | str | None, place: Path, parts: Sequence[str]
) -> list[str]:
    """The categories that were asked for, or those in ``place``, each with a database."""
    ends = tuple(f"_{part}{_SUFFIX}" for part in parts)
    names = sorted(each.name for each in place.iterdir()) if place.is_dir() else []
    there = sorted({name[: -len(end)] for name in names for end in ends if name.endswith(end)})
    wanted = [categories] if isinstance(categories, str) else categories
    if wanted is None:
        wanted = there
    if not isinstance(wanted, (list, tuple)) or not all(
        isinstance(each, str) and re.fullmatch(r"\w+", each) for each in wanted
    ):
        raise DataError(
            f"lsun: categories is {shortened(categories)}, expected names such as bedroom"
        )
    absent = [each for each in wanted if each not in there]
    if absent or not wanted:
        folder = f"{absent[0] if absent else 'bedroom'}{ends[0]}"
        raise DataError(
            f"lsun: there is no folder {folder} in {place}, put it there as {folder}.zip of "
            "https://github.com/fyu/lsun unpacks to"
        )
    return list(dict.fromkeys(wanted))


def _unpacked(database: Path, folder: Path, progress: bool) -> list[Path]:
    """The images of ``database`` as files below ``folder``, written there unless they are there."""
    # torchvision's LSUN keeps its keys as a pickle in the folder at hand, and loads what is there.
    try:
        import lmdb
        from tqdm import tqdm
    except ImportError as error:
        raise MissingExtra(error.name or "lmdb", "lsun") from error
    about = _about(database)
    folder.mkdir(parents=True, exist_ok=True)
    with one_process_at_a_time(folder):
        files = _files(folder)
        if _read(folder / _WHOLE) == {**about, "images": len(files)}:
            return files
        (folder / _WHOLE).unlink(missing_ok=True)
        status = os.statvfs(folder)
        free = status.f_bavail * status.f_frsize
        if about["size"] > free:
            raise DataError(
                f"lsun: the images of {database} take {in_words(about['size'])}, and "
                f"{in_words(free)} are free in {folder}; GANKIT_DATA names another folder"
            )
        try:
            with (
                lmdb.open(str(database), readonly=True, lock=False, readahead=False) as opened,
                opened.begin() as reading,
            ):
                # Reading pages that the file lacks would kill the process.
                needed = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
                size = os.stat(database / "data.mdb").st_size
                if size < needed:
                    raise DataError(
                        f"lsun: {database}/data.mdb is cut off: it has {in_words(size)} of "
                        f"{in_words(needed)}"
                    )
                rows = tqdm(
                    reading.cursor(),
                    f"unpacking {database.name}",
                    reading.stat()["entries"],
                    leave=False,
                    delay=1,
                    disable=None if progress else True,
                )
                kept = {_written(folder, key, value) for key, value in rows}
        except lmdb.Error as error:
            raise DataError(f"lsun: {database} is damaged ({error})") from error
        if not kept:
            raise DataError(f"lsun: {database} has no images")
        files = _files(folder)
        for file in set(files) - kept:  # of the database that was there before
            file.unlink()
        with atomic_write(folder / _WHOLE) as out:
            out.write(json_text({**about, "images": len(kept)}).encode())
        return sorted(kept)


def _about(database: Path) -> dict[str, Any]:
    """What changes when another database is put in place."""
    try:
        status = os.stat(database / "data.mdb")
    except OSError as error:
        raise DataError(f"lsun: {database} has no file data.mdb ({error.strerror})") from error
    return {"size": status.st_blocks * 512, "time": status.st_mtime_ns, "made": 1}


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _written(folder: Path, key: bytes, value: bytes) -> Path:
    """The file of one record, in one of up to 4,096 folders: the keys are hexadecimal hashes."""
    name = re.sub(r"[^0-9A-Za-z-]", "_", key.decode("ascii", errors="replace"))[:100]
    file = folder / name[:3] / f"{name}.webp"
    if not file.is_file() or file.stat().st_size != len(value):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(value)
    return file


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.webp"))
