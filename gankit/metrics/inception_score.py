"""Inception score: single images of clear class, all together of many classes."""

from __future__ import annotations

from typing import Any

from gankit.metrics.metric import Inputs, Metric, Value, torch_fidelity

_SPLITS = 10


def _settings(inputs: Inputs) -> dict[str, Any]:
    return {"is_splits": min(_SPLITS, len(inputs.generated))}


def _compute(inputs: Inputs) -> dict[str, float]:
    torch_fidelity()
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = inputs.generated.extracted.logits
    splits = _settings(inputs)["is_splits"]
    mean, spread = isc_features_to_metric(logits, splits, True, inputs.seed).values()
    return {"is": mean, "is_std": spread}


METRIC = Metric(
    "is",
    "inception score (Salimans et al., 2016, arXiv 1606.03498), by torch-fidelity",
    {
        "is": Value("inception score", higher_is_better=True),
        "is_std": Value("inception score, spread over splits"),
    },
    _compute,
    frozenset({"features", "logits"}),
    _settings,
)
