"""What all sets of single images have in common, wherever their pixels are."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gankit.data.sampler import BatchSampler
from gankit.errors import DataError

__all__ = ["UNLABELLED", "ImageSet", "check_attributes", "check_labels", "mirror_some"]

# The label of an image whose class is not known.
UNLABELLED = -1


class ImageSet(ABC):
    """Images of one shape, each of which may have a class and attributes.

    Attributes:
        labels: int64 ``[N]`` on ``device``, from 0, or -1 for an unlabelled image; or None.
        name: what messages call the set.
        class_names: the names of labels 0, 1, ..., or none.
        notes: sentences on how the set was read, for whoever trains on it.
        attributes: uint8 ``[N, K]`` of 0 and 1 on ``device``, or None.
        attribute_names: the names of the K attributes.
        flip: ``batch`` mirrors every second image on average, left to right.
    """

    labels: Tensor | None
    name: str
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    attributes: Tensor | None
    attribute_names: tuple[str, ...]
    flip: bool

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of one image."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where batches are."""

    @abstractmethod
    def to(self, device: str | torch.device) -> ImageSet:
        """The same set on another device."""

    @abstractmethod
    def gather(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 ``[B]``, any device), float32 ``[B, C, H, W]``."""

    @abstractmethod
    def with_labels(self, labels: Tensor) -> ImageSet:
        """The same images with other labels."""

    @property
    def fields(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample in each field: ``image``, and ``label`` and ``attributes`` if the
        set has them."""
        fields: dict[str, tuple[int, ...]] = {"image": self.shape}
        if self.labels is not None:
            fields["label"] = ()
        if self.attributes is not None:
            fields["attributes"] = (len(self.attribute_names),)
        return fields

    @property
    def classes(self) -> list[int]:
        """The labels that occur, in order, without the mark of unlabelled images."""
        if self.labels is None:
            return []
        found: list[int] = self.labels.unique().tolist()
        return [label for label in found if label != UNLABELLED]

    def gather_labels(self, indices: Tensor) -> Tensor:
        """The labels at ``indices`` (int64 ``[B]``, any device), int64 ``[B]``.

        Raises DataError if the set has none.
        """
        if self.labels is None:
            raise DataError(f"{self.name} has no labels")
        return self.labels.index_select(0, indices.to(self.labels.device, non_blocking=True))

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples at ``indices`` (int64 ``[B]``, any device), as ``gather`` gives them.

        ``image`` is float32 ``[B, C, H, W]`` in [-1, 1], with ``flip`` some mirrored; ``label``, if
        there are labels, int64 ``[B]``; ``attributes``, if there are any, float32 ``[B, K]`` of 0
        and 1.
        """
        indices = indices.to(self.device, non_blocking=True)
        return self._samples(self.gather(indices), indices)

    def _samples(self, images: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """A batch of ``images``, those at ``indices``, all on ``device``."""
        found = {"image": mirror_some(images) if self.flip else images}
        if self.labels is not None:
            found["label"] = self.labels.index_select(0, indices)
        if self.attributes is not None:
            found["attributes"] = self.attributes.index_select(0, indices).float()
        return found

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> BatchSampler:
        """A ``BatchSampler`` over the set; arguments and errors are those of that class."""
        return BatchSampler(len(self), batch_size, generator=generator, replacement=replacement)

    def class_name(self, label: int) -> str:
        """What class ``label`` is called: its name, or the number where it has none."""
        named = 0 <= label < len(self.class_names)
        return self.class_names[label] if named else str(label)

    def _check_annotations(self) -> None:
        """Raise DataError for labels or attributes of another kind, number or device."""
        labels, count = self.labels, len(self)
        if self.attributes is not None:
            check_attributes(self.attributes, self.attribute_names, count, self.name)
            self._check_place("attributes", self.attributes)
        if labels is None:
            return
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
            raise DataError(f"{self.name}: labels must be an int64 tensor, got {kind(labels)}")
        if labels.shape != (count,):
            raise DataError(
                f"{self.name}: {count} images need labels of shape [{count}], "
                f"got {list(labels.shape)}"
            )
        self._check_place("labels", labels)
        check_labels(labels, self.name)
        if self.class_names and int(labels.max()) >= len(self.class_names):
            raise DataError(
                f"{self.name}: labels up to {int(labels.max())}, but {len(self.class_names)} names "
                "of classes"
            )

    def _check_place(self, what: str, value: Tensor) -> None:
        if value.device != self.device:
            raise DataError(
                f"{self.name}: {what} are on {value.device} but images on {self.device}, "
                "both must be on one device"
            )


def mirror_some(images: Tensor) -> Tensor:
    """``images`` ``[N, C, H, W]``, every second one on average mirrored left to right.

    Drawn from torch's default generator of the device: nothing waits, and a CUDA graph draws anew.
    """
    mirrored = torch.randint(2, (len(images), 1, 1, 1), device=images.device, dtype=torch.bool)
    return torch.where(mirrored, images.flip(3), images)


def check_labels(labels: Tensor, name: str) -> None:
    """Raise DataError for int64 labels below -1."""
    if labels.numel() and int(labels.min()) < UNLABELLED:
        raise DataError(
            f"{name}: labels must be integers from 0, or {UNLABELLED} for unlabelled images, got "
            f"{int(labels.min())}"
        )


def check_attributes(attributes: Tensor, names: tuple[str, ...], count: int, name: str) -> None:
    """Raise DataError unless ``attributes`` are uint8 ``[count, K]`` of 0 and 1, with K names."""
    if not isinstance(attributes, Tensor) or attributes.dtype != torch.uint8:
        raise DataError(f"{name}: attributes must be a uint8 tensor, got {kind(attributes)}")
    if attributes.shape != (count, len(names)) or not names:
        raise DataError(
            f"{name}: {count} images with {len(names)} names of attributes need attributes of "
            f"shape [{count}, {len(names)}], at least one, got {list(attributes.shape)}"
        )
    if int(attributes.max()) > 1:
        raise DataError(f"{name}: attributes must be 0 or 1, got {int(attributes.max())}")


def kind(value: object) -> str:
    """The dtype of a tensor, the type of anything else."""
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
