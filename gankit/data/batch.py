"""A batch that is still where the images are."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Source(Protocol):
    """A set that lives on the device, such as ``ImageData`` and ``PointData``."""

    def gather(self, indices: Tensor) -> Tensor: ...


class Batch(NamedTuple):
    """Images by their places in a set; ``GANStep`` gathers them itself, inside its CUDA graph.

    Args:
        data: the set, on the networks' device; the same object in every step, since each has CUDA
            graphs of its own.
        indices: int64 ``[B]``, such as ``BatchSampler`` gives, on the same device. They are not
            looked at before they are used, which would wait for the device.
    """

    data: Source
    indices: Tensor

    def gather(self) -> Tensor:
        """The images, floating point ``[B, ...]``."""
        return self.data.gather(self.indices)
