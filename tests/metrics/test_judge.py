from __future__ import annotations

import pytest
import torch

from gankit.data import ImageData, load
from gankit.errors import DataError
from gankit.metrics import Judge, Verdict


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load("digits")


@pytest.fixture(scope="module")
def judge(digits) -> Judge:
    return Judge.fit(digits)


@pytest.fixture(scope="module")
def unseen() -> torch.Tensor:
    return load("digits", split="test").normalized()


def noise(kind: str, n: int = 300) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    white = torch.randn(n, 1, 28, 28, generator=generator)
    return {
        "normal": white,
        "clamped": white.clamp(-1, 1),
        "uniform": torch.rand(n, 1, 28, 28, generator=generator) * 2 - 1,
        "faint": (0.3 * white).tanh(),
    }[kind]


def test_it_knows_real_digits(judge, unseen):
    assert judge.accuracy >= 0.97
    assert judge.real_confidence >= 0.9
    assert judge.classes == tuple(range(10))
    verdict = judge(unseen)
    assert verdict.classes_found == 10
    assert verdict.median_confidence >= 0.9
    assert verdict.passed()


def test_it_knows_digits_it_never_saw(judge):
    test = load("digits", split="test")
    predicted = judge.probabilities(test.normalized()).argmax(dim=1)
    assert (predicted == test.labels).double().mean() >= 0.97


def test_it_knows_real_mnist_and_is_not_sure_of_noise(mnist_folder):
    data = load(f"idx:{mnist_folder}")
    mnist_judge = Judge.fit(data)
    assert mnist_judge.accuracy >= 0.97
    assert mnist_judge.real_confidence >= 0.95
    assert mnist_judge(data.gather(torch.arange(1000))).passed()
    for kind in ("normal", "uniform", "faint"):
        verdict = mnist_judge(noise(kind))
        assert verdict.classes_found == 0
        assert verdict.median_confidence < 0.3


@pytest.mark.parametrize("kind", ["normal", "clamped", "uniform", "faint"])
def test_noise_shows_nothing(judge, kind):
    verdict = judge(noise(kind))
    assert verdict.classes_found == 0
    assert verdict.median_confidence < 0.3


def test_without_outlier_exposure_it_is_a_plain_classifier_and_sure_of_more(judge, digits, unseen):
    plain = Judge.fit(digits, outlier_exposure=False)
    assert plain.accuracy >= 0.97
    assert plain(unseen).median_confidence >= 0.99
    assert "the plain classifier is right" in str(plain(unseen))
    assert "the judge is right" in str(judge(unseen))
    mixed = (unseen[:170] + unseen[170:340]) / 2
    assert plain(mixed).median_confidence > judge(mixed).median_confidence + 0.1


@pytest.mark.parametrize("level", [-1.0, -0.5, 0.0, 1.0])
def test_a_constant_shows_nothing(judge, level):
    verdict = judge(torch.full((100, 1, 28, 28), level))
    assert verdict.classes_found == 0
    assert verdict.median_confidence < 0.4


def test_grey_blurs_show_nothing(judge, digits):
    images = digits.normalized()
    mean = images.mean(dim=0, keepdim=True).expand(100, -1, -1, -1)
    blends = images[torch.randint(len(images), (300, 8), generator=torch.Generator())].mean(dim=1)
    for samples in (mean, blends):
        verdict = judge(samples)
        assert verdict.classes_found <= 1
        assert verdict.median_confidence < 0.4
        assert not verdict.passed()


def test_a_collapsed_generator_is_found_out(judge, digits):
    threes = digits.gather((digits.labels == 3).nonzero().squeeze(1))
    verdict = judge(threes)
    assert verdict.classes_found <= 2
    assert verdict.counts[3] > 0.9 * len(threes)
    assert verdict.median_confidence >= 0.9
    assert not verdict.passed()


def test_the_same_seed_gives_the_same_judge_and_leaves_torchs_state(monkeypatch):
    monkeypatch.setattr("gankit.metrics.judge._STEPS", 30)
    data = load("digits", split="test")
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = Judge.fit(data, seed=3), Judge.fit(data, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    samples = noise("uniform", 20)
    assert torch.equal(first.probabilities(samples), second.probabilities(samples))
    other = Judge.fit(data, seed=4)
    assert not torch.equal(first.probabilities(samples), other.probabilities(samples))


def test_other_sizes_and_labels(monkeypatch):
    monkeypatch.setattr("gankit.metrics.judge._STEPS", 200)
    data = load("digits", image_size=16, split="test")
    labelled = ImageData(data.images, data.labels * 10 + 5)
    with torch.no_grad():
        judge = Judge.fit(labelled)
    assert judge.classes == tuple(range(5, 100, 10))
    assert judge.accuracy >= 0.85  # from 284 images
    assert judge(labelled.normalized()).classes_found == 10


def verdict(counts: tuple[int, ...], total: int, **changes: float) -> Verdict:
    settings = {"median_confidence": 0.9, "accuracy": 0.98, **changes}
    return Verdict(counts=counts, total=total, **settings)


def test_found_means_one_percent():
    assert verdict((10, 9, 0, 500), 1000).classes_found == 2
    assert verdict((1, 0, 5), 20).classes_found == 2


def test_passed_looks_at_classes_confidence_and_the_judge():
    nine = (100,) * 9 + (0,)
    assert verdict(nine, 1000).passed()
    assert not verdict((100,) * 8 + (0, 0), 1000).passed()
    assert verdict((100,) * 8 + (0, 0), 1000).passed(min_classes=8)
    assert not verdict(nine, 1000, median_confidence=0.79).passed()
    assert not verdict(nine, 1000, accuracy=0.96).passed()


def test_a_verdict_reads_as_one_line():
    text = str(verdict((100,) * 9 + (9,), 1000))
    assert text.startswith("9 of 10 classes found in 1000 samples (each in at least 1 %")
    assert "median confidence 0.90" in text
    assert "98.0%" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(2, 1, 8, 8), r"shape \[N, 1, 28, 28\], got \[2, 1, 8, 8\]"),
        (torch.zeros(0, 1, 28, 28), "no samples"),
        (torch.full((1, 1, 28, 28), float("nan")), "NaN"),
    ],
)
def test_bad_samples(judge, samples, message):
    with pytest.raises(DataError, match=message):
        judge(samples)


def test_data_a_judge_cannot_learn_from():
    images = torch.zeros(8, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(DataError, match="plain has no labels"):
        Judge.fit(ImageData(images, name="plain"))
    with pytest.raises(DataError, match="1 class, a judge needs at least two"):
        Judge.fit(ImageData(images, torch.zeros(8, dtype=torch.int64)))
    with pytest.raises(DataError, match=r"8 images of 2 classes, .* at least 10"):
        Judge.fit(ImageData(images, torch.arange(8) % 2))
