"""Two image domains on one device, with the random crop and flip of pix2pix and CycleGAN.

Both papers load images at 286x286 and crop 256x256 of them (Isola et al., 2016, arXiv:1611.07004;
Zhu et al., 2017, arXiv:1703.10593); other sizes keep that ratio.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from gankit.data.images import ImageData, normalize_bytes
from gankit.errors import DataError
from gankit.scalars import is_integer

__all__ = ["Domains", "load_size"]

_D = TypeVar("_D", bound="Domains")


def load_size(image_size: int) -> int:
    """The side at which images are kept of which ``image_size`` is cropped."""
    return round(image_size * 286 / 256)


@dataclass(frozen=True, eq=False)
class Domains:
    """The images of two domains, whose batches have the fields ``a`` and ``b``.

    Args:
        a: the images of the first domain.
        b: those of the second, on the same device.
        name: what messages call the set.
        crop_size: height and width of the random crop; None takes the whole image.
        flip: mirror every second image on average.

    Raises:
        DataError: two devices, or a crop_size below 1 or above the side of an image.
    """

    a: ImageData
    b: ImageData
    name: str = "domains"
    crop_size: int | None = None
    flip: bool = False

    def __post_init__(self) -> None:
        for field in ("a", "b"):
            images = getattr(self, field)
            if not isinstance(images, ImageData):
                raise DataError(
                    f"{self.name}: {field} must be an ImageData, got {type(images).__name__}; "
                    "ImageData.from_tensor makes one of a tensor"
                )
        if self.a.device != self.b.device:
            raise DataError(
                f"{self.name}: a is on {self.a.device} but b on {self.b.device}, both must be on "
                "one device"
            )
        most = min(*self.a.shape[1:], *self.b.shape[1:])
        crop = self.crop_size
        if crop is not None and not (is_integer(crop) and 1 <= crop <= most):
            raise DataError(
                f"{self.name}: crop_size must be from 1 to {most}, the shortest side of an image, "
                f"or None, got {crop!r}"
            )

    @property
    def fields(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample of ``a`` and of ``b``, ``(C, H, W)``."""
        return {
            "a": (self.a.shape[0], *self._size(self.a)),
            "b": (self.b.shape[0], *self._size(self.b)),
        }

    @property
    def device(self) -> torch.device:
        """Where the images live."""
        return self.a.device

    def to(self: _D, device: str | torch.device) -> _D:
        """The same set on another device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in values.items()
            if isinstance(value, (ImageData, Tensor))
        }
        return dataclasses.replace(self, **moved)

    def flipped(self: _D, flip: bool = True) -> _D:
        """The same set, which mirrors every second sample on average, or none."""
        return dataclasses.replace(self, flip=flip)

    def _size(self, images: ImageData) -> tuple[int, int]:
        return images.shape[1:] if self.crop_size is None else (self.crop_size, self.crop_size)

    def _windows(self, images: ImageData, n: int) -> tuple[Tensor, Tensor] | None:
        """The rows and columns that a batch of ``n`` takes of each image, or None for all."""
        if self.crop_size is None and not self.flip:
            return None
        (height, width), device = self._size(images), self.device
        # On the device, from its default generator: nothing waits, and a CUDA graph draws anew.
        top, left = (
            torch.randint(whole - side + 1, (n, 1), device=device)
            for whole, side in zip(images.shape[1:], (height, width), strict=True)
        )
        rows = top + torch.arange(height, device=device)
        columns = torch.arange(width, device=device).expand(n, width)
        if self.flip:
            flipped = torch.randint(2, (n, 1), device=device, dtype=torch.bool)
            columns = torch.where(flipped, columns.flip(1), columns)
        return rows, left + columns


def take(images: ImageData, indices: Tensor, windows: tuple[Tensor, Tensor] | None) -> Tensor:
    """Float32 ``[B, C, H, W]`` in [-1, 1]: rows ``[B, H]`` and columns ``[B, W]`` of each image."""
    if windows is None:
        return images.gather(indices)
    rows, columns = windows
    picked = images.images.index_select(0, indices)
    n, channels, height, width = picked.shape
    # Whole rows first, which are copied in one piece; it is several times faster on a CPU than
    # one lookup of all four indices.
    planes = torch.arange(n * channels, device=images.device).view(n, channels, 1) * height
    lines = picked.reshape(-1, width).index_select(0, (planes + rows[:, None, :]).flatten())
    lines = lines.view(n, channels, -1, width)
    columns = columns[:, None, None, :].expand(-1, channels, lines.shape[2], -1)
    return normalize_bytes(lines.gather(3, columns))
