"""Metrics of images: known cases, and the numbers of torch-fidelity itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit import metrics
from gankit.data import ImageData, load
from gankit.errors import ConfigError, DataError, MissingExtra
from gankit.metrics import FeatureExtractor, Images, Inputs, LatentGenerator, small_features
from gankit.metrics.density_coverage import density_and_coverage
from gankit.metrics.evaluation import Evaluation
from gankit.metrics.fidelity_features import fidelity_features

pytest.importorskip("torch_fidelity")
OF_FEATURES = ("fid", "kid", "is", "prc", "coverage", "nearest")


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load("digits")


@pytest.fixture(scope="module")
def extractor(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractor:
    """A classifier that has seen little: what metrics make of features does not depend on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gankit.metrics.digit_classifier._STEPS", 60)
        return small_features(digits, cache=tmp_path_factory.mktemp("cache"))


def values(
    names: tuple[str, ...],
    made: ImageData,
    real: ImageData,
    extractor: FeatureExtractor | None = None,
    **more: Any,
) -> dict[str, float]:
    sides = (Images(data, extractor, batch_size=100) for data in (made, real))
    words = {"generated": "made", "real": real.name, "preprocessing": "none"}
    return dict(metrics.compute(names, Inputs(*sides, **more), **words).values)


def part(data: ImageData, indices: Tensor) -> ImageData:
    assert data.labels is not None
    return ImageData(data.images[indices], data.labels[indices])


def noise(n: int) -> ImageData:
    generator = torch.Generator().manual_seed(0)
    return ImageData(
        torch.randint(256, (n, 1, 28, 28), generator=generator, dtype=torch.uint8),
        torch.arange(n) % 10,
    )


def test_real_images_against_themselves(digits: ImageData, extractor: FeatureExtractor) -> None:
    before = torch.get_rng_state()
    some = part(digits, torch.arange(400))
    found = values((*OF_FEATURES, "label_accuracy"), some, some, extractor)
    assert abs(found["fid"]) < 1e-6
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert (found["authenticity"], found["near_copies"]) == (0, 1)
    assert found["label_accuracy"] > 0.9
    assert torch.equal(torch.get_rng_state(), before)


