"""MNIST and Fashion-MNIST: read from disk, fetched once by torchvision when absent."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from pathlib import Path

from gankit.data.idx import PREFIXES, find_idx, load_idx
from gankit.data.images import ImageData
from gankit.data.paths import data_root
from gankit.errors import DataError, MissingExtra

_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


def load_mnist(name: str, *, root: str | Path | None = None, split: str = "train") -> ImageData:
    """``"mnist"`` or ``"fashion-mnist"`` from ``ROOT/MNIST/raw`` (torchvision's layout).

    Files that are there, compressed or not, are read without torchvision and without a network.

    Raises:
        DataError: a file is absent and cannot be fetched, or is damaged.
        MissingExtra: files are absent and torchvision, which would fetch them, is not installed.
    """
    folder = data_root(root) / _CLASSES[name] / "raw"
    prefixes = PREFIXES[split]
    if not _present(folder, prefixes):
        _fetch(name, folder, prefixes)
    try:
        return load_idx(folder, split=split, name=name)
    except DataError as error:
        raise DataError(f"{error}; delete the file to have it fetched again") from error


def _present(folder: Path, prefixes: tuple[str, ...]) -> bool:
    kinds = ("images", "labels")
    return all(find_idx(folder, prefix, kind) for prefix in prefixes for kind in kinds)


def _fetch(name: str, folder: Path, prefixes: tuple[str, ...]) -> None:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MissingExtra("torchvision", "train") from error
    try:
        # Elsewhere first: a download that fails or is cut off leaves nothing in the user's folder.
        with tempfile.TemporaryDirectory() as temporary:
            getattr(datasets, _CLASSES[name])(temporary, train="train" in prefixes, download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for file in Path(temporary, _CLASSES[name], "raw").iterdir():
                shutil.move(file, folder / file.name)
    except Exception as error:  # torchvision's downloads fail in many ways, all mean the same
        wanted = ", ".join(
            f"{prefix}-{kind}-ubyte.gz"
            for prefix in prefixes
            for kind in ("images-idx3", "labels-idx1")
        )
        # torchvision says on a line each which file it was, and what came of every mirror.
        reason = textwrap.shorten(str(error).strip(" :\n"), 300) or type(error).__name__
        raise DataError(
            f"{name} is not in {folder} and could not be fetched "
            f"({reason}): put {wanted} there, "
            "or name another folder with idx:PATH"
        ) from error
