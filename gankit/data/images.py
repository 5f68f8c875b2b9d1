"""A small image set that lives on the device as uint8."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images held as uint8 and normalised to [-1, 1] when a batch is gathered.

    Args:
        images: uint8 ``[N, C, H, W]``, N >= 1, values 0 (black) to 255 (white).
        labels: int64 ``[N]`` on the device of ``images``, or None.
        name: what messages call the set.

    Raises:
        DataError: wrong type, shape or device, or no images.
    """

    images: Tensor
    labels: Tensor | None = None
    name: str = "images"

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if not isinstance(images, Tensor) or images.dtype != torch.uint8:
            raise DataError(
                f"{self.name}: images must be a uint8 tensor, got {_kind(images)}; "
                "ImageData.from_tensor also takes floats in [-1, 1]"
            )
        if images.dim() != 4:
            raise DataError(
                f"{self.name}: images must have shape [N, C, H, W], got {list(images.shape)}"
            )
        if images.numel() == 0:
            raise DataError(
                f"{self.name}: the set is empty (shape {list(images.shape)}), "
                "at least one image is needed"
            )
        if labels is None:
            return
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
            raise DataError(f"{self.name}: labels must be an int64 tensor, got {_kind(labels)}")
        if labels.shape != images.shape[:1]:
            raise DataError(
                f"{self.name}: {len(images)} images need labels of shape [{len(images)}], "
                f"got {list(labels.shape)}"
            )
        if labels.device != images.device:
            raise DataError(
                f"{self.name}: labels are on {labels.device} but images on {images.device}, "
                "both must be on one device"
            )

    @classmethod
    def from_tensor(
        cls, images: Tensor, labels: Tensor | None = None, *, name: str = "tensor"
    ) -> ImageData:
        """Makes an image set from your own tensor.

        Args:
            images: ``[N, C, H, W]`` or ``[N, H, W]``; uint8 0..255, or floating point in [-1, 1],
                which is rounded to the nearest of 256 levels.
            labels: integers ``[N]``, or None.
            name: what messages call the set.

        Raises:
            DataError: NaN, values out of range, or a wrong type or shape.
        """
        if not isinstance(images, Tensor):
            raise DataError(f"{name}: images must be a tensor, got {_kind(images)}")
        if images.dim() == 3:
            images = images.unsqueeze(1)
        if images.is_floating_point():
            images = quantise(images, name)
        if isinstance(labels, Tensor) and labels.dtype in _INTEGERS:
            labels = labels.to(device=images.device, dtype=torch.int64)
        return cls(images.contiguous(), labels, name)

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of one image."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    @property
    def device(self) -> torch.device:
        """Where the images live."""
        return self.images.device

    def to(self, device: str | torch.device) -> ImageData:
        """The same set on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return ImageData(self.images.to(device), labels, self.name)

    def gather(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 ``[B]``, any device) as float32 ``[B, C, H, W]``.

        Values lie in [-1, 1] and are, bit for bit, those of torchvision's
        ``ToTensor`` followed by ``Normalize(0.5, 0.5)``.
        """
        indices = indices.to(self.images.device, non_blocking=True)
        return _normalise(self.images.index_select(0, indices))

    def gather_labels(self, indices: Tensor) -> Tensor:
        """The labels at ``indices`` (int64 ``[B]``, any device), int64 ``[B]``.

        Raises DataError if the set has none.
        """
        if self.labels is None:
            raise DataError(f"{self.name} has no labels")
        return self.labels.index_select(0, indices.to(self.labels.device, non_blocking=True))

    def normalized(self) -> Tensor:
        """All images as float32 ``[N, C, H, W]`` in [-1, 1]."""
        return _normalise(self.images)

    def resize(self, image_size: int) -> ImageData:
        """The set at ``image_size`` x ``image_size`` (bilinear, antialiased when shrinking)."""
        if image_size < 1:
            raise DataError(f"image_size must be at least 1, got {image_size}")
        if self.shape[1:] == (image_size, image_size):
            return self
        return ImageData(resize_to_uint8(self.images.float(), image_size), self.labels, self.name)


_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def resize_to_uint8(images: Tensor, image_size: int) -> Tensor:
    """Bilinear resize of ``[N, C, H, W]`` floats in [0, 255] to uint8, in bounded memory."""
    shrinking = image_size < min(images.shape[2:])
    parts = [
        F.interpolate(
            part,
            size=(image_size, image_size),
            mode="bilinear",
            align_corners=False,
            antialias=shrinking,
        )
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        for part in images.split(4096)
    ]
    return torch.cat(parts)


def quantise(images: Tensor, name: str) -> Tensor:
    """Floats in [-1, 1] to uint8 0..255, refusing NaN and values outside the range."""
    if images.numel() == 0:
        return images.to(torch.uint8)
    low, high = float(images.amin()), float(images.amax())
    if low != low or high != high:
        count = int(images.isnan().sum())
        raise DataError(f"{name}: {count} of {images.numel()} values are NaN, none may be")
    if low < -1.0 or high > 1.0:
        raise DataError(f"{name}: float images must lie in [-1, 1], got [{low:g}, {high:g}]")
    return images.float().add(1.0).mul_(127.5).round_().to(torch.uint8)


def _normalise(images: Tensor) -> Tensor:
    # A divisor on the device makes CUDA divide; by a host scalar it multiplies by the rounded
    # reciprocal, and the last bit then differs from the CPU's.
    divisor = torch.full((), 127.5, device=images.device)
    return images.to(torch.float32).div_(divisor).sub_(1.0)


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
