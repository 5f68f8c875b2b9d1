"""``csv:PATH``: images with the attributes and classes that a table gives them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from gankit.data.file_set import Annotations, Cache, ImageSize, file_set
from gankit.data.image_files import Fit
from gankit.data.image_set import UNLABELLED, ImageSet
from gankit.data.paths import existing_folder, existing_path
from gankit.data.residency import Resident
from gankit.errors import DataError, shortened

__all__ = ["load_csv"]

_VALUES = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0}
_VALUES |= {"-1": 0, "-1.0": 0}
_SEPARATORS = ",;\t"
_SHOWN = 12


def load_csv(
    path: str | Path,
    *,
    root: str | Path | None = None,
    image_size: ImageSize = 28,
    split: str = "train",
    images: str | Path | None = None,
    attributes: str | Sequence[str] | None = None,
    label: str | None = None,
    channels: Literal["auto", 1, 3, 4] = "auto",
    resize: Fit = "crop",
    background: str = "white",
    resident: Resident = "auto",
    cache: Cache = "auto",
    workers: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> ImageSet:
    """The images that a table names, with its columns as attributes and classes.

    The table is text in UTF-8, in one of two layouts. Values separated by commas, semicolons or
    tabs, below a line with the names of the columns; the first column holds the names of image
    files. Or that of CelebA's ``list_attr_celeba.txt``: the number of images, the names of the
    attributes, and in each line a file and its attributes, separated by spaces.

    An attribute is 1, ``true`` or ``yes``, or 0, -1, ``false`` or ``no``. Files that are absent or
    cannot be read are skipped with a warning (GankitWarning), as by ``load_folder``.

    Args:
        path: the table.
        root: as for ``load``.
        image_size: height and width, one number for both or two; None keeps the files' own.
        split: ``"train"`` or ``"all"``, which are the whole table.
        images: the folder in which the files are named; None is the table's own.
        attributes: the columns that are attributes, one name or several; they become the field
            ``attributes``, float 0 and 1 ``[B, K]``, in this order. None: all columns but the first
            if there is no ``label``, else none.
        label: the column whose texts are classes, in alphabetical order, or in that of numbers if
            all are integers; it becomes the field ``label``. Images with an empty text have none.
        channels: as for ``load_folder``.
        resize: as for ``load_folder``.
        background: as for ``load_folder``.
        resident: as for ``load_folder``, and so ``cache``, ``workers`` and ``device``.
        progress: show on a terminal how far the decoding is.

    Raises:
        DataError: an argument is not allowed, there is no such table, folder or column, a line or a
            value is not what it should be, or more than a quarter of the images cannot be read.
        MissingExtra: Pillow is not installed.
    """
    name = f"csv:{path}"
    if split == "test":
        raise DataError(f"{name}: a table is whole, it has no split 'test'")
    file = existing_path(path, name, "a table of images")
    table = _read(file, name)
    folder = file.parent if images is None else existing_folder(images, name, "a folder of images")
    chosen = _chosen(table, attributes, label, name)
    values = [_attribute(table, column, name) for column in chosen]
    classes, numbers = _classes(table, label, name)

    def annotate(kept: list[int]) -> Annotations:
        note = f" {len(classes)} classes, from {label}: {_first(classes)}." if classes else ""
        if chosen:
            note += f" {len(chosen)} attributes: {_first(chosen)}."
        return Annotations(
            None if numbers is None else numbers[kept],
            classes,
            torch.stack(values, 1)[kept] if chosen else None,
            chosen,
            note,
        )

    return file_set(
        [folder / row[0] for row in table.rows],
        folder,
        name,
        annotate,
        root=root,
        image_size=image_size,
        channels=channels,
        resize=resize,
        background=background,
        owner=file,
        resident=resident,
        cache=cache,
        workers=workers,
        device=device,
        progress=progress,
    )


@dataclass(frozen=True)
class _Table:
    """The columns by name, the lines, and the number in the file of the first of these."""

    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def column(self, column: str, name: str) -> int:
        if column not in self.columns[1:]:
            raise DataError(
                f"{name} has no column {shortened(column)}, its columns are "
                f"{_first(self.columns[1:]) or 'the files alone'}"
            )
        return self.columns.index(column, 1)


def _read(file: Path, name: str) -> _Table:
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise DataError(f"{name}: {file} cannot be read ({reason})") from error
    lines = text.splitlines()
    if lines and re.fullmatch(r"\s*\d+\s*", lines[0]):
        table = _celebas(lines, name)
    else:
        separator = max(_SEPARATORS, key=lines[0].count) if lines else ","
        try:
            reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
            found = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
        except csv.Error as error:
            raise DataError(f"{name}: {file} is not a table ({error})") from error
        columns = found.pop(0)[1] if found else []
        table = _Table(tuple(columns), [row for _, row in found], [line for line, _ in found])
    if not table.rows:
        raise DataError(
            f"{name}: {file} has no line for an image, expected a line with the names of columns "
            "and one for each image"
        )
    for row, line in zip(table.rows, table.lines, strict=True):
        if len(row) != len(table.columns):
            raise DataError(
                f"{name}: line {line} has {len(row)} values, expected {len(table.columns)}, a file "
                f"and {_first(table.columns[1:]) or 'no column'}"
            )
        if not row[0]:
            raise DataError(f"{name}: line {line} names no file")
    twice = [column for column in table.columns[1:] if table.columns[1:].count(column) > 1]
    if twice:
        raise DataError(f"{name}: two columns are called {shortened(twice[0])}")
    return table


def _celebas(lines: Sequence[str], name: str) -> _Table:
    """CelebA's layout, whose line of names lacks one for the files."""
    columns = ("file", *(lines[1].split() if len(lines) > 1 else ()))
    found = [(number, line.split()) for number, line in enumerate(lines[2:], 3) if line.strip()]
    if len(found) != int(lines[0]):
        raise DataError(
            f"{name}: its first line says {int(lines[0])} images, but there are {len(found)}"
        )
    return _Table(columns, [row for _, row in found], [number for number, _ in found])


