"""The classifier in the checkpoint of a run, or of one's own by import path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from gankit.errors import CheckpointError, ConfigError
from gankit.runs.component import create, import_object, is_import_path
from gankit.runs.parts import check_fits
from gankit.runs.trust import check_own
from gankit.saved import CHECKPOINT, run_config
from gankit.training.checkpoint import load_checkpoint
from gankit.training.weights import load_weights, weights_under


class Classifier(nn.Module):
    """Images in [0, 1] to the logits ``[N, K]`` of a classifier of another range of values.

    Args:
        network: from images to logits; where it has a method ``classify``, that gives them.
        value_range: the range of values that ``network`` was trained on.
    """

    def __init__(self, network: nn.Module, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.network = network
        self.value_range = value_range

    def forward(self, images: Tensor) -> Any:
        """Images ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``."""
        low, high = self.value_range
        moved = images * (high - low) + low
        classify = getattr(self.network, "classify", self.network)
        return classify(moved)


class LoadedClassifier(NamedTuple):
    """A classifier of images in [0, 1], in eval mode; ``(C, H, W)`` of its images where known."""

    model: Classifier
    image_shape: tuple[int, int, int] | None


def load_classifier(
    name: str | os.PathLike[str],
    *,
    trust: bool = False,
    value_range: tuple[float, float] | None = None,
) -> LoadedClassifier:
    """The classifier that ``name`` says.

    Args:
        name: folder or checkpoint of a run whose discriminator classifies, as that of ``sgan``; or
            the import path of a ``torch.nn.Module``, of its class, or of a function that returns
            one.
        trust: also build a discriminator that is not of ``gankit.models``, which runs the code that
            the checkpoint names.
        value_range: the values of the images that it was trained on; by default (-1, 1) for a run,
            as all have, and (0, 1) for others.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or its run has no classifier.
        ConfigError: what the import path names cannot be imported or built or is no module, or the
            discriminator is not gankit's and ``trust`` is False.
    """
    path = Path(name)
    if not path.exists() and is_import_path(str(name)):
        found = import_object("the classifier", str(name), (nn.Module,))
        made = (
            found
            if isinstance(found, nn.Module)
            else create("the classifier", str(name), nn.Module)
        )
        return LoadedClassifier(Classifier(made, value_range or (0.0, 1.0)).eval(), None)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise CheckpointError(
            f"{name} is neither a run, a checkpoint nor an import path such as my_models.classifier"
        )
    state = load_checkpoint(path)
    run = run_config(state, path)
    spec = (state["config"].get("networks") or {}).get("D")
    weights = weights_under(state["gan_step"], "D")
    if spec is None or not weights:
        raise CheckpointError(f"{path} is of a run of {run.recipe!r}, which has no discriminator")
    if not trust:
        check_own(str(path), "discriminator", spec)
        check_fits("discriminator", spec, weights)
    network: Any = create("discriminator", spec, nn.Module)
    if not callable(getattr(network, "classify", None)):
        raise ConfigError(
            f"{path} is of a run of {run.recipe!r}, whose discriminator does not classify; "
            "expected one with a method classify, as that of sgan"
        )
    try:
        load_weights(network, weights)
    except (KeyError, AttributeError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path} does not fit its discriminator: {error}") from error
    shape = getattr(network, "image_shape", None)
    model = Classifier(network, value_range or (-1.0, 1.0)).eval()
    return LoadedClassifier(model, None if shape is None else tuple(shape))
