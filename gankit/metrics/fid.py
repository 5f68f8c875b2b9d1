"""Fréchet distance between the features of generated and of real images."""

from __future__ import annotations

from gankit.metrics.metric import Inputs, Metric, Value, torch_fidelity


def _compute(inputs: Inputs) -> dict[str, float]:
    torch_fidelity()
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    inputs.at_least(2, "fid")
    statistics = (
        fid_features_to_statistics(side.features) for side in (inputs.generated, inputs.real)
    )
    (distance,) = fid_statistics_to_metric(*statistics, verbose=False).values()
    return {"fid": distance}


METRIC = Metric(
    "fid",
    "Fréchet distance of two Gaussians (Heusel et al., 2017, arXiv 1706.08500), by torch-fidelity",
    {"fid": Value("Fréchet distance")},
    _compute,
    frozenset({"features"}),
)