def _chosen(table: _Table, attributes: object, label: str | None, name: str) -> tuple[str, ...]:
    if attributes is None:
        return () if label is not None else table.columns[1:]
    chosen = [attributes] if isinstance(attributes, str) else attributes
    if (
        not isinstance(chosen, (list, tuple))
        or not chosen
        or not all(isinstance(column, str) for column in chosen)
        or len(set(chosen)) < len(chosen)
    ):
        raise DataError(
            f"{name}: attributes is {shortened(attributes)}, expected a column or a list of "
            "different columns"
        )
    for column in chosen:
        table.column(column, name)
    return tuple(chosen)


def _attribute(table: _Table, column: str, name: str) -> Tensor:
    """uint8 ``[N]`` of 0 and 1."""
    place = table.column(column, name)
    values = [_VALUES.get(row[place].lower()) for row in table.rows]
    if None in values:
        first = values.index(None)
        raise DataError(
            f"{name}: line {table.lines[first]} has {column} {shortened(table.rows[first][place])},"
            " expected 1, true or yes, or 0, -1, false or no; data.attributes chooses the columns, "
            "and data.label one with classes"
        )
    return torch.tensor(values, dtype=torch.uint8)


def _classes(table: _Table, label: object, name: str) -> tuple[tuple[str, ...], Tensor | None]:
    if label is None:
        return (), None
    if not isinstance(label, str):
        raise DataError(f"{name}: label is {shortened(label)}, expected a column")
    place = table.column(label, name)
    texts = [row[place] for row in table.rows]
    different = {text for text in texts if text}
    if not different:
        raise DataError(f"{name}: no image has a class in the column {label}")
    integers = all(re.fullmatch(r"[+-]?\d+", text) for text in different)
    classes = sorted(different, key=lambda text: (int(text) if integers else 0, text))
    numbers = {text: number for number, text in enumerate(classes)}
    return tuple(classes), torch.tensor([numbers.get(text, UNLABELLED) for text in texts])


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
