"""Improved precision and recall: what share of each set lies within the other's manifold."""

from __future__ import annotations

from typing import Any

from gankit.metrics.metric import Inputs, Metric, Value, torch_fidelity

_NEIGHBORHOOD = 3
# Matrices of distances with more entries than this are worked through in blocks.
_MOST_DISTANCES = 10**8


def _settings(inputs: Inputs) -> dict[str, Any]:
    return {"prc_neighborhood": _NEIGHBORHOOD}


def _compute(inputs: Inputs) -> dict[str, float]:
    torch_fidelity()
    from torch_fidelity.metric_prc import prc_features_to_metric

    inputs.at_least(_NEIGHBORHOOD + 1, "prc")
    precision, recall, _ = prc_features_to_metric(
        inputs.generated.features,
        inputs.real.features,
        verbose=False,
        save_cpu_ram=max(len(inputs.generated), len(inputs.real)) ** 2 > _MOST_DISTANCES,
        **_settings(inputs),
    ).values()
    return {"precision": precision, "recall": recall}


METRIC = Metric(
    "prc",
    "precision and recall (Kynkäänniemi et al., 2019, arXiv 1904.06991), by torch-fidelity",
    {
        "precision": Value("precision", higher_is_better=True),
        "recall": Value("recall", higher_is_better=True),
    },
    _compute,
    frozenset({"features"}),
    _settings,
)
