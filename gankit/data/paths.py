"""Folders of data: where they are, whether they exist, and those of a split below them."""

from __future__ import annotations

import os
from pathlib import Path

from gankit.errors import DataError, shortened


def data_root(root: str | Path | None = None) -> Path:
    """Where data sets live: ``root``, else ``$GANKIT_DATA``, else ``~/.cache/gankit/data``."""
    chosen = root or os.environ.get("GANKIT_DATA") or Path.home() / ".cache" / "gankit" / "data"
    return Path(chosen).expanduser()


def cache_root(root: str | Path | None = None) -> Path:
    """Where decoded images are kept: the folder ``cache`` of ``data_root``."""
    return data_root(root) / "cache"


def existing_path(path: str | Path, name: str, expected: str) -> Path:
    """``path`` with ``~`` expanded; ``expected`` says in the error what should be there.

    Raises:
        DataError: not a path, or nothing there.
    """
    try:
        path = Path(path).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a NUL in it
        raise DataError(f"{shortened(name)}: not a path ({error})") from error
    if not exists:
        raise DataError(f"{name}: {path} does not exist, expected {expected}")
    return path


def existing_folder(path: str | Path, name: str, expected: str) -> Path:
    """As ``existing_path``, and refuses what is no folder."""
    path = existing_path(path, name, expected)
    if not path.is_dir():
        raise DataError(f"{name}: {path} is not a folder, expected {expected}")
    return path


def split_folders(folder: Path, split: str, name: str) -> list[Path]:
    """The folders of ``split``: ``train``, ``val`` and ``test`` below ``folder``.

    Split ``"test"`` is ``val`` where there is no ``test``, ``"all"`` is each that there is. A
    folder without any of them is used whole for ``"train"`` and ``"all"``.

    Raises:
        DataError: there is no folder for the split.
    """
    present = [part for part in ("train", "val", "test") if (folder / part).is_dir()]
    if not present and split != "test":
        return [folder]
    wanted = {
        "train": [part for part in present if part == "train"],
        "test": [part for part in present if part != "train"][-1:],
        "all": present,
    }[split]
    if not wanted:
        expected = "test or val" if split == "test" else split
        raise DataError(f"{name}: no folder {expected} in {folder} for split {split!r}")
    return [folder / part for part in wanted]


def places_of_two(
    folder: Path, split: str, name: str, two: tuple[str, str]
) -> list[tuple[Path, ...]]:
    """The folders of ``split`` that hold pairs: ``two`` of them each, or one where there are none.

    The two may stand in each split, or the splits in each of the two.

    Raises:
        DataError: one of the two without the other, different splits in both, or splits of
            different layouts.
    """
    if _has_both(folder, two):
        a, b = (split_folders(folder / kind, split, name) for kind in two)
        if [p.relative_to(folder / two[0]) for p in a] != [
            p.relative_to(folder / two[1]) for p in b
        ]:
            raise DataError(f"{name}: {two[0]} and {two[1]} in {folder} have different splits")
        return list(zip(a, b, strict=True))
    parts = split_folders(folder, split, name)
    places = [
        tuple(part / kind for kind in two) if _has_both(part, two) else (part,) for part in parts
    ]
    if len({len(place) for place in places}) > 1:
        raise DataError(
            f"{name}: some splits in {folder} have folders {two[0]} and {two[1]}, others do not; "
            "expected is one layout"
        )
    return places


def _has_both(folder: Path, two: tuple[str, str]) -> bool:
    there = [(folder / kind).is_dir() for kind in two]
    if any(there) and not all(there):
        raise DataError(
            f"{folder} has one of the folders {two[0]} and {two[1]}, expected both or none"
        )
    return all(there)
