"""Which images of a set are labelled, and with which classes."""

from __future__ import annotations

import torch

from gankit.data.image_set import UNLABELLED, ImageSet
from gankit.errors import DataError
from gankit.scalars import is_integer

__all__ = [
    "UNLABELLED",
    "absent_classes",
    "check_all_labelled",
    "class_count",
    "keep_labels",
]

# A set of so many classes may have gaps of as many labels again ten times over, and of a few more.
_GAPS, _FEW = 10, 100


def class_count(data: ImageSet) -> int:
    """How many classes a network must tell apart: the largest label and one, or as many as have
    names, of which one may have lost its only image.

    Raises DataError if no image is labelled, or if so few of the classes occur that a network of
    that many makes no sense.
    """
    classes = data.classes
    if not classes:
        raise DataError(f"{data.name} has no labelled image")
    count = max(classes[-1] + 1, len(data.class_names))
    if count > _GAPS * len(classes) + _FEW:
        raise DataError(
            f"{data.name} has labels up to {classes[-1]}, but images of {len(classes)} classes "
            "only; number them without gaps, as labels.unique(return_inverse=True)[1] does"
        )
    return count


def absent_classes(data: ImageSet, count: int) -> str | None:
    """Which of ``count`` classes have no image in ``data``, as a sentence, or None if each has."""
    present = set(data.classes)
    absent = [label for label in range(count) if label not in present]
    if not absent:
        return None
    named = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
    return (
        f"{data.name} has images of {count - len(absent)} of {count} classes: none of class "
        f"{named}, of which what G makes means nothing"
    )


def check_all_labelled(data: ImageSet) -> None:
    """Raise DataError if an image has no label, which a conditional GAN cannot do without."""
    if data.labels is None:
        raise DataError(f"{data.name} has no labels; a conditional run needs them")
    missing = int((data.labels == UNLABELLED).sum())
    if missing:
        raise DataError(
            f"{data.name} has {missing} unlabelled image{'s'[: missing > 1]} (label {UNLABELLED}); "
            "a conditional run needs a label for each, so leave them out"
        )


def keep_labels(data: ImageSet, count: int, *, seed: int = 0) -> ImageSet:
    """The same images, of which ``count`` keep their label and the others get -1.

    Each class keeps ``count // classes`` labels, the first ones one more where that leaves a rest.
    Which images keep theirs is decided by ``seed`` alone.

    Args:
        data: a labelled set.
        count: from the number of classes to the number of labelled images.
        seed: 0 or more.

    Raises:
        DataError: no labels, another count, or a class with too few images.
    """
    if data.labels is None:
        raise DataError(f"{data.name} has no labels to keep")
    classes = data.classes
    most = int((data.labels != UNLABELLED).sum())
    if not classes:
        raise DataError(f"{data.name} has no labelled image, so no label to keep")
    if not is_integer(count) or not len(classes) <= count <= most:
        raise DataError(
            f"labelled is {count!r}; allowed for {data.name} are {len(classes)} (a label per "
            f"class) to {most}"
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
    return data.with_labels(kept.to(data.device))
