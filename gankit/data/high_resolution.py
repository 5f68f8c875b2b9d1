"""High-resolution images of any size, and their crops with small versions: what SRGAN learns from.

Ledig et al., 2016, arXiv:1609.04802, section 3.2: random crops of the high-resolution images, and
as the input of the network the same crops shrunk by a bicubic kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.data.image_files import (
    SUFFIXES,
    decode,
    list_image_files,
    stored_channels,
    warn_of_skipped,
)
from gankit.data.image_set import mirror_some
from gankit.data.images import normalize_bytes
from gankit.data.paths import existing_path, split_folders
from gankit.data.sampler import BatchSampler
from gankit.errors import DataError, MissingExtra, shortened
from gankit.scalars import is_integer

__all__ = ["HighResolutionData", "load_high_resolution", "load_photographs", "shrink"]

_T = TypeVar("_T")
# The share of each photograph, from its left side, that is learnt from.
_LEARNT = 0.75


@dataclass(frozen=True, eq=False)
class HighResolutionData:
    """Crops of images of any size, in the field ``high``, and the same made small, in ``low``.

    An image has as many indices as crops side by side find room in it, so that large images are
    seen more often. A batch is cut at random places of these images, drawn from torch's default
    generator of the device; without ``augment`` an index is the crop of one place.

    Args:
        pixels: uint8 ``[values]``, all images one after the other, each as ``[C, H, W]``.
        sizes: int64 ``[images, 2]``, H and W of each, on the CPU.
        channels: C.
        crop: height and width of a crop, a multiple of ``scale``.
        scale: how many times as high and as wide as ``low`` it is, from 2.
        augment: crop at random places.
        flip: mirror every second crop on average.
        name: what messages call the set.
        notes: sentences on how the set was read, for whoever trains on it.

    Raises:
        DataError: an argument outside what is said here, or an image smaller than ``crop``.
    """

    pixels: Tensor
    sizes: Tensor
    channels: int
    crop: int = 96
    scale: int = 4
    augment: bool = True
    flip: bool = False
    name: str = "high-resolution images"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_crop(self.crop, self.scale, self.name)
        if self.sizes.ndim != 2 or not len(self.sizes):
            raise DataError(f"{self.name}: the set is empty, at least one image is needed")
        height, width = self.sizes[self.sizes.amin(1).argmin()].tolist()
        if min(height, width) < self.crop:
            raise DataError(f"{self.name}: {_too_small(height, width, self.crop)}")
        values = self.channels * self.sizes.prod(1)
        if self.pixels.dtype != torch.uint8 or self.pixels.shape != (int(values.sum()),):
            raise DataError(
                f"{self.name}: pixels must be {int(values.sum())} bytes, the images of sizes, got "
                f"{list(self.pixels.shape)} of {self.pixels.dtype}"
            )
        grid = self.sizes // self.crop
        per_image = grid.prod(1)
        image = torch.repeat_interleave(torch.arange(len(grid)), per_image)
        place = torch.arange(len(image)) - (per_image.cumsum(0) - per_image)[image]
        across = grid[image, 1]
        corner = torch.stack([place // across, place % across], 1) * self.crop
        # Of each index: where its image begins, its height and width, and the corner of its crop.
        first = (values.cumsum(0) - values)[image]
        table = torch.cat([first[:, None], self.sizes[image], corner], 1)
        object.__setattr__(self, "_table", table.to(self.pixels.device))

    @classmethod
    def from_images(cls, images: Sequence[Tensor], **settings: object) -> HighResolutionData:
        """The set of ``images``, uint8 ``[C, H, W]`` each, of one number of channels.

        ``settings`` are the other arguments of the class. Raises DataError for other images.
        """
        name = str(settings.get("name", cls.name))
        for image in images:
            if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim != 3:
                kind = type(image).__name__
                came = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else kind
                raise DataError(f"{name}: an image must be uint8 [C, H, W], got {came}")
            if len(image) != len(images[0]):
                raise DataError(
                    f"{name}: images of {len(images[0])} and of {len(image)} channels in one set"
                )
        if not images:
            raise DataError(f"{name}: the set is empty, at least one image is needed")
        sizes = torch.tensor([image.shape[1:] for image in images])
        pixels = torch.cat([image.flatten() for image in images])
        return cls(pixels, sizes, len(images[0]), **settings)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._places)

    @property
    def device(self) -> torch.device:
        """Where the images live."""
        return self.pixels.device

    @property
    def fields(self) -> dict[str, tuple[int, ...]]:
        """The shape of a sample of ``low`` and of ``high``, ``(C, H, W)``."""
        small = self.crop // self.scale
        return {
            "low": (self.channels, small, small),
            "high": (self.channels, self.crop, self.crop),
        }

    def image(self, number: int) -> Tensor:
        """The whole image ``number``, uint8 ``[C, H, W]``. Raises IndexError beyond the last."""
        height, width = self.sizes[number].tolist()
        first = self.channels * int(self.sizes[:number].prod(1).sum())
        return self.pixels[first:][: self.channels * height * width].view(-1, height, width)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """Crops at ``indices`` (int64 ``[B]``, any device), float32 in [-1, 1].

        ``high`` is ``[B, C, crop, crop]``, ``low`` what ``shrink`` makes of it.
        """
        table = self._places.index_select(0, indices.to(self.device, non_blocking=True))
        first, size, corner = table[:, 0], table[:, 1:3], table[:, 3:]
        steps = torch.arange(self.crop, device=self.device)
        if self.augment:
            # On the device, from its default generator: nothing waits, and a CUDA graph draws anew.
            u = torch.rand(len(table), 2, device=self.device, dtype=torch.float64)
            corner = (u * (size - self.crop + 1)).long()
        height, width = size.unbind(1)
        rows = (corner[:, :1] + steps) * width[:, None]
        columns = corner[:, 1:] + steps
        planes = torch.arange(self.channels, device=self.device) * (height * width)[:, None]
        places = (first[:, None] + planes)[:, :, None, None]
        places = places + rows[:, None, :, None] + columns[:, None, None, :]
        high = normalize_bytes(self.pixels[places])
        high = mirror_some(high) if self.flip else high
        return {"low": shrink(high, self.scale), "high": high}

    def flipped(self, flip: bool) -> HighResolutionData:
        """The same set with or without mirroring."""
        return dataclasses.replace(self, flip=flip)

    def to(self, device: str | torch.device) -> HighResolutionData:
        """The same set on another device."""
        return dataclasses.replace(self, pixels=self.pixels.to(device))

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> BatchSampler:
        """A ``BatchSampler`` over the indices; arguments and errors are those of that class."""
        return BatchSampler(len(self), batch_size, generator=generator, replacement=replacement)

    @property
    def _places(self) -> Tensor:
        table: Tensor = self.__dict__["_table"]
        return table


def shrink(images: Tensor, scale: int) -> Tensor:
    """Floats ``[N, C, H, W]`` in [-1, 1] to ``[N, C, H / scale, W / scale]``.

    Bicubic, antialiased, and rounded to the 256 levels that a file has. H and W are multiples of
    ``scale``.
    """
    size = [side // scale for side in images.shape[2:]]
    small = F.interpolate(images, size, mode="bicubic", antialias=True)
    return (small.clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1


def check_crop(crop: object, scale: object, name: str) -> None:
    """Raise DataError unless crops of side ``crop`` can be shrunk to one of ``scale``."""
    if not is_integer(scale) or scale < 2:
        raise DataError(f"{name}: scale must be an integer from 2, got {shortened(scale)}")
    if not is_integer(crop) or crop < scale or crop % scale:
        raise DataError(
            f"{name}: image_size, the side of a crop, must be a multiple of the scale {scale}, got "
            f"{shortened(crop)}"
        )


def load_high_resolution(
    path: str | Path,
    *,
    image_size: int = 96,
    scale: int = 4,
    split: str = "train",
    augment: bool | None = None,
    progress: bool = False,
) -> HighResolutionData:
    """One image file, or every one below a folder, at its own size, to be learnt to be upscaled.

    Folders ``train``, ``val`` and ``test`` at the first level are the splits (``val`` serves as
    test where there is no ``test``); without them everything is split ``"train"``. The set has one
    channel if all files store grey values, else three; transparent pixels are laid over white.
    Files that cannot be read or are smaller than a crop are skipped with a warning (GankitWarning)
    that counts them and names the first.

    Args:
        path: the folder, or the file.
        image_size: height and width of a crop, a multiple of ``scale``.
        scale: how many times as high and wide as the small image.
        split: ``"train"``, ``"test"`` or ``"all"``.
        augment: crop at random places and mirror; None does so for split ``"train"`` alone.
        progress: show on a terminal how far the decoding is.

    Raises:
        DataError: an argument is not allowed, there is no such file, folder or split, or no image
            that can be read and is large enough.
        MissingExtra: Pillow is not installed.
    """
    name = f"highres:{path}"
    check_crop(image_size, scale, name)
    where = existing_path(path, name, "an image, or a folder of images")
    files, others = [where], []
    if where.is_dir():
        listed = [list_image_files(part) for part in split_folders(where, split, name)]
        files = [file for images, _ in listed for file in images]
        others = [file for _, rest in listed for file in rest]
    if not files:
        raise DataError(
            f"{name}: no images in {where}, expected files of type {', '.join(SUFFIXES)}"
        )
    with ThreadPoolExecutor(thread_name_prefix="gankit-images") as pool:
        kinds = list(pool.map(_channels_of, files))
        channels = max((kind for kind in kinds if isinstance(kind, int)), default=3)
        read = pool.map(lambda file: _read(file, channels, image_size), files)
        decoded = list(_shown(read, len(files), name) if progress else read)
    images = [image for image in decoded if isinstance(image, Tensor)]
    errors = [error for error in decoded if isinstance(error, DataError)]
    if not images:
        raise DataError(
            f"{name}: none of {len(files)} images can be learnt from; {errors[0]}"
            if len(files) > 1
            else f"{name}: {errors[0]}"
        )
    warn_of_skipped(name, errors, others)
    augment = split == "train" if augment is None else augment
    kind = "grey" if channels == 1 else "RGB"
    note = f"{name}: {len(images)} {kind} images, crops of {image_size}x{image_size}."
    return HighResolutionData.from_images(
        images,
        crop=image_size,
        scale=scale,
        augment=augment,
        flip=augment,
        name=name,
        notes=(note,),
    )


def load_photographs(
    *, image_size: int = 96, scale: int = 4, split: str = "train", augment: bool | None = None
) -> HighResolutionData:
    """The two photographs of scikit-learn, 640x427, RGB: a palace and a flower.

    Split ``"train"`` is the left three quarters of each, ``"test"`` the right quarter.

    Args:
        image_size: height and width of a crop, a multiple of ``scale``, at most 160 for ``"test"``.
        scale: how many times as high and wide as the small image.
        split: ``"train"``, ``"test"`` or ``"all"``.
        augment: crop at random places and mirror; None does so for split ``"train"`` alone.

    Raises:
        DataError: an argument is not allowed.
        MissingExtra: scikit-learn or Pillow is not installed.
    """
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise MissingExtra("scikit-learn", "train") from error
    check_crop(image_size, scale, "photographs")
    try:
        pictures = load_sample_images().images
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    images = []
    for pixels in pictures:
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        border = round(image.shape[2] * _LEARNT)
        left, right = image[:, :, :border], image[:, :, border:]
        images.append({"train": left, "test": right, "all": image}[split])
    augment = split == "train" if augment is None else augment
    return HighResolutionData.from_images(
        images,
        crop=image_size,
        scale=scale,
        augment=augment,
        flip=augment,
        name="photographs",
    )


def _channels_of(file: Path) -> int | DataError:
    try:
        return stored_channels(file)
    except DataError as error:
        return error


def _read(file: Path, channels: int, crop: int) -> Tensor | DataError:
    try:
        image = decode(file, channels=channels)
    except DataError as error:
        return error
    height, width = image.shape[1:]
    if min(height, width) < crop:
        return DataError(f"{file}: {_too_small(height, width, crop)}")
    return image


def _too_small(height: int, width: int, crop: int) -> str:
    return (
        f"an image of {width}x{height} is smaller than a crop, {crop}x{crop}; set a smaller "
        "image_size"
    )


def _shown(read: Iterable[_T], total: int, name: str) -> Iterable[_T]:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingExtra("tqdm", "train") from error
    bar: Iterable[_T] = tqdm(read, f"reading {name}", total, leave=False, delay=1, disable=None)
    return bar
