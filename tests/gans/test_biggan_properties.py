"""What biggan-digits learns: digits of the class asked for, and what truncation does to them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from gankit import recipes
from gankit.data import ImageData, load
from gankit.latent import standing_statistics, truncated
from gankit.metrics.density_coverage import density_and_coverage
from gankit.metrics.small_features import small_features
from gankit.runs.build import build_trainer
from gankit.training.pictures import generate_from, to_bytes

prc = pytest.importorskip("torch_fidelity.metric_prc")

N = 2000
THRESHOLDS = (2.0, 1.5, 1.0, 0.7)


@pytest.mark.slow
def test_classes_are_drawn_and_truncation_trades_variety_for_precision(tmp_path: Path) -> None:
    data = load("digits", split="all", image_size=32)
    assert isinstance(data, ImageData)
    features = small_features(data, cache=tmp_path)
    real = features(data.images.split(200)).features
    trainer = build_trainer(recipes.get("biggan-digits").config.updated(device="cpu", seed=0))
    trainer.fit()
    G = trainer.gan_step.sampled
    labels = torch.arange(N) % 10
    accuracy, precision, recall, coverage = [], [], [], []
    for threshold in (None, *THRESHOLDS):
        drawn = standing_statistics(G, N, truncation=threshold)
        if threshold is None:
            z = torch.randn(N, G.z_dim, generator=torch.Generator().manual_seed(1))  # type: ignore[call-overload]
        else:
            z = truncated(N, G.z_dim, threshold, seed=1).float()  # type: ignore[arg-type]
        images = to_bytes(generate_from(drawn, z, labels))
        made = features(images.split(200))
        assert made.logits is not None
        accuracy.append(float((made.logits.argmax(1) == labels).double().mean()))
        found = prc.prc_features_to_metric(
            made.features, real, verbose=False, save_cpu_ram=False, prc_neighborhood=3
        )
        precision.append(found["precision"])
        recall.append(found["recall"])
        coverage.append(density_and_coverage(made.features, real)[1])
        last = (accuracy[-1], precision[-1], recall[-1], coverage[-1])
        print(f"truncation {threshold}:", *(f"{value:.4f}" for value in last))
    assert min(accuracy) >= 0.9
    for before, after in pairwise(range(len(precision))):
        assert precision[after] > precision[before] + 0.005
        assert recall[after] <= recall[before]
        assert coverage[after] < coverage[before] - 0.005