def test_two_halves_agree_and_noise_does_not(
    digits: ImageData, extractor: FeatureExtractor
) -> None:
    distances = []
    for seed in range(4):
        order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
        first, second = (part(digits, half) for half in order.split(len(digits) // 2))
        found = values(("fid", "prc", "coverage"), first, second, extractor)
        distances.append(found["fid"])
        assert min(found["precision"], found["recall"], found["coverage"]) > 0.7
    # The sampling error of halves: no split is far from the others, and all from noise.
    assert max(distances) < 5 * min(distances)
    bad = values(OF_FEATURES, noise(300), digits, extractor)
    assert bad["fid"] > 20 * max(distances)
    assert bad["kid"] > 10 * bad["kid_std"] > 0
    assert max(bad["precision"], bad["recall"], bad["coverage"], bad["near_copies"]) < 0.02
    assert bad["is"] < 3


def test_the_numbers_are_those_of_torch_fidelity(
    digits: ImageData, extractor: FeatureExtractor, tmp_path: Path
) -> None:
    """Its own reading of the folders, its own loop over them, and the same features."""
    import torch_fidelity as fidelity
    from PIL import Image

    made = part(digits, torch.arange(400))
    dimmed = ImageData((digits.images[400:750].float() * 0.8).to(torch.uint8))
    folders = {"made": made, "real": dimmed}
    for name, data in folders.items():
        (tmp_path / name).mkdir()
        for number, image in enumerate(data.images):
            Image.fromarray(image[0].numpy()).save(tmp_path / name / f"{number:05}.png")

    class Same(fidelity.FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, layers: list[str], **_: Any) -> None:
            super().__init__(name, layers)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            features, logits = extractor.run(images[:, :1])
            found = {"features": features, "logits": logits}
            return tuple(found[name] for name in self.features_list)

    fidelity.register_feature_extractor("test-same", Same)
    theirs = fidelity.calculate_metrics(
        input1=str(tmp_path / "made"), input2=str(tmp_path / "real"), feature_extractor="test-same",
        fid=True, kid=True, isc=True, prc=True, cuda=False, verbose=False, save_cpu_ram=True,
        cache=False, rng_seed=3, kid_subset_size=350,
    )  # fmt: skip
    read = [load(f"folder:{tmp_path / name}", image_size=None) for name in folders]
    ours = values(("fid", "kid", "is", "prc"), *read, extractor, seed=3)  # type: ignore[arg-type]
    names = {
        "fid": fidelity.KEY_METRIC_FID,
        "kid": fidelity.KEY_METRIC_KID_MEAN,
        "kid_std": fidelity.KEY_METRIC_KID_STD,
        "is": fidelity.KEY_METRIC_ISC_MEAN,
        "is_std": fidelity.KEY_METRIC_ISC_STD,
        "precision": fidelity.KEY_METRIC_PRECISION,
        "recall": fidelity.KEY_METRIC_RECALL,
    }
    assert ours.keys() == names.keys()
    for name, key in names.items():
        assert ours[name] == pytest.approx(theirs[key], rel=1e-6, abs=1e-6), name


def test_density_and_coverage_are_the_papers_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    made = torch.randn(25, 3, generator=generator, dtype=torch.float64) + 0.5
    k, inside, covered = 4, 0, 0
    for center in real:
        ball = (real - center).norm(dim=1).sort().values[k]
        hits = int(((made - center).norm(dim=1) < ball).sum())
        inside, covered = inside + hits, covered + (hits > 0)
    density, coverage = density_and_coverage(made, real, k)
    assert density == pytest.approx(inside / (k * len(made)))
    assert coverage == pytest.approx(covered / len(real))


class Affine(nn.Module):
    """One direction of the latent space changes the picture, the others do not."""

    def __init__(self, n_classes: int | None = None) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.linspace(-0.4, 0.4, 28 * 28).view(1, 1, 28, 28))
        if n_classes is not None:
            self.n_classes = n_classes

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        level = 0.0 if labels is None else labels.view(-1, 1, 1, 1) / 10
        return self.slope * z[:, :1, None, None].tanh() + level


@pytest.mark.parametrize("n_classes", [None, 3])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_path_length_is_the_slope_of_the_features(
    extractor: FeatureExtractor, digits: ImageData, distribution: str, n_classes: int | None
) -> None:
    G = Affine(n_classes)
    latent = LatentGenerator(G, 4, distribution, (1, 28, 28), n_classes)
    some = part(digits, torch.arange(64))
    found = values(("ppl",), some, some, extractor, generator=latent)["ppl"]
    still = LatentGenerator(Affine(n_classes), 4, distribution, (1, 28, 28), n_classes)
    nn.init.zeros_(still.network.slope)  # type: ignore[arg-type]
    assert values(("ppl",), some, some, extractor, generator=still) == {"ppl": 0}
    nn.init.zeros_(G.slope)
    with torch.no_grad():
        G.slope += torch.linspace(-0.8, 0.8, 28 * 28).view(1, 1, 28, 28)
    steeper = values(("ppl",), some, some, extractor, generator=latent)["ppl"]
    assert 0 < 1.5 * found < steeper


def test_path_length_leaves_modes_and_random_states(
    extractor: FeatureExtractor, digits: ImageData
) -> None:
    class Noisy(Affine):
        """A network in training mode that draws numbers of its own."""

        def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
            assert not self.training
            return super().forward(z, labels) + 1e-9 * torch.rand(())

    G = Noisy()
    latent = LatentGenerator(G, 4, "normal", (1, 28, 28))
    some = part(digits, torch.arange(64))
    before = torch.get_rng_state()
    first, second = (values(("ppl",), some, some, extractor, generator=latent) for _ in range(2))
    assert first == second
    assert G.training
    assert torch.equal(torch.get_rng_state(), before)


def test_infinite_values_are_printed() -> None:
    found = Evaluation({"psnr": math.inf, "ssim": 1.0}, "a", "b", 1, 1, None, None, "uint8", 0)
    assert str(found).splitlines()[:2] == ["psnr  inf", "ssim  1"]


def test_pixels_of_pairs() -> None:
    target = noise(6)
    darker = ImageData((target.images // 2 + 64).to(torch.uint8))
    same = values(("l1", "psnr", "ssim"), target, target, paired=True)
    assert same["mae"] == 0
    assert same["psnr"] == math.inf
    assert same["ssim"] == pytest.approx(1)
    found = values(("l1", "psnr", "ssim"), darker, target, paired=True)
    gap = (darker.images.double() - target.images.double()) / 255
    assert found["mae"] == pytest.approx(float(gap.abs().mean()), rel=1e-5)
    per_image = -10 * gap.square().mean(dim=(1, 2, 3)).log10()
    assert found["psnr"] == pytest.approx(float(per_image.mean()), rel=1e-5)
    assert 0 < found["ssim"] < 0.99


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("fit",), r"metrics has 'fit'; allowed are fid, kid"),
        (("l1",), "l1 needs images with a target each"),
        (("ppl",), "ppl needs a generator that makes images out of noise"),
        (("label_accuracy",), "label_accuracy needs images drawn for labels"),
    ],
)
def test_what_a_metric_needs(
    digits: ImageData, extractor: FeatureExtractor, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        values(names, ImageData(digits.images[:20]), digits, extractor)


def test_features_without_classes_serve_no_metric_of_classes(digits: ImageData) -> None:
    flat = FeatureExtractor(
        "flat", nn.Identity(), lambda x: (x.float().flatten(1)[:, :32], None), 3, "none"
    )
    some = part(digits, torch.arange(30))
    assert (
        abs(values(("fid",), some, some, flat)["fid"]) < 0.1
    )  # their variance is in the thousands
    with pytest.raises(ConfigError, match=r"is needs the logits of a classifier, .* flat have not"):
        values(("is",), some, some, flat)
    with pytest.raises(ConfigError, match="classes needs features small"):
        values(("classes",), some, some, flat)
    with pytest.raises(ConfigError, match="coverage needs at least 6 generated images, and there"):
        values(("coverage",), part(digits, torch.arange(5)), some, flat)


def test_a_result_says_how_it_came_about(digits: ImageData, extractor: FeatureExtractor) -> None:
    some = Images(part(digits, torch.arange(50)), extractor)
    words = {"generated": "the first", "real": "the first too", "preprocessing": "uint8"}
    result = metrics.compute(["fid", "kid"], Inputs(some, some, seed=7), **words)
    told = json.loads(json.dumps(result.as_dict()))
    assert told["features"] == "small"
    assert told["features_hash"] == extractor.hash
    assert (told["n_generated"], told["n_real"], told["seed"]) == (50, 50, 7)
    assert told["settings"]["kid_subset_size"] == 50
    assert {"gankit", "torch", "torch-fidelity"} <= told["versions"].keys()
    assert f"features: small {extractor.hash}" in str(result)


def test_a_fitted_classifier_is_kept_by_the_content_of_its_data(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 3)
    some = part(digits, torch.arange(100))
    first = small_features(some, cache=tmp_path)
    (place,) = tmp_path.iterdir()

    def no_fit(*_: object, **__: object) -> None:
        raise AssertionError("it is there already")

    with monkeypatch.context() as patch:
        patch.setattr("gankit.metrics.DigitClassifier.fit", no_fit)
        before = torch.get_rng_state()
        assert small_features(some, cache=tmp_path).hash == first.hash
        assert torch.equal(torch.get_rng_state(), before)
    place.write_bytes(place.read_bytes()[:100])  # a damaged one is fitted again
    assert small_features(some, cache=tmp_path).hash == first.hash
    assert small_features(part(digits, torch.arange(101)), cache=tmp_path).hash != first.hash
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(DataError, match="has no labels, and features small"):
        small_features(ImageData(digits.images), cache=tmp_path)


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("inception", "weights-inception-2015-12-05-6726825d.pth"),
        ("vgg16", "vgg16-397923af.pth"),
        ("clip", "ViT-B-32.pt"),
        ("dino", "dinov2_vitb14_pretrain.pth"),
    ],
)
def test_absent_weights_are_one_sentence(torch_home: Path, name: str, file: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fidelity_features(name)
    assert f"features {name} need" in str(caught.value)
    assert file in str(caught.value)
    assert str(torch_home) in str(caught.value)


def test_a_file_of_weights_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("ran").touch, ())

    torch.save(Evil(), tmp_path / "evil.pth")
    with pytest.raises(ConfigError, match=r"evil\.pth is no file of weights"):
        fidelity_features("inception", tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ConfigError, match="no such file"):
        fidelity_features("inception", tmp_path / "absent.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="does not hold the weights of inception-v3-compat"):
        fidelity_features("inception", tmp_path / "other.pth")


def test_without_torch_fidelity_one_sentence_names_the_extra(
    digits: ImageData, extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity", None)
    with pytest.raises(MissingExtra, match=r"torch-fidelity is not installed: .*\[evaluate\]"):
        values(("fid",), digits, digits, extractor)
