"""The table of DCGAN beside the fully connected GAN; the slow tests assert what it shows."""

from __future__ import annotations

import pytest
import torch

from examples import compare_networks
from gankit.data import ImageData


def test_a_row_for_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class ClassCoverage:
        def __init__(self, strict: bool) -> None:
            self.classes_found, self.median_confidence = (4, 0.25) if strict else (9, 0.75)

    class FakeClassifier:
        def __init__(self, strict: bool) -> None:
            self.strict = strict

        @classmethod
        def fit(cls, images: ImageData, *, seed: int, outlier_exposure: bool) -> FakeClassifier:
            return cls(outlier_exposure)

        def __call__(self, samples: torch.Tensor) -> ClassCoverage:
            assert samples.shape == (4, 1, 28, 28)
            return ClassCoverage(self.strict)

    monkeypatch.setattr(compare_networks, "DigitClassifier", FakeClassifier)
    monkeypatch.setattr(compare_networks, "SAMPLES", 4)
    assert compare_networks.main(["--seeds", "0", "--steps", "2"]) == 0
    table = capsys.readouterr().out
    for name in ("gan", "dcgan"):
        assert f"| `{name}` | 9 | 0.75 | 4 | 0.25 |" in table
