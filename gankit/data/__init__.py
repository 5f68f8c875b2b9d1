"""Image sets that live on the device, and the order in which training sees them."""

from __future__ import annotations

from gankit.data.batch import Batch
from gankit.data.fields import FieldData
from gankit.data.images import ImageData
from gankit.data.sampler import BatchSampler
from gankit.data.sources import load
from gankit.data.toy import PointData, load_toy

__all__ = ["Batch", "BatchSampler", "FieldData", "ImageData", "PointData", "load", "load_toy"]
