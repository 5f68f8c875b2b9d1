"""A set of which few images are labelled."""

from __future__ import annotations

import dataclasses

import torch

from gankit.data.images import ImageData
from gankit.errors import DataError

__all__ = ["UNLABELLED", "keep_labels"]

UNLABELLED = -1


def keep_labels(data: ImageData, count: int, *, seed: int = 0) -> ImageData:
    """The same images, of which ``count`` keep their label and the others get -1.

    Each class keeps ``count // classes`` labels, the first ones one more where that leaves a rest.
    Which images keep theirs is decided by ``seed`` alone.

    Args:
        data: a labelled set.
        count: from the number of classes to the number of images.
        seed: 0 or more.

    Raises:
        DataError: no labels, another count, or a class with too few images.
    """
    if data.labels is None:
        raise DataError(f"{data.name} has no labels to keep")
    classes = data.labels.unique().tolist()
    if not len(classes) <= count <= len(data):
        raise DataError(
            f"labelled is {count}; allowed for {data.name} are {len(classes)} (a label per class) "
            f"to {len(data)}"
        )
    generator = torch.Generator().manual_seed(seed)
    labels = data.labels.cpu()
    kept = torch.full_like(labels, UNLABELLED)
    for place, label in enumerate(classes):
        members = (labels == label).nonzero().flatten()
        share = count // len(classes) + (place < count % len(classes))
        if share > len(members):
            raise DataError(
                f"labelled is {count}, so {share} images of class {label}, but {data.name} has "
                f"{len(members)} of it"
            )
        chosen = members[torch.randperm(len(members), generator=generator)[:share]]
        kept[chosen] = label
    return dataclasses.replace(data, labels=kept.to(data.device))
