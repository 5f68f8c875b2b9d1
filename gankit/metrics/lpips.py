"""LPIPS: the distance of two images in the features of VGG16, weighted as people see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.metrics.features import to_channels
from gankit.metrics.metric import Inputs, Metric, Value, torch_fidelity
from gankit.metrics.pixels import pairs

VGG16 = "vgg16-397923af.pth"
_VGG16_URL = f"https://download.pytorch.org/models/{VGG16}"
_HEADS = "weights-vgg16-lpips.pth"


def weights_folder() -> Path:
    """Where torch keeps downloaded weights: ``$TORCH_HOME/hub/checkpoints``."""
    return Path(torch.hub.get_dir(), "checkpoints")


def check_weights(what: str, files: dict[str, str]) -> None:
    """Raise ConfigError naming the files, each with its address, that are not at hand.

    torch-fidelity would download them; an evaluation downloads nothing.
    """
    missing = [name for name in files if not (weights_folder() / name).is_file()]
    if missing:
        sources = " and ".join(files[name] for name in missing)
        raise ConfigError(f"{what} needs {sources}, to be put into {weights_folder()}")


def vgg16_lpips(resize: int | None) -> nn.Module:
    """torch-fidelity's LPIPS of RGB images in [0, 255]: ``[B]`` of two batches.

    Images are resized to ``resize`` pixels a side, or left as they are. Raises ConfigError where
    the weights are not at hand.
    """
    fidelity = torch_fidelity()
    from torch_fidelity import sample_similarity_lpips

    check_weights("lpips", {VGG16: _VGG16_URL, _HEADS: sample_similarity_lpips.URL_VGG16_LPIPS})
    made: nn.Module = fidelity.SampleSimilarityLPIPS("lpips-vgg16", sample_similarity_resize=resize)
    return made


def _settings(inputs: Inputs) -> dict[str, Any]:
    return {"lpips": "VGG16 of torch-fidelity, images at their own size"}


@torch.no_grad()
def _compute(inputs: Inputs) -> dict[str, float]:
    network = vgg16_lpips(None).to(inputs.generated.device)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = network(to_channels(a, 3) * 255, to_channels(b, 3) * 255)
        return found.flatten().double().cpu()

    return {"lpips": float(torch.cat([distance(*pair) for pair in pairs(inputs, "lpips")]).mean())}


METRIC = Metric(
    "lpips",
    "perceptual distance from the target (Zhang et al., 2018, arXiv 1801.03924), by torch-fidelity",
    {"lpips": Value("LPIPS")},
    _compute,
    frozenset({"pairs"}),
    _settings,
)
