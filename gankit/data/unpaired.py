"""Unpaired images of two domains, as CycleGAN learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gankit.data.domains import Domains, load_size, take
from gankit.data.image_files import (
    SUFFIXES,
    decode_all,
    list_image_files,
    resize,
    warn_of_skipped,
)
from gankit.data.images import ImageData
from gankit.data.paths import existing_folder
from gankit.data.sampler import BatchSampler
from gankit.errors import DataError

__all__ = ["UnpairedData", "UnpairedSampler", "load_unpaired"]


class UnpairedSampler(BatchSampler):
    """An infinite iterator of int64 ``[batch_size, 2]``: indices into domain A and domain B.

    An epoch is one pass over the larger domain, as ``BatchSampler`` makes it; the indices into the
    smaller one are drawn with replacement from the same generator. Of two equally large domains,
    the pass is over A. (Zhu et al., 2017, arXiv:1703.10593, whose code always draws B at random.)

    Args:
        n_a: number of images in A.
        n_b: number of images in B.
        batch_size: samples in a batch, 1 to the larger of both.
        generator: as ``BatchSampler``.
        replacement: draw both with replacement.

    Raises:
        DataError: batch_size below 1 or above the larger domain.
    """

    _fixed = (*BatchSampler._fixed, "n_a", "n_b")

    def __init__(
        self,
        n_a: int,
        n_b: int,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> None:
        super().__init__(max(n_a, n_b), batch_size, generator=generator, replacement=replacement)
        self.n_a = n_a
        self.n_b = n_b

    def __next__(self) -> Tensor:
        larger = super().__next__()
        smaller = torch.randint(
            min(self.n_a, self.n_b),
            (self.batch_size,),
            generator=self.generator,
            device=larger.device,
        )
        pair = (larger, smaller) if self.n_a >= self.n_b else (smaller, larger)
        return torch.stack(pair, dim=1)

    def state_dict(self) -> dict[str, Any]:
        """As ``BatchSampler``, and the sizes of both domains."""
        return super().state_dict() | {"n_a": self.n_a, "n_b": self.n_b}


@dataclass(frozen=True, eq=False)
class UnpairedData(Domains):
    """Images of two domains that have nothing to do with each other one by one.

    Each image of a batch gets a crop and a flip of its own, drawn from torch's default generator of
    the device.

    Args:
        a: the images of the first domain.
        b: those of the second, as many as there are, on the same device.
        name: what messages call the set.
        crop_size: height and width of the random crop; None takes the whole image.
        flip: mirror every second image on average.

    Raises:
        DataError: two devices, or a crop_size that does not fit.
    """

    domains: ClassVar[int] = 2  # indices that a row of ``sampler`` has

    name: str = "unpaired"

    def __len__(self) -> int:
        """The size of the larger domain, which is an epoch."""
        return max(len(self.a), len(self.b))

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """One image of each domain per row of ``indices``, any device.

        Args:
            indices: int64 ``[B, 2]``, into ``a`` and into ``b``, as ``sampler`` gives them; or
                int64 ``[B]``, which goes through both in their order and begins the smaller anew
                at its end.

        Returns:
            ``a`` and ``b``, float32 ``[B, C, H, W]`` in [-1, 1].

        Raises:
            DataError: indices of another shape.
        """
        indices = indices.to(self.device, non_blocking=True)
        if indices.dim() == 1:
            of_a, of_b = indices % len(self.a), indices % len(self.b)
        elif indices.dim() == 2 and indices.shape[1] == 2:
            of_a, of_b = indices.unbind(1)
        else:
            raise DataError(
                f"{self.name}: indices must have shape [B, 2] or [B], got {list(indices.shape)}"
            )
        return {
            "a": take(self.a, of_a, self._windows(self.a, len(indices))),
            "b": take(self.b, of_b, self._windows(self.b, len(indices))),
        }

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> UnpairedSampler:
        """An ``UnpairedSampler``; arguments and errors are those of that class."""
        return UnpairedSampler(
            len(self.a), len(self.b), batch_size, generator=generator, replacement=replacement
        )


def load_unpaired(
    path: str | Path,
    *,
    image_size: int | None = 256,
    split: str = "train",
    augment: bool | None = None,
) -> UnpairedData:
    """Two domains from the folders ``trainA``, ``trainB``, ``testA`` and ``testB`` below one.

    It is the layout of CycleGAN's data sets. Images are stretched to a square, bicubic. A domain
    has one channel if all its files store grey values, else three. Files that cannot be read are
    skipped with a warning (GankitWarning).

    Args:
        path: the folder.
        image_size: height and width of a batch's images; None keeps those of the files, which must
            be all of one size in a domain, and crops nothing.
        split: ``"train"``, ``"test"`` or ``"all"``, which is what there is of both.
        augment: crop at random from images 286/256 times as large, and flip at random, as Zhu et
            al., 2017, arXiv:1703.10593 do; None does so for split ``"train"`` alone.

    Raises:
        DataError: no such folder, a folder of the split is missing, or no image of a domain can be
            read.
        MissingExtra: Pillow is not installed.
    """
    name = f"unpaired:{path}"
    folder = existing_folder(path, name, "a folder with trainA and trainB")
    augment = split == "train" if augment is None else augment
    size = load_size(image_size) if augment and image_size is not None else image_size

    def arrange(images: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return images if size is None else tuple(resize(image, size) for image in images)

    splits = [part for part in ("train", "test") if split in (part, "all")]
    if split == "all":
        splits = [part for part in splits if (folder / f"{part}A").is_dir()] or splits
    domains, others = [], []
    skipped: list[DataError] = []
    for domain in "AB":
        items = []
        for part in splits:
            images, rest = list_image_files(
                existing_folder(folder / f"{part}{domain}", name, "the images of a domain")
            )
            items += [(file,) for file in images]
            others += rest
        if not items:
            wanted = " or ".join(f"{part}{domain}" for part in splits)
            raise DataError(
                f"{name}: no images in {wanted} of {folder}, expected files of type "
                f"{', '.join(SUFFIXES)}"
            )
        (stack,), errors = decode_all(items, arrange, f"{name} {domain}")
        domains.append(ImageData(stack, None, f"{name} {domain}"))
        skipped += errors.values()
    warn_of_skipped(name, skipped, others)
    a, b = domains
    return UnpairedData(a, b, name, crop_size=image_size if augment else None, flip=augment)
