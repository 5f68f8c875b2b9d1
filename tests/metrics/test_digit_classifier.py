from __future__ import annotations

import pytest
import torch

from gankit.data import ImageData, load
from gankit.errors import DataError
from gankit.metrics import ClassCoverage, DigitClassifier, count_stacked_modes


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load("digits")


@pytest.fixture(scope="module")
def classifier(digits) -> DigitClassifier:
    return DigitClassifier.fit(digits)


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


def test_it_knows_real_digits(classifier, unseen):
    assert classifier.accuracy >= 0.97
    assert classifier.real_confidence >= 0.9
    assert classifier.classes == tuple(range(10))
    coverage = classifier(unseen)
    assert coverage.classes_found == 10
    assert coverage.median_confidence >= 0.9
    assert coverage.passed()


def test_it_knows_digits_it_never_saw(classifier):
    test = load("digits", split="test")
    predicted = classifier.probabilities(test.normalized()).argmax(dim=1)
    assert (predicted == test.labels).double().mean() >= 0.97


def test_it_knows_real_mnist_and_is_not_sure_of_noise(mnist_folder):
    data = load(f"idx:{mnist_folder}")
    mnist_classifier = DigitClassifier.fit(data)
    assert mnist_classifier.accuracy >= 0.97
    assert mnist_classifier.real_confidence >= 0.95
    assert mnist_classifier(data.gather(torch.arange(1000))).passed()
    for kind in ("normal", "uniform", "faint"):
        coverage = mnist_classifier(noise(kind))
        assert coverage.classes_found == 0
        assert coverage.median_confidence < 0.3


@pytest.mark.parametrize("kind", ["normal", "clamped", "uniform", "faint"])
def test_noise_shows_nothing(classifier, kind):
    coverage = classifier(noise(kind))
    assert coverage.classes_found == 0
    assert coverage.median_confidence < 0.3


def test_without_outlier_exposure_it_is_a_plain_classifier_and_sure_of_more(
    classifier, digits, unseen
):
    plain = DigitClassifier.fit(digits, outlier_exposure=False)
    assert plain.accuracy >= 0.97
    assert plain(unseen).median_confidence >= 0.99
    assert "the plain classifier is right" in str(plain(unseen))
    assert "the strict classifier is right" in str(classifier(unseen))
    mixed = (unseen[:170] + unseen[170:340]) / 2
    assert plain(mixed).median_confidence > classifier(mixed).median_confidence + 0.1


@pytest.mark.parametrize("level", [-1.0, -0.5, 0.0, 1.0])
def test_a_constant_shows_nothing(classifier, level):
    coverage = classifier(torch.full((100, 1, 28, 28), level))
    assert coverage.classes_found == 0
    assert coverage.median_confidence < 0.4


def test_grey_blurs_show_nothing(classifier, digits):
    images = digits.normalized()
    mean = images.mean(dim=0, keepdim=True).expand(100, -1, -1, -1)
    blends = images[torch.randint(len(images), (300, 8), generator=torch.Generator())].mean(dim=1)
    for samples in (mean, blends):
        coverage = classifier(samples)
        assert coverage.classes_found <= 1
        assert coverage.median_confidence < 0.4
        assert not coverage.passed()


def test_a_collapsed_generator_is_found_out(classifier, digits):
    threes = digits.gather((digits.labels == 3).nonzero().squeeze(1))
    coverage = classifier(threes)
    assert coverage.classes_found <= 2
    assert coverage.counts[3] > 0.9 * len(threes)
    assert coverage.median_confidence >= 0.9
    assert not coverage.passed()


def test_stacked_digits_show_their_modes_and_noise_shows_none(classifier):
    stacked = load("toy:stacked", image_size=28, n=600, split="test")
    every = count_stacked_modes(stacked.normalized(), classifier)
    assert every.near > 0.85
    there = stacked.labels.bincount(minlength=1000)
    assert torch.minimum(torch.tensor(every.counts), there).sum() > 0.8 * 600
    zeros = stacked.normalized()[stacked.labels < 100]  # a 0 in the first channel
    counts = count_stacked_modes(zeros, classifier).counts
    assert sum(counts[:100]) > 0.9 * sum(counts)
    white = noise("uniform", 300).view(100, 3, 28, 28)
    assert count_stacked_modes(white, classifier).near < 0.05
    with pytest.raises(DataError, match=r"samples must have shape \[N, 3, H, W\]"):
        count_stacked_modes(zeros[:, :1], classifier)
    other = DigitClassifier.untrained((0, 1), (1, 28, 28))
    with pytest.raises(DataError, match="expected 0 to 9"):
        count_stacked_modes(zeros, other)


def test_the_same_seed_gives_the_same_classifier_and_leaves_torchs_state(monkeypatch):
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 30)
    data = load("digits", split="test")
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = DigitClassifier.fit(data, seed=3), DigitClassifier.fit(data, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    samples = noise("uniform", 20)
    assert torch.equal(first.probabilities(samples), second.probabilities(samples))
    other = DigitClassifier.fit(data, seed=4)
    assert not torch.equal(first.probabilities(samples), other.probabilities(samples))


def test_other_sizes_and_labels(monkeypatch):
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 200)
    data = load("digits", image_size=16, split="test")
    labelled = ImageData(data.images, data.labels * 10 + 5)
    with torch.no_grad():
        classifier = DigitClassifier.fit(labelled)
    assert classifier.classes == tuple(range(5, 100, 10))
    assert classifier.accuracy >= 0.85  # from 284 images
    assert classifier(labelled.normalized()).classes_found == 10


def coverage(counts: tuple[int, ...], total: int, **changes: float) -> ClassCoverage:
    settings = {"median_confidence": 0.9, "accuracy": 0.98, **changes}
    return ClassCoverage(counts=counts, total=total, **settings)


def test_found_means_one_percent():
    assert coverage((10, 9, 0, 500), 1000).classes_found == 2
    assert coverage((1, 0, 5), 20).classes_found == 2


def test_passed_looks_at_classes_confidence_and_the_classifier():
    nine = (100,) * 9 + (0,)
    assert coverage(nine, 1000).passed()
    assert not coverage((100,) * 8 + (0, 0), 1000).passed()
    assert coverage((100,) * 8 + (0, 0), 1000).passed(min_classes=8)
    assert not coverage(nine, 1000, median_confidence=0.79).passed()
    assert not coverage(nine, 1000, accuracy=0.96).passed()


def test_a_coverage_reads_as_one_line():
    text = str(coverage((100,) * 9 + (9,), 1000))
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
def test_bad_samples(classifier, samples, message):
    with pytest.raises(DataError, match=message):
        classifier(samples)


def test_data_a_classifier_cannot_learn_from():
    images = torch.zeros(8, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(DataError, match="plain has no labels"):
        DigitClassifier.fit(ImageData(images, name="plain"))
    with pytest.raises(DataError, match="1 class, a classifier needs at least two"):
        DigitClassifier.fit(ImageData(images, torch.zeros(8, dtype=torch.int64)))
    with pytest.raises(DataError, match=r"8 images of 2 classes, .* at least 10"):
        DigitClassifier.fit(ImageData(images, torch.arange(8) % 2))
