"""Perceptual losses: distances between features of images in place of their pixels.

Ledig et al., 2016, arXiv:1609.04802, equation 5: the mean squared difference of the feature maps of
a VGG19 (Simonyan and Zisserman, 2014, arXiv:1409.1556). Its weights are read from a file that is
there, and never fetched; :mod:`gankit.losses.fitted_features` is for where there is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import CheckpointError, ConfigError, shortened

__all__ = ["PerceptualFeatures", "VGG19Features", "vgg19_file"]

# Configuration E of the paper: feature maps of each convolution, and the maximum pools.
_VGG19 = (
    *(64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool"),
    *(512, 512, 512, 512, "pool", 512, 512, 512, 512),
)
# As torchvision calls the file of its weights IMAGENET1K_V1.
_FILE = "vgg19-dcbb9e9d.pth"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# "Rescaling the VGG feature maps by a factor of 1/12.75", section 3.2.
_SCALE = 1 / 12.75


class PerceptualFeatures(nn.Module):
    """A network without anything to train whose outputs are compared by their squared difference.

    Attributes:
        kind: what it is called in settings.
        note: a sentence on where it comes from.
    """

    kind: str
    note: str

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As of any module. Raises CheckpointError for the weights of another kind."""
        theirs = "vgg19" if "digest" in state_dict else "fitted"
        if theirs != self.kind:
            raise CheckpointError(
                f"the run has learnt from perceptual features of kind {theirs!r}, and here they "
                f"are {self.kind!r}; set step.features={theirs}"
            )
        return super().load_state_dict(state_dict, *args, **kwargs)


class VGG19Features(PerceptualFeatures):
    """Feature maps of VGG19 behind its sixteenth convolution and ReLU, times 1 / 12.75.

    The paper's phi_5,4: the fourth convolution in front of the fifth pool, after activation. A
    ``state_dict`` has a digest of the weights in place of them, which are 80 MB: a run goes on from
    a checkpoint with the same file alone.

    Args:
        file: the weights of torchvision's VGG19, a ``state_dict`` with ``features.0.weight`` and so
            on; others in it are not read.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """

    kind = "vgg19"
    digest: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, file: str | Path) -> None:
        super().__init__()
        try:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch raises many, all of which mean that it is none
            what = str(error).strip().split("\n")[0]
            raise ConfigError(f"features {str(file)!r} cannot be read: {what}") from error
        network = _vgg19()
        prefix = "features."
        weights = {
            name.removeprefix(prefix): value
            for name, value in (state.items() if isinstance(state, Mapping) else ())
            if isinstance(name, str) and name.startswith(prefix)
        }
        try:
            network.load_state_dict(weights)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"features {str(file)!r} are not the weights of torchvision's VGG19: expected "
                f"features.0.weight to features.34.bias, got {shortened(sorted(weights))}"
            ) from error
        # Behind a tuple, where torch does not look for weights to save.
        self._network = (network.eval().requires_grad_(False),)
        self.note = f"Perceptual features are those of VGG19, from {file}."
        found = hashlib.sha256()
        for value in network.state_dict().values():
            found.update(value.contiguous().numpy().tobytes())
        digest = torch.frombuffer(bytearray(found.digest()), dtype=torch.uint8)
        self.register_buffer("digest", digest)
        for name, values in (("mean", _MEAN), ("std", _STD)):
            made = torch.tensor(values).view(3, 1, 1)
            self.register_buffer(name, made, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` or grey ``[N, 1, H, W]`` in [-1, 1], H and W at least 16.

        Returns ``[N, 512, H // 16, W // 16]``. Raises ConfigError for another shape.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < 16:
            raise ConfigError(
                f"images have shape {list(images.shape)}; allowed for VGG19's features are "
                "[N, 3, H, W] and [N, 1, H, W], H and W at least 16"
            )
        features: Tensor = self._network[0](((images + 1) / 2 - self.mean) / self.std)
        return features * _SCALE

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As of any module. Raises CheckpointError unless the weights are those of the run."""
        found = state_dict.get("digest")
        if isinstance(found, Tensor) and not torch.equal(found.cpu(), self.digest.cpu()):
            raise CheckpointError(
                "the run has learnt from the features of another VGG19 than the one that is here; "
                "set step.features to the file that it had"
            )
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> VGG19Features:
        self._network[0]._apply(fn)
        super()._apply(fn, recurse)
        return self


def vgg19_file() -> Path | None:
    """Torchvision's weights of VGG19 in torch's own cache (``torch.hub.get_dir()``), or None."""
    file = Path(torch.hub.get_dir(), "checkpoints", _FILE)
    return file if file.is_file() else None


def _vgg19() -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for maps in _VGG19:
        if isinstance(maps, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(before, maps, 3, 1, 1), nn.ReLU()]
            before = maps
    return nn.Sequential(*layers)
