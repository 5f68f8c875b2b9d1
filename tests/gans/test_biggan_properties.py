"""What biggan-digits learns: digits of the class asked for, and what truncation does to them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from gankit import recipes
from gankit.data import ImageData, load
from gankit.latent import standing_statistics, truncated
from gankit.metrics.small_features import small_features
from gankit.runs.build import build_trainer
from gankit.training.pictures import generate_from, to_bytes

prc = pytest.importorskip("torch_fidelity.metric_prc")

N = 2000
THRESHOLDS = (2.0, 1.5, 1.0, 0.7)
# Share of samples that the classifier gives their label, without truncation and with the last.
ACCURACY, TRUNCATED_ACCURACY = 0.65, 0.80


@pytest.mark.slow
def test_classes_are_drawn_and_truncation_trades_recall_for_precision(tmp_path: Path) -> None:
    data = load("digits", split="all", image_size=32)
    assert isinstance(data, ImageData)
    features = small_features(data, cache=tmp_path)
    real = features(data.images.split(200)).features
    trainer = build_trainer(recipes.get("biggan-digits").config.updated(device="cpu", seed=0))
    trainer.fit()
    G = trainer.gan_step.sampled
    labels = torch.arange(N) % 10
    accuracy, precision, recall = [], [], []
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
        print(f"truncation {threshold}: {accuracy[-1]:.3f} {precision[-1]:.3f} {recall[-1]:.3f}")
    assert accuracy[0] >= ACCURACY
    assert accuracy[-1] >= TRUNCATED_ACCURACY
    for before, after in pairwise(range(len(precision))):
        assert precision[after] > precision[before] + 0.01
        assert recall[after] < recall[before] - 0.01
