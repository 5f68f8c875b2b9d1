"""Paired images, as pix2pix learns from: for each picture of domain A the same in domain B."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gankit.data.domains import Domains, load_size, take
from gankit.data.files import matched
from gankit.data.image_files import (
    SUFFIXES,
    decode_all,
    list_image_files,
    resize,
    warn_of_skipped,
)
from gankit.data.images import ImageData
from gankit.data.paths import existing_folder, places_of_two
from gankit.data.sampler import BatchSampler
from gankit.errors import DataError

__all__ = ["PairData", "load_pairs"]


@dataclass(frozen=True, eq=False)
class PairData(Domains):
    """Images of two domains, of which ``a[i]`` and ``b[i]`` show the same.

    A pair gets one crop and one flip. Both are drawn, for every batch anew, from torch's default
    generator of the device.

    Args:
        a: the images of the first domain.
        b: as many of the second, of the same height and width, on the same device.
        name: what messages call the set.
        crop_size: height and width of the random crop; None takes the whole image.
        flip: mirror every second pair on average.

    Raises:
        DataError: different numbers, sizes or devices, or a crop_size that does not fit.
    """

    name: str = "pairs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.a) != len(self.b) or self.a.shape[1:] != self.b.shape[1:]:
            raise DataError(
                f"{self.name}: a and b must be as many images of one height and width, got "
                f"{list(self.a.images.shape)} and {list(self.b.images.shape)}"
            )

    def __len__(self) -> int:
        return len(self.a)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The pairs at ``indices`` (int64 ``[B]``, any device).

        ``a`` and ``b`` are float32 ``[B, C, H, W]`` in [-1, 1].
        """
        indices = indices.to(self.device, non_blocking=True)
        windows = self._windows(self.a, len(indices))
        return {"a": take(self.a, indices, windows), "b": take(self.b, indices, windows)}

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> BatchSampler:
        """A ``BatchSampler`` over the pairs; arguments and errors are those of that class."""
        return BatchSampler(len(self), batch_size, generator=generator, replacement=replacement)


def load_pairs(
    path: str | Path,
    *,
    image_size: int | None = 256,
    split: str = "train",
    augment: bool | None = None,
) -> PairData:
    """Pairs from image files that hold A and B side by side, or from folders ``A`` and ``B``.

    The folder holds ``train``, ``val`` and ``test``, as pix2pix's data sets do, or is one split
    itself (split ``"test"`` is ``val`` where there is no ``test``). In a split lie files whose left
    half is A and whose right half is B, or folders ``A`` and ``B`` whose files are matched by their
    names without the suffix. ``A`` and ``B`` may also stand above the splits, as ``A/train``.

    Images are stretched to a square, bicubic. A domain has one channel if all its files store grey
    values, else three. Files that cannot be read are skipped with a warning (GankitWarning).

    Args:
        path: the folder.
        image_size: height and width of a batch's images; None keeps those of the files, which must
            be all of one size, and crops nothing.
        split: ``"train"``, ``"test"`` or ``"all"``.
        augment: crop at random from images 286/256 times as large, and flip at random, as Isola et
            al., 2016, arXiv:1611.07004 do; None does so for split ``"train"`` alone.

    Raises:
        DataError: no such folder or split, an image without its partner, or no image that can be
            read.
        MissingExtra: Pillow is not installed.
    """
    name = f"pairs:{path}"
    folder = existing_folder(path, name, "a folder of paired images")
    augment = split == "train" if augment is None else augment
    items, others = _files(folder, split, name)
    if not items:
        raise DataError(
            f"{name}: no images in {folder} for split {split!r}, expected files of type "
            f"{', '.join(SUFFIXES)}"
        )
    size = load_size(image_size) if augment and image_size is not None else image_size

    def arrange(images: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pair = _halves(images[0]) if len(images) == 1 else images
        return pair if size is None else tuple(resize(image, size) for image in pair)

    (a, b), errors = decode_all(items, arrange, name)
    warn_of_skipped(name, errors.values(), others)
    return PairData(
        ImageData(a, None, f"{name} A"),
        ImageData(b, None, f"{name} B"),
        name,
        crop_size=image_size if augment else None,
        flip=augment,
    )


def _halves(image: Tensor) -> tuple[Tensor, Tensor]:
    width = image.shape[2]
    if width % 2:
        raise DataError(f"{width} pixels wide, expected an even number: A and B side by side")
    a, b = image.chunk(2, dim=2)
    return a, b


def _files(folder: Path, split: str, name: str) -> tuple[list[tuple[Path, ...]], list[Path]]:
    """The files of each pair, two or one of both halves, and the files that are no images."""
    places = places_of_two(folder, split, name, ("A", "B"))
    items: list[tuple[Path, ...]] = []
    others: list[Path] = []
    for place in places:
        listed = [list_image_files(domain) for domain in place]
        others += [file for _, rest in listed for file in rest]
        images = [files for files, _ in listed]
        items += [(f,) for f in images[0]] if len(place) == 1 else matched(place, images, name)
    return items, others
