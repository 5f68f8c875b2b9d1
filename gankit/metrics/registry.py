"""All metrics of images, by the names that ``gankit evaluate --metrics`` takes."""

from __future__ import annotations

from collections.abc import Iterable

from gankit.errors import ConfigError, shortened
from gankit.metrics import (
    classes,
    density_coverage,
    fid,
    inception_score,
    kid,
    label_accuracy,
    lpips,
    nearest,
    path_length,
    pixels,
    precision_recall,
)
from gankit.metrics.metric import Metric, Value

__all__ = ["METRICS", "metrics_named", "values_of"]

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        fid.METRIC,
        kid.METRIC,
        inception_score.METRIC,
        precision_recall.METRIC,
        density_coverage.METRIC,
        path_length.METRIC,
        classes.METRIC,
        nearest.METRIC,
        label_accuracy.METRIC,
        pixels.L1,
        pixels.PSNR,
        pixels.SSIM,
        lpips.METRIC,
    )
}


def metrics_named(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of those names, each once. Raises ConfigError for a name that there is not."""
    found = {}
    for name in names:
        if not isinstance(name, str) or name not in METRICS:
            raise ConfigError(f"metrics has {shortened(name)}; allowed are {', '.join(METRICS)}")
        found[name] = METRICS[name]
    return tuple(found.values())


def values_of(names: Iterable[str]) -> dict[str, Value]:
    """The numbers that the metrics of those names give, by the names of their columns."""
    return {name: value for each in metrics_named(names) for name, value in each.values.items()}
