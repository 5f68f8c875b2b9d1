"""CIFAR-10 and CelebA, read by torchvision from files that somebody has put in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gankit.data.file_set import Annotations, Cache, ImageSize, file_set
from gankit.data.image_files import Fit
from gankit.data.image_set import ImageSet
from gankit.data.images import ImageData
from gankit.data.paths import data_root
from gankit.data.residency import Resident
from gankit.errors import DataError, MissingExtra

__all__ = ["load_celeba", "load_cifar10"]

_CELEBA = (
    *("identity_CelebA.txt", "list_attr_celeba.txt", "list_bbox_celeba.txt"),
    *("list_landmarks_align_celeba.txt", "list_eval_partition.txt"),
)


def load_cifar10(*, root: str | Path | None = None, split: str = "train") -> ImageData:
    """CIFAR-10 (Krizhevsky, 2009): RGB 32x32, ten classes, 50,000 images and 10,000 of the test.

    Args:
        root: as for ``load``; the folder ``cifar-10-batches-py`` lies in it.
        split: ``"train"``, ``"test"`` or ``"all"``.

    Raises:
        DataError: the files are absent or damaged.
        MissingExtra: torchvision is not installed.
    """
    place = data_root(root)
    wanted = (
        f"put the folder cifar-10-batches-py into {place}, as cifar-10-python.tar.gz of "
        "https://www.cs.toronto.edu/~kriz/cifar.html unpacks to"
    )
    parts = [
        _made("CIFAR10", "cifar10", wanted, place, train=train)
        for train in (True, False)
        if split in ("all", "train" if train else "test")
    ]
    images = torch.cat([torch.from_numpy(part.data) for part in parts])
    labels = torch.tensor([label for part in parts for label in part.targets])
    return ImageData(
        images.permute(0, 3, 1, 2).contiguous(), labels, "cifar10", tuple(parts[0].classes)
    )


def load_celeba(
    *,
    root: str | Path | None = None,
    image_size: ImageSize = 28,
    split: str = "train",
    resize: Fit = "crop",
    resident: Resident = "auto",
    cache: Cache = "auto",
    workers: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> ImageSet:
    """The aligned faces of CelebA (Liu et al., 2015, arXiv:1411.7766), without labels.

    Its attributes are read by ``load_csv``.

    Args:
        root: as for ``load``; the folder ``celeba`` lies in it.
        image_size: height and width, one number for both or two; None keeps 218x178.
        split: ``"train"``, ``"test"`` or ``"all"``.
        resize: as for ``load_folder``, and so ``resident``, ``cache``, ``workers`` and ``device``.
        progress: show on a terminal how far the decoding is.

    Raises:
        DataError: the files are absent or damaged.
        MissingExtra: torchvision is not installed.
    """
    place = data_root(root)
    wanted = (
        f"put the folder img_align_celeba and {', '.join(_CELEBA)} into {place / 'celeba'}, as "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html has them"
    )
    faces = _made("CelebA", "celeba", wanted, place, split=split)
    folder = place / "celeba" / "img_align_celeba"
    return file_set(
        [folder / name for name in faces.filename],
        folder,
        "celeba",
        lambda kept: Annotations(),
        root=root,
        image_size=image_size,
        channels=3,
        resize=resize,
        resident=resident,
        cache=cache,
        workers=workers,
        device=device,
        progress=progress,
    )


def _made(kind: str, name: str, wanted: str, place: Path, **arguments: Any) -> Any:
    """torchvision's data set, which checks the files."""
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MissingExtra("torchvision", "train") from error
    try:
        return getattr(datasets, kind)(place, download=False, **arguments)
    except Exception as error:  # absent and damaged files fail in many ways
        raise DataError(f"{name} is not in {place}, or is damaged: {wanted}") from error
