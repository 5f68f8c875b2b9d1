"""Density and coverage: precision and recall that an outlier among the real images changes less.

Neither torch-fidelity nor torchmetrics has them. Around each real image lies a ball up to its k-th
nearest real neighbor. Density is how many of these balls a generated image lies in, on average,
over k; coverage is the share of the balls that hold a generated image (Naeem et al., 2020, arXiv
2002.09797, equations 3 and 4).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gankit.metrics.metric import Inputs, Metric, Value

_NEIGHBORS = 5
# Rows of the matrix of distances that are held at a time.
_BLOCK = 2048


def density_and_coverage(
    generated: Tensor, real: Tensor, neighbors: int = _NEIGHBORS
) -> tuple[float, float]:
    """Density (from 0, above 1 where real images are dense) and coverage, in [0, 1].

    Args:
        generated: features ``[M, D]``, M >= 1.
        real: features ``[N, D]``, N > ``neighbors``.
        neighbors: k, without the image itself.
    """
    inside, covered = 0, 0
    for block in real.split(_BLOCK):
        # The nearest of an image is itself.
        radius = torch.cdist(block, real).kthvalue(neighbors + 1, dim=1, keepdim=True).values
        within = torch.cdist(block, generated) < radius
        inside += int(within.sum())
        covered += int(within.any(dim=1).sum())
    return inside / (neighbors * len(generated)), covered / len(real)


def _settings(inputs: Inputs) -> dict[str, Any]:
    return {"coverage_neighbors": _NEIGHBORS}


def _compute(inputs: Inputs) -> dict[str, float]:
    inputs.at_least(_NEIGHBORS + 1, "coverage")
    density, coverage = density_and_coverage(inputs.generated.features, inputs.real.features)
    return {"density": density, "coverage": coverage}


METRIC = Metric(
    "coverage",
    "density and coverage (Naeem et al., 2020, arXiv 2002.09797)",
    {
        "density": Value("density", higher_is_better=True),
        "coverage": Value("coverage", higher_is_better=True),
    },
    _compute,
    frozenset({"features"}),
    _settings,
)
