"""Features of a classifier fitted to the data set itself: nothing to download.

They serve small labelled sets such as digits, on which a network of ImageNet's photographs says
little, as the features of a LeNet serve for MNIST in the field. Numbers are compared only between
runs on one set by one such classifier, whose hash says which it was.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.data import ImageData
from gankit.data.images import normalize_bytes
from gankit.data.paths import cache_root
from gankit.errors import DataError, GankitWarning, outside_gankit
from gankit.metrics import digit_classifier
from gankit.metrics.digit_classifier import DigitClassifier
from gankit.metrics.features import FeatureExtractor

__all__ = ["small_features"]

# Classifiers fitted by other code are fitted again.
_VERSION = 1
# Classifiers of the digits and of MNIST are right on more than 97 %.
_GOOD = 0.8


def small_features(
    data: ImageData, *, cache: str | Path | None = None, seed: int = 0
) -> FeatureExtractor:
    """A ``DigitClassifier`` fitted to ``data``, as a feature extractor of 96 features.

    The classifier is kept under the hash of the images and labels, so that the next call takes no
    time and gives the same bits. Fitting takes some ten seconds of one core.

    Args:
        data: labelled images, of at least two classes.
        cache: the folder it is kept in; None: the cache of ``gankit.data`` (``$GANKIT_DATA``).
        seed: of the fit.

    A warning (GankitWarning) says so where the classifier is right on less than four fifths of the
    images held out of its training: its features say little then.

    Raises:
        DataError: what ``data`` lacks to fit a classifier.
    """
    if data.labels is None:
        raise DataError(
            f"{data.name} has no labels, and features small are those of a classifier of its "
            "classes; give --features inception, or the import path of a network"
        )
    place = Path(cache_root() if cache is None else cache) / f"classifier-{_key(data, seed)}.pt"
    classifier = _kept(place, data)
    if classifier is None:
        classifier = DigitClassifier.fit(data, seed=seed)
        _keep(place, classifier)
    if classifier.accuracy < _GOOD:
        warnings.warn(
            f"features small say little: the classifier fitted to {data.name} is right on "
            f"{classifier.accuracy:.1%} of held-out images, expected are {_GOOD:.0%} or more; "
            "--features inception needs no labels",
            GankitWarning,
            stacklevel=outside_gankit(),
        )
    return _extractor(classifier)


def _extractor(classifier: DigitClassifier) -> FeatureExtractor:
    size = digit_classifier.SIZE

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        return classifier.layers(normalize_bytes(images))

    return FeatureExtractor(
        name="small",
        network=classifier.network,
        run=run,
        channels=classifier.shape[0],
        preprocessing=f"bilinear to {size}x{size} where they are not, values in [-1, 1]",
        has_logits=True,
        classifier=classifier,
    )


def _key(data: ImageData, seed: int) -> str:
    assert data.labels is not None
    found = hashlib.sha256(f"{_VERSION} {seed} {list(data.images.shape)}\0".encode())
    found.update(data.images.cpu().contiguous().numpy().data)
    found.update(data.labels.cpu().contiguous().numpy().data)
    return found.hexdigest()[:24]


def _keep(place: Path, classifier: DigitClassifier) -> None:
    state: dict[str, Any] = {
        "weights": classifier.network.state_dict(),
        "classes": list(classifier.classes),
        "accuracy": classifier.accuracy,
        "real_confidence": classifier.real_confidence,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(place) as file:
            file.write(buffer.getvalue())
    except OSError as error:
        warnings.warn(
            f"the classifier cannot be kept in {place.parent} ({error.strerror or error}), so the "
            "next evaluation fits it again",
            GankitWarning,
            stacklevel=outside_gankit(),
        )


def _kept(place: Path, data: ImageData) -> DigitClassifier | None:
    """The classifier kept in ``place``, or None if that is absent or damaged."""
    if not place.is_file():
        return None
    try:
        state = torch.load(place, map_location="cpu", weights_only=True)
        classes = tuple(int(label) for label in state["classes"])
        classifier = DigitClassifier.untrained(classes, data.shape)
        classifier.network.load_state_dict(state["weights"])
        classifier.accuracy = float(state["accuracy"])
        classifier.real_confidence = float(state["real_confidence"])
    except Exception:  # torch raises a dozen kinds for a damaged file; it is written again
        return None
    return classifier
