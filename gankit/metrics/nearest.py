"""Do generated images copy training images? Their distances to the nearest of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gankit.data.images import ImageData, normalize_bytes
from gankit.errors import ConfigError
from gankit.metrics.metric import Inputs, Metric, Value
from gankit.metrics.near_copies import near_copies

_BLOCK = 2048
_RATIO = 0.5


def authenticity(generated: Tensor, real: Tensor) -> float:
    """Share of generated images that are no closer to a real one than its own nearest neighbor is.

    One half or so is what new images of the same distribution have, 0 copies (Alaa et al., 2022,
    arXiv 2102.08921).

    Args:
        generated: features ``[M, D]``.
        real: features ``[N, D]``, N >= 2.
    """
    spacing = torch.cat(
        [torch.cdist(block, real).kthvalue(2, dim=1).values for block in real.split(_BLOCK)]
    )
    own = 0
    for block in generated.split(_BLOCK):
        distance, index = torch.cdist(block, real).min(dim=1)
        own += int((distance > spacing[index]).sum())
    return own / len(generated)


def _settings(inputs: Inputs) -> dict[str, Any]:
    return {"near_copies_ratio": _RATIO}


def _compute(inputs: Inputs) -> dict[str, float]:
    inputs.at_least(2, "nearest")
    made, data = inputs.generated.data, inputs.real.data
    if made.shape != data.shape:
        raise ConfigError(
            f"nearest compares pixels, and generated images are {list(made.shape)}, real ones "
            f"{list(data.shape)}; give --image-size"
        )
    real = ImageData(inputs.real.pixels, name=data.name)
    share = near_copies(normalize_bytes(inputs.generated.pixels), real, ratio=_RATIO)
    return {
        "authenticity": authenticity(inputs.generated.features, inputs.real.features),
        "near_copies": share,
    }


METRIC = Metric(
    "nearest",
    "authenticity in features (Alaa et al., 2022, arXiv 2102.08921), near copies in pixels",
    {
        "authenticity": Value("authenticity", higher_is_better=True),
        "near_copies": Value("near copies"),
    },
    _compute,
    frozenset({"features"}),
    _settings,
)
