"""From the name of features, as ``--features`` takes it, to the network that gives them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.data import ImageData
from gankit.data.image_set import ImageSet
from gankit.errors import ConfigError, shortened
from gankit.metrics.features import FeatureExtractor
from gankit.metrics.fidelity_features import FIDELITY_FEATURES, fidelity_features
from gankit.metrics.metric import Images
from gankit.metrics.small_features import small_features
from gankit.runs.component import folder_at_hand, import_object, is_import_path

# Labelled sets of grey images up to this size are digits and their like.
_SMALL = 32
_NAMES = ("auto", "small", *FIDELITY_FEATURES)


def check_features(name: object) -> str:
    """``name``. Raises ConfigError if it is none that ``features_for`` knows."""
    if not isinstance(name, str) or not (name in _NAMES or is_import_path(name)):
        raise ConfigError(
            f"features is {shortened(name)}; allowed are {', '.join(_NAMES)} and the import path "
            "of a network, such as mypkg.my_features"
        )
    return name


def features_for(
    name: str, real: ImageSet, *, weights: str | os.PathLike[str] | None = None
) -> FeatureExtractor:
    """The feature extractor ``name`` for a comparison with ``real``.

    ``"auto"`` is ``"small"`` for labelled grey images of at most 32 pixels a side, and else
    ``"inception"``. An import path names a class or function that is called without arguments and
    gives an ``nn.Module`` from uint8 RGB images ``[B, 3, H, W]`` to features ``[B, D]``.

    Raises:
        ConfigError: no such name, no weights, or what stands at the path is no such network.
        DataError: ``real`` has no labels to fit a classifier to.
        MissingExtra: torch-fidelity is not installed.
    """
    name = check_features(name)
    if name == "auto":
        channels, height, width = real.shape
        digits_like = channels == 1 and max(height, width) <= _SMALL and real.labels is not None
        name = "small" if digits_like else "inception"
    if weights is not None and name not in FIDELITY_FEATURES:
        raise ConfigError(f"--weights {weights} is for features of torch-fidelity, not for {name}")
    if name == "small":
        whole = real if isinstance(real, ImageData) else _whole(real)
        return small_features(whole)
    if name in FIDELITY_FEATURES:
        return fidelity_features(name, None if weights is None else Path(weights))
    return _imported(name)


def _whole(real: ImageSet) -> ImageData:
    """All images of a set that reads them batch by batch."""
    return ImageData(Images(real).pixels, real.labels, real.name, real.class_names)


def _imported(path: str) -> FeatureExtractor:
    made = import_object("features", path, (nn.Module,))
    if not isinstance(made, nn.Module):
        try:
            with folder_at_hand(path), torch.random.fork_rng(devices=[]):
                made = made()
        except Exception as error:  # the user's code may raise anything
            raise ConfigError(
                f"features {path!r} cannot be built: {error} ({type(error).__name__})"
            ) from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"features {path!r} gave a {type(made).__name__}; allowed is a Module")
    network: Any = made

    def run(images: Tensor) -> tuple[Tensor, None]:
        found = network(images)
        if not isinstance(found, Tensor):
            raise ConfigError(
                f"features {path!r} gave a {type(found).__name__} for a batch; allowed is a tensor "
                "[B, D]"
            )
        return found, None

    return FeatureExtractor(
        name=path, network=network, run=run, channels=3, preprocessing="RGB, uint8"
    )
