"""scikit-learn's 1,797 handwritten digits: real data that needs no network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gankit.data.images import ImageData, resize_to_uint8
from gankit.errors import MissingExtra


def load_digits(*, image_size: int | None = 28, split: str = "train") -> ImageData:
    """The digits of scikit-learn (8x8, 17 grey levels), resized once, bilinear.

    The test split is every fifth image of each class in the file's order: no random numbers, so
    it is the same everywhere, and every class and every writer is in both splits.

    Args:
        image_size: height and width; None keeps 8.
        split: ``"train"`` (1,442 images), ``"test"`` (355) or ``"all"``.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    table = _table()
    images = torch.from_numpy(table[:, :-1].astype(np.float32)).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    chosen = _split_mask(labels, split)
    images = images[chosen] * (255.0 / 16.0)
    return ImageData(resize_to_uint8(images, image_size or 8), labels[chosen], "digits")


def _table() -> Any:
    """A row of 64 grey levels and the label for each image, as scikit-learn keeps them."""
    found = find_spec("sklearn")
    if found is None:
        raise MissingExtra("scikit-learn", "train")
    # Importing it takes as long as torch, and the file is all that is wanted.
    for folder in found.submodule_search_locations or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits as load_bunch

    bunch = load_bunch()
    return np.column_stack([bunch.data, bunch.target])


def _split_mask(labels: torch.Tensor, split: str) -> torch.Tensor:
    if split == "all":
        return torch.ones_like(labels, dtype=torch.bool)
    test = torch.zeros_like(labels, dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        test[members[4::5]] = True
    return test if split == "test" else ~test
