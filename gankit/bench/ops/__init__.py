"""The races of the operations: each module has ``races(settings)``, one per shape and direction."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from gankit.bench.races import Race, Settings

OPS = (
    "batch_norm_act",
    "bce_label_smoothing",
    "conv_transpose2d",
    "conv_transpose2d_bn_act",
    "gradient_penalty",
    "leaky_relu_dropout",
    "linear",
)


def races(settings: Settings) -> Iterator[Race]:
    """Those of all operations."""
    for name in OPS:
        yield from importlib.import_module(f"gankit.bench.ops.{name}").races(settings)
