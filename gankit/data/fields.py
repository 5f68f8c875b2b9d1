"""What training asks of a data set: named fields, and batches of them as a dict of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gankit.data.sampler import BatchSampler

__all__ = ["FieldData"]


@runtime_checkable
class FieldData(Protocol):
    """A data set whose batches are dicts of tensors with one first dimension.

    ``ImageData`` and ``PointData`` have the field ``image``, and ``label`` if they are labelled; an
    ``ImageData`` has ``attributes`` if it has some;
    ``PairData`` and ``UnpairedData`` have ``a`` and ``b``.
    """

    @property
    def name(self) -> str:
        """What messages call the set."""

    @property
    def device(self) -> torch.device:
        """Where the data live."""

    @property
    def fields(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of one sample in each field: ``{"image": (1, 28, 28), "label": ()}``."""

    def __len__(self) -> int:
        """The number of indices: ``batch`` takes 0 to this, exclusive."""

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples at ``indices``, one tensor per field.

        Images are float32 ``[B, C, H, W]`` in [-1, 1], labels int64 ``[B]``. It runs on ``device``
        and does not wait for it, so with indices on the device it may be part of a CUDA graph.

        Args:
            indices: int64 ``[B]``, or whatever ``sampler`` gives, whose first dimension is B.
        """

    def to(self, device: str | torch.device) -> FieldData:
        """The same set on another device."""

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> BatchSampler:
        """The order in which training sees the set, as indices that ``batch`` takes.

        Raises:
            DataError: batch_size below 1 or above the number of indices.
        """
