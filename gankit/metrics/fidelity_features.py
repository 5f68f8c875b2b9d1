"""Feature extractors of torch-fidelity by name, with weights that are at hand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gankit.errors import ConfigError
from gankit.metrics.features import FeatureExtractor
from gankit.metrics.lpips import VGG16, check_weights, weights_folder
from gankit.metrics.metric import torch_fidelity

__all__ = ["FIDELITY_FEATURES", "fidelity_features"]

_INCEPTION = "inception-v3-compat"
_CLIP = (
    *("rn50", "rn101", "rn50x4", "rn50x16", "rn50x64"),
    *("vit-b-32", "vit-b-16", "vit-l-14", "vit-l-14-336px"),
)
_DINO = ("s", "b", "l", "g")
# What --features takes, and what torch-fidelity calls it.
FIDELITY_FEATURES: dict[str, str] = {
    "inception": _INCEPTION,
    "vgg16": "vgg16",
    "clip": "clip-vit-b-32",
    "dino": "dinov2-vit-b-14",
    **{f"clip-{name}": f"clip-{name}" for name in _CLIP},
    **{f"dinov2-vit-{size}-14": f"dinov2-vit-{size}-14" for size in _DINO},
}
_VGG16_URL = f"https://download.pytorch.org/models/{VGG16}"


def fidelity_features(name: str, weights: str | Path | None = None) -> FeatureExtractor:
    """The extractor ``name`` of ``FIDELITY_FEATURES``; nothing is downloaded.

    Args:
        name: such as ``"inception"``, the network of FID.
        weights: the file of its weights; None looks where torch keeps downloaded ones.

    Raises:
        ConfigError: the weights are not there, or are not those of this network.
        MissingExtra: torch-fidelity is not installed.
    """
    torch_fidelity()
    full = FIDELITY_FEATURES[name]
    if full.startswith("dinov2"):
        _check_dino(name, full, weights)
        path = None
    else:
        path = _weights(name, full, weights)
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    kind = FEATURE_EXTRACTORS_REGISTRY[full]
    layers = [kind.get_default_feature_layer_for_metric("fid")]
    is_classifier = full == _INCEPTION  # of the others the logits are no classes
    if is_classifier:
        layers.append(kind.get_default_feature_layer_for_metric("isc"))
    options = {} if path is None else {"feature_extractor_weights_path": str(path)}
    try:
        network: Any = kind(full, layers, verbose=False, **options)
    except (RuntimeError, OSError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} does not hold the weights of {full}: {reason}") from error

    def run(images: Tensor) -> tuple[Tensor, Tensor | None]:
        found = network(images)
        return found[0], found[1] if is_classifier else None

    size = getattr(network, "INPUT_IMAGE_SIZE", None) or network.resolution
    return FeatureExtractor(
        name=full,
        network=network,
        run=run,
        channels=3,
        preprocessing=f"RGB, bilinear to {size}x{size} as TensorFlow 1 does",
        has_logits=is_classifier,
    )


def _weights(name: str, full: str, given: str | Path | None) -> Path:
    file, url = _source(full)
    path = weights_folder() / file if given is None else Path(given)
    if not path.is_file():
        if given is not None:
            raise ConfigError(f"--weights {given}: no such file; expected the weights of {full}")
        raise ConfigError(
            f"features {name} need {url}, to be put into {path.parent} or named by --weights FILE; "
            "nothing is downloaded"
        )
    if not full.startswith("clip"):  # a TorchScript archive, which torch.jit.load reads
        try:
            # torch-fidelity itself would unpickle anything.
            torch.load(path, map_location="meta", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise ConfigError(f"{path} is no file of weights; expected those of {full}") from error
    return path


def _source(full: str) -> tuple[str, str]:
    """Name and address of the file of weights."""
    if full == "vgg16":
        return VGG16, _VGG16_URL
    if full == _INCEPTION:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

        return URL_INCEPTION_V3.rpartition("/")[2], URL_INCEPTION_V3
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS

    return f"{full}-{MODEL_METADATA[full]['hash']}.pt", MODEL_URLS[full]


def _check_dino(name: str, full: str, given: str | Path | None) -> None:
    """Raise ConfigError unless both the code and the weights of DINOv2 are at hand."""
    if given is not None:
        raise ConfigError(f"--weights {given}: torch-fidelity takes no file for {full}")
    size = full.split("-")[2]
    file = f"dinov2_vit{size}14_pretrain.pth"
    address = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{size}14/{file}"
    check_weights(f"features {name}", {file: address})
    code = Path(torch.hub.get_dir(), "facebookresearch_dinov2_main")
    if not code.is_dir():
        raise ConfigError(
            f"features {name} need the repository facebookresearch/dinov2 in {code}, where torch "
            "looks for it"
        )
