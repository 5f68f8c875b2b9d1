"""A batch that is still where the images are."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Samples by their places in a set; a step gathers them itself, inside its CUDA graph.

    Args:
        data: the set (``FieldData``, or one with a method ``gather`` for images alone), on the
            networks' device; the same object in every step, since each has CUDA graphs of its own.
        indices: int64 ``[B]``, such as ``BatchSampler`` gives, on the same device. They are not
            looked at before they are used, which would wait for the device.
    """

    data: Any
    indices: Tensor
