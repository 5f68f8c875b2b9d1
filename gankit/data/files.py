"""Files below a folder, and those of two folders that belong together."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from gankit.errors import DataError

__all__ = ["files_below", "matched"]


def files_below(folder: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """The files below ``folder`` whose names end in one of ``suffixes``, and the other ones.

    Both are sorted by their path, the same on every machine. Hidden files and folders are left
    out, links are followed.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[Path] = []
    others: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith("."):
                kind = found if name.lower().endswith(suffixes) else others
                kind.append(Path(place, name))
    return sorted(found), sorted(others)


def matched(
    folders: Sequence[Path], files: Sequence[Sequence[Path]], name: str, what: str = "image"
) -> list[tuple[Path, Path]]:
    """The files of the first of two folders, each with that of the same name in the second.

    Names are compared without the suffix.

    Raises:
        DataError: two files of one name in one folder, or a file without a partner.
    """
    by_stem: list[dict[str, Path]] = []
    for folder, found in zip(folders, files, strict=True):
        stems: dict[str, Path] = {}
        for file in found:
            # The same letters may be stored in two ways, by the system that wrote the name.
            stem = unicodedata.normalize("NFC", str(file.relative_to(folder).with_suffix("")))
            if stem in stems:
                raise DataError(
                    f"{name}: {stems[stem]} and {file} have one name, expected one {what} of each"
                )
            stems[stem] = file
        by_stem.append(stems)
    alone = sorted(
        str(stems[stem])
        for stems, other in (by_stem, by_stem[::-1])
        for stem in stems.keys() - other.keys()
    )
    if alone:
        more = ", ..." if len(alone) > 3 else ""
        raise DataError(
            f"{name}: {len(alone)} {what}{'s'[: len(alone) > 1]} without a partner of the same "
            f"name in the other folder: {', '.join(alone[:3])}{more}"
        )
    return [(file, by_stem[1][stem]) for stem, file in by_stem[0].items()]


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from error
