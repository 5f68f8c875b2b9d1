"""Features: their hash says what they do, and poor ones are said to be."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.data import ImageData
from gankit.errors import GankitWarning
from gankit.metrics import FeatureExtractor, Images, Inputs, compute, small_features

CODE = """
import torch
class Mean(torch.nn.Module):
    def forward(self, images):
        return images.float().mean((2, 3)){more}
"""


class Named(nn.Sequential):
    """A layer that says where it lies in memory."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.what = object()

    def extra_repr(self) -> str:
        return f"what={self.what!r}"


def extractor(network: nn.Module, **changed: Any) -> FeatureExtractor:
    def run(images: Tensor) -> tuple[Tensor, None]:
        return network(images.float()), None

    told: dict[str, Any] = {"name": "mine", "channels": 3, "preprocessing": "RGB, uint8"}
    return FeatureExtractor(network=network, run=run, **{**told, **changed})


def layers(stride: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return Named(nn.Conv2d(3, 2, 3, stride), nn.ReLU(), nn.Flatten())


def test_the_hash_is_of_all_that_decides_the_features() -> None:
    first = extractor(layers()).hash
    assert extractor(layers()).hash == first  # of the same, made again
    moved = layers()
    with torch.no_grad():
        moved[0].bias[0].add_(1e-6)  # type: ignore[index, union-attr, operator]
    leaky = layers()
    leaky[1] = nn.LeakyReLU(0.1)  # type: ignore[operator]
    others = [
        extractor(moved),
        extractor(leaky),
        extractor(layers(stride=2)),  # of the same weights
        extractor(layers(), name="theirs"),
        extractor(layers(), channels=1),
        extractor(layers(), preprocessing="RGB, [0, 1]"),
    ]
    assert len({first, *(other.hash for other in others)}) == 7


def test_layers_without_weights_differ_by_their_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib
    import linecache
    import sys

    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    for more in ("", " / 255", ""):
        (tmp_path / "means.py").write_text(CODE.format(more=more))
        monkeypatch.delitem(sys.modules, "means", raising=False)
        importlib.invalidate_caches()
        linecache.clearcache()
        hashes.append(extractor(importlib.import_module("means").Mean()).hash)
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize(("accuracy", "told"), [(0.5, True), (0.95, False)])
def test_a_poor_classifier_is_said_to_be_one(
    accuracy: float, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    data = ImageData(pixels, torch.arange(40) % 2, "stripes")
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small_features(data, cache=tmp_path)
    (place,) = tmp_path.iterdir()
    state = torch.load(place, weights_only=True)
    torch.save({**state, "accuracy": accuracy}, place)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = small_features(data, cache=tmp_path)
    said = [str(each.message) for each in caught if issubclass(each.category, GankitWarning)]
    sentence = (
        "features small say little: the classifier fitted to stripes is right on 50.0% of held-out "
        "images, expected are 80% or more; --features inception needs no labels"
    )
    assert said == ([sentence] if told else [])
    pytest.importorskip("torch_fidelity")
    inputs = Inputs(Images(data, found), Images(data, found))
    result = compute(["fid"], inputs, generated="a", real="b", preprocessing="uint8")
    assert result.settings["classifier_accuracy"] == accuracy
