"""Kernel distance between the features of generated and of real images."""

from __future__ import annotations

from typing import Any

from gankit.metrics.metric import Inputs, Metric, Value, torch_fidelity

_SUBSETS, _SUBSET_SIZE = 100, 1000


def _settings(inputs: Inputs) -> dict[str, Any]:
    """The field's subsets of 1,000, or of all images where a side has fewer."""
    size = min(_SUBSET_SIZE, len(inputs.generated), len(inputs.real))
    return {"kid_subsets": _SUBSETS, "kid_subset_size": size}


def _compute(inputs: Inputs) -> dict[str, float]:
    torch_fidelity()
    from torch_fidelity.metric_kid import kid_features_to_metric

    inputs.at_least(2, "kid")
    mean, spread = kid_features_to_metric(
        inputs.generated.features,
        inputs.real.features,
        rng_seed=inputs.seed,
        verbose=False,
        **_settings(inputs),
    ).values()
    return {"kid": mean, "kid_std": spread}


METRIC = Metric(
    "kid",
    "kernel distance, cubic (Bińkowski et al., 2018, arXiv 1801.01401), by torch-fidelity",
    {"kid": Value("kernel distance"), "kid_std": Value("kernel distance, spread over subsets")},
    _compute,
    frozenset({"features"}),
    _settings,
)
