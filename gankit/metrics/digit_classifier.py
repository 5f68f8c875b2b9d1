"""A classifier, trained on real images, that looks at generated ones.

A plain classifier is sure of itself on noise and on grey blurs too: there it measures nothing. The
classifier is therefore trained with outlier exposure (Hendrycks et al., 2019, arXiv:1812.04606): on
images that show no class at all it is taught to be unsure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import BatchSampler, ImageData
from gankit.data.labelled import UNLABELLED
from gankit.errors import DataError
from gankit.metrics.checks import check_data, check_floats, check_range, finite

__all__ = ["DigitClassifier", "ClassCoverage"]

# The classifier looks at images of this size; others are resized to it.
SIZE = 28
# More real images do not change a result but take time.
_MOST_IMAGES = 10_000
_STEPS = 500
_BATCH = 128
# A class is found in samples when at least this share of them shows it ...
_FOUND_SHARE = 0.01
# ... each with the classifier more sure of it than of all other classes together.
_FOUND_CONFIDENCE = 0.5


@dataclass(frozen=True)
class ClassCoverage:
    """What a :class:`DigitClassifier` says about a set of samples.

    Args:
        counts: per class, how many samples show it with confidence above 0.5.
        total: number of samples.
        median_confidence: median over all samples of the greatest class probability.
        accuracy: the classifier's accuracy on held-out real images.
        outlier_exposure: whether the classifier was taught to be unsure of what shows no class.

    A class is *found* when at least 1 % of the samples (and at least one) show it with confidence
    above 0.5. In balanced data of ten classes that is a tenth of a class's share, so it asks for
    presence rather than balance; and it is above what a classifier that is wrong in at most 3 % of
    cases, spread over ten classes, reports by accident.
    """

    counts: tuple[int, ...]
    total: int
    median_confidence: float
    accuracy: float
    outlier_exposure: bool = True

    @property
    def classes_found(self) -> int:
        """Number of classes found."""
        return sum(count >= max(1.0, _FOUND_SHARE * self.total) for count in self.counts)

    def passed(
        self,
        min_classes: int = 9,
        min_confidence: float = 0.8,
        min_accuracy: float = 0.97,
    ) -> bool:
        """True when enough classes are found, confidently, by a classifier of real images."""
        return (
            self.classes_found >= min_classes
            and self.median_confidence >= min_confidence
            and self.accuracy >= min_accuracy
        )

    @property
    def _kind(self) -> str:
        return "strict classifier" if self.outlier_exposure else "plain classifier"

    def __str__(self) -> str:
        return (
            f"{self.classes_found} of {len(self.counts)} classes found in {self.total} samples "
            f"(each in at least 1 % with confidence above {_FOUND_CONFIDENCE}), median confidence "
            f"{self.median_confidence:.2f}; the {self._kind} is right on {self.accuracy:.1%} of "
            "held-out real images"
        )


class DigitClassifier:
    """A small convolutional classifier; make one with :meth:`fit`.

    Attributes:
        accuracy: share of held-out real images it classifies correctly.
        real_confidence: its median confidence on those images.
        classes: the labels it knows, in the order of ``ClassCoverage.counts``.
        outlier_exposure: as ``fit`` was told.
    """

    def __init__(
        self, network: nn.Sequential, classes: tuple[int, ...], shape: tuple[int, int, int]
    ):
        self.network = network.eval()
        self.classes = classes
        self.shape = shape
        self.accuracy = 0.0
        self.real_confidence = 0.0
        self.outlier_exposure = True

    @classmethod
    def untrained(cls, classes: tuple[int, ...], shape: tuple[int, int, int]) -> DigitClassifier:
        """One whose network waits for its weights. Global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            return cls(_network(shape[0], len(classes)), classes, shape)

    @classmethod
    def fit(
        cls, data: ImageData, *, seed: int = 0, outlier_exposure: bool = True
    ) -> DigitClassifier:
        """Trains on four fifths of ``data`` (at most 10,000 images), tests on the rest.

        Takes one CPU thread some ten seconds; the same seed gives the same classifier, and
        torch's own random state and number of threads are left as they were.

        Args:
            data: labelled images, at least two classes. Those with the label -1 count as unlabelled
                and are left out.
            seed: of the split, the initial weights and the batches.
            outlier_exposure: teach it to be unsure of images that show no class. Without, it is
                the plain classifier of other papers, whose confidence says little: compare such
                numbers with theirs, and trust its classes found more than its confidence.

        Raises:
            DataError: no labels, fewer than two classes, or too few labelled images.
        """
        data = check_data(data)
        if data.labels is None:
            raise DataError(f"{data.name} has no labels, a classifier needs them")
        every = data.labels.cpu()
        known = (every != UNLABELLED).nonzero().flatten()
        classes, labels = every[known].unique(return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                f"{data.name} has {len(classes)} class, a classifier needs at least two"
            )
        if len(known) < 5 * len(classes):
            which = "images" if len(known) == len(data) else "labelled images"
            raise DataError(
                f"{data.name} has {len(known)} {which} of {len(classes)} classes, "
                f"a classifier needs at least {5 * len(classes)}"
            )
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(known), generator=generator)[:_MOST_IMAGES]
        images = _at_size(data.gather(known[chosen]).cpu())
        labels = labels[chosen]
        held_out = max(1, len(chosen) // 5)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
            _one_thread(),
        ):
            torch.default_generator.manual_seed(seed)
            network = _network(images.shape[1], len(classes))
            _train(network, images[held_out:], labels[held_out:], generator, outlier_exposure)
        classifier = cls(network, tuple(classes.tolist()), data.shape)
        classifier.outlier_exposure = outlier_exposure
        confidence, predicted = classifier._probabilities(images[:held_out]).max(dim=1)
        classifier.accuracy = float((predicted == labels[:held_out]).double().mean())
        classifier.real_confidence = float(confidence.median())
        return classifier

    def probabilities(self, samples: Tensor) -> Tensor:
        """Class probabilities ``[N, classes]`` of samples ``[N, C, H, W]`` in [-1, 1].

        A warning (GankitWarning) is given for values above 1.5 or none below 0.

        Raises:
            DataError: no samples, another shape or type, NaN, or values far outside [-1, 1].
        """
        samples = check_floats("samples", samples)
        expected = ", ".join(map(str, self.shape))
        if samples.dim() != 4 or tuple(samples.shape[1:]) != self.shape:
            raise DataError(f"samples must have shape [N, {expected}], got {list(samples.shape)}")
        if len(samples) == 0:
            raise DataError("there are no samples to classify, at least one is needed")
        if not finite(samples):
            raise DataError("samples hold NaN or infinite values, none may be")
        check_range("samples", samples)
        return self._probabilities(_at_size(samples.float().cpu()))

    def __call__(self, samples: Tensor) -> ClassCoverage:
        """The classes of samples, floating point ``[N, C, H, W]`` in [-1, 1]; errors as above."""
        return self.coverage(self.probabilities(samples))

    def coverage(self, probabilities: Tensor) -> ClassCoverage:
        """The classes that samples show, of their ``probabilities`` ``[N, classes]``."""
        confidence, predicted = probabilities.max(dim=1)
        sure = predicted[confidence > _FOUND_CONFIDENCE]
        counts = torch.bincount(sure, minlength=len(self.classes))
        return ClassCoverage(
            counts=tuple(counts.tolist()),
            total=len(probabilities),
            median_confidence=float(confidence.median()),
            accuracy=self.accuracy,
            outlier_exposure=self.outlier_exposure,
        )

    @torch.no_grad()
    def layers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The last features ``[N, 96]`` and the logits ``[N, classes]`` of images in [-1, 1].

        Images are float32 ``[N, C, H, W]`` of any size, on the network's device.
        """
        features = self.network[:-1](_at_size(images))
        return features, self.network[-1](features)

    def _probabilities(self, images: Tensor) -> Tensor:
        return torch.cat([self.layers(part)[1].softmax(dim=1) for part in images.split(512)])


@contextmanager
def _one_thread() -> Iterator[None]:
    # Batches are too small to share, and the classifier must not depend on the number of cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _at_size(images: Tensor) -> Tensor:
    if images.shape[2:] == (SIZE, SIZE):
        return images
    return F.interpolate(
        images,
        size=(SIZE, SIZE),
        mode="bilinear",
        align_corners=False,
        antialias=min(images.shape[2:]) > SIZE,
    )


def _network(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 16, kernel_size=5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32 * 7 * 7, 96),
        nn.ReLU(),
        nn.Linear(96, classes),
    )


def _train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    outlier_exposure: bool,
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=_STEPS)
    batches = BatchSampler(len(images), min(_BATCH, len(images)), generator=generator)
    for _ in range(_STEPS):
        index = next(batches)
        real, target = images[index], labels[index]
        if outlier_exposure:
            count = max(1, len(real) // 2)
            strange = _outliers(real[:count], target[:count], generator)
            output = network(torch.cat([_warp(real, generator), strange]))
            # Cross entropy to the label, and to the uniform distribution on outliers.
            loss = F.cross_entropy(output[: len(real)], target)
            loss = loss - 0.5 * F.log_softmax(output[len(real) :], dim=1).mean()
        else:
            loss = F.cross_entropy(network(_warp(real, generator)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def _warp(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turns by up to 12 degrees, scales by a tenth, shears and shifts a little."""
    count = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, scale = uniform(math.radians(12)), 1 + uniform(0.1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [
        torch.stack([cos, uniform(0.2) - sin, uniform(0.12)], dim=1),
        torch.stack([sin, cos, uniform(0.12)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    # grid_sample pads with 0; shifted by one, that is black.
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


def _outliers(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """As many images that show no class: what untrained and collapsed generators tend to make."""
    count = len(images)

    def rand(low: float, high: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low

    white = torch.randn(images.shape, generator=generator)
    noise = (2 * rand(0, 1) * white + rand(-1, 1)).clamp(-1, 1)
    constant = rand(-1, 1).expand_as(images)
    pixels = torch.randperm(images[0].numel(), generator=generator)
    shuffled = images.flatten(1)[:, pixels].view_as(images)
    averaged = images[torch.randint(count, (count, 4), generator=generator)].mean(dim=1)
    weight = rand(0.35, 0.65)
    differs = (labels != labels.flip(0)).view(-1, 1, 1, 1)
    mixed = torch.where(differs, weight * images + (1 - weight) * images.flip(0), averaged)
    kinds = torch.stack([noise, constant, shuffled, averaged, mixed, -images])
    kind = torch.randint(len(kinds), (count,), generator=generator)
    return kinds[kind, torch.arange(count)]
