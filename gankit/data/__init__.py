"""Data sets, on the device or streamed to it, and the order in which training sees them."""

from __future__ import annotations

from gankit.data.audio import load_audio
from gankit.data.batch import Batch
from gankit.data.fields import FieldData
from gankit.data.folder import load_folder
from gankit.data.high_resolution import HighResolutionData, load_high_resolution
from gankit.data.image_set import ImageSet
from gankit.data.images import ImageData
from gankit.data.pairs import PairData, load_pairs
from gankit.data.sampler import BatchSampler
from gankit.data.shards import ShardData, load_shards
from gankit.data.sources import load
from gankit.data.speech import SpeechData
from gankit.data.streamed import StreamedData
from gankit.data.table import load_csv
from gankit.data.toy import PointData, load_toy
from gankit.data.toy_domains import ArrowData, ShapeData, load_arrows, load_shapes
from gankit.data.toy_images import DiscData, EdgeData, load_discs, load_edges
from gankit.data.toy_speech import load_speech
from gankit.data.toy_twins import load_twins, twin_kinds
from gankit.data.unpaired import UnpairedData, UnpairedSampler, load_unpaired

__all__ = [
    "ArrowData",
    "Batch",
    "BatchSampler",
    "DiscData",
    "EdgeData",
    "FieldData",
    "HighResolutionData",
    "ImageData",
    "ImageSet",
    "PairData",
    "PointData",
    "ShapeData",
    "ShardData",
    "StreamedData",
    "SpeechData",
    "UnpairedData",
    "UnpairedSampler",
    "load",
    "load_arrows",
    "load_audio",
    "load_csv",
    "load_discs",
    "load_edges",
    "load_folder",
    "load_high_resolution",
    "load_pairs",
    "load_shapes",
    "load_shards",
    "load_speech",
    "load_toy",
    "load_twins",
    "load_unpaired",
    "twin_kinds",
]
