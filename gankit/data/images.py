"""A small image set that lives on the device as uint8."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.data.image_set import ImageSet, kind
from gankit.data.origin import Origin
from gankit.errors import DataError, GankitWarning, outside_gankit


@dataclass(frozen=True, eq=False)
class ImageData(ImageSet):
    """Images held as uint8 and normalised to [-1, 1] when a batch is gathered.

    Args:
        images: uint8 ``[N, C, H, W]``, N >= 1, values 0 (black) to 255 (white).
        labels: int64 ``[N]`` on the device of ``images``, from 0, or -1 for an unlabelled image;
            or None.
        name: what messages call the set.
        class_names: the names of labels 0, 1, ..., or none.
        notes: sentences on how the set was read, for whoever trains on it.
        attributes: uint8 ``[N, K]`` of 0 and 1 on the device of ``images``, what each image has of
            ``attribute_names``; or None.
        attribute_names: K names, in their order.
        flip: ``batch`` mirrors every second image on average, left to right (see ``flipped``).
        origin: the files that the images are of, for runs that go on, or None.

    Raises:
        DataError: wrong type, shape or device, labels below -1 or without a name, attributes that
            are not 0 or 1 or have no name, or no images.
    """

    images: Tensor
    labels: Tensor | None = None
    name: str = "images"
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    flip: bool = False
    origin: Origin | None = None

    def __post_init__(self) -> None:
        images = self.images
        if not isinstance(images, Tensor) or images.dtype != torch.uint8:
            raise DataError(
                f"{self.name}: images must be a uint8 tensor, got {kind(images)}; "
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
        self._check_annotations()

    @classmethod
    def from_tensor(
        cls, images: Tensor, labels: Tensor | None = None, *, name: str = "tensor"
    ) -> ImageData:
        """Makes an image set from your own tensor.

        Args:
            images: ``[N, C, H, W]`` or ``[N, H, W]``; uint8 0..255, or floating point in [-1, 1],
                which is rounded to the nearest of 256 levels. A warning (GankitWarning) is given
                for floats none of which is below 0, and for bytes none of which is above 1.
            labels: integers ``[N]`` from 0, or -1 for an unlabelled image; or None.
            name: what messages call the set.

        Raises:
            DataError: NaN, values out of range, a wrong type or shape, or a shape that reads as
                ``[N, H, W, C]``: both sides are above 4, and only the last dimension is a number
                of channels. (``ImageData(images)`` takes such a set as it is.)
        """
        if not isinstance(images, Tensor):
            raise DataError(f"{name}: images must be a tensor, got {kind(images)}")
        if images.dim() == 3:
            images = images.unsqueeze(1)
        _check_order(images, name)
        given = images
        if images.is_floating_point():
            images = quantise(images, name)
        if isinstance(labels, Tensor) and labels.dtype in _INTEGERS:
            labels = labels.to(device=images.device, dtype=torch.int64)
        made = cls(images.contiguous(), labels, name)
        _warn_of_range(given, name)
        return made

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
        labels, attributes = (
            None if each is None else each.to(device) for each in (self.labels, self.attributes)
        )
        return dataclasses.replace(
            self, images=self.images.to(device), labels=labels, attributes=attributes
        )

    def gather(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 ``[B]``, any device) as float32 ``[B, C, H, W]``.

        Values lie in [-1, 1] and are, bit for bit, those of torchvision's
        ``ToTensor`` followed by ``Normalize(0.5, 0.5)``.
        """
        indices = indices.to(self.images.device, non_blocking=True)
        return normalize_bytes(self.images.index_select(0, indices))

    def with_labels(self, labels: Tensor) -> ImageData:
        """The same images with other labels."""
        return dataclasses.replace(self, labels=labels)

    def normalized(self) -> Tensor:
        """All images as float32 ``[N, C, H, W]`` in [-1, 1]."""
        return normalize_bytes(self.images)

    def resize(self, image_size: int) -> ImageData:
        """The set at ``image_size`` x ``image_size`` (bilinear, antialiased when shrinking)."""
        if image_size < 1:
            raise DataError(f"image_size must be at least 1, got {image_size}")
        if self.shape[1:] == (image_size, image_size):
            return self
        resized = resize_to_uint8(self.images.float(), image_size)
        return dataclasses.replace(self, images=resized)

    def flipped(self, flip: bool = True) -> ImageData:
        """The same set, of which ``batch`` mirrors every second image on average, or none.

        Which ones is drawn for every batch anew, from torch's default generator of the device.
        """
        return dataclasses.replace(self, flip=flip)


def _check_order(images: Tensor, name: str) -> None:
    if images.dim() != 4:
        return
    _, first, second, last = images.shape
    if last <= 4 < min(first, second):
        raise DataError(
            f"{name}: images must have shape [N, C, H, W], got {list(images.shape)}, which reads "
            "as [N, H, W, C]; pass images.permute(0, 3, 1, 2)"
        )


def _warn_of_range(images: Tensor, name: str) -> None:
    text = None
    if images.is_floating_point() and float(images.amin()) >= 0:
        text = "none of the values is below 0; images in [0, 1] are brought there by 2 * images - 1"
    if images.dtype == torch.uint8 and int(images.amax()) <= 1:
        text = "none of the values is above 1 of 255; images of 0 and 1 become so by images * 255"
    if text is not None:
        expected = "[-1, 1]" if images.is_floating_point() else "0..255"
        warnings.warn(
            f"{name}: expected images in {expected}, but {text}",
            GankitWarning,
            stacklevel=outside_gankit(),
        )


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


def normalize_bytes(images: Tensor) -> Tensor:
    """uint8 0..255 as float32 in [-1, 1]."""
    # A divisor on the device makes CUDA divide; by a host scalar it multiplies by the rounded
    # reciprocal, and the last bit then differs from the CPU's.
    divisor = torch.full((), 127.5, device=images.device)
    return images.to(torch.float32).div_(divisor).sub_(1.0)
