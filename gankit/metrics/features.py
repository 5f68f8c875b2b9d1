"""Networks in whose features images are compared."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gankit.errors import DataError
from gankit.metrics.digit_classifier import DigitClassifier

__all__ = ["Extracted", "FeatureExtractor", "digest", "to_channels"]

# Hexadecimal digits of a hash: 64 bits, which no two networks that meet share.
_DIGITS = 16
# Their versions stand in a result, and their layers go by their names.
_LIBRARIES = frozenset({"gankit", "torch", "torchvision", "torch_fidelity"})
# Of an object whose text says no more than where it lies.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Extracted:
    """What a network makes of N images, on the CPU.

    Args:
        features: float32 ``[N, D]``.
        logits: float32 ``[N, classes]``, or None where the network is no classifier.
    """

    features: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """A network and what it is given: two results are compared only if both are the same.

    Args:
        name: what ``--features`` calls it.
        network: the module whose weights decide the features.
        run: from uint8 ``[B, C, H, W]`` on the network's device to features ``[B, D]`` and logits
            ``[B, classes]`` or None.
        channels: how many channels ``run`` takes.
        preprocessing: what becomes of an image before the network sees it, in words.
        has_logits: whether ``run`` gives logits.
        classifier: the classifier whose features they are, where its classes are those of the data.

    Attributes:
        hash: of all that decides the features: ``name``, ``channels``, ``preprocessing``, layers
            and their settings, the source of layers that are no library's, weights and buffers.
    """

    name: str
    network: nn.Module
    run: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    channels: int
    preprocessing: str
    has_logits: bool = False
    classifier: DigitClassifier | None = None
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)
        words = f"{self.name}\0{self.channels}\0{self.preprocessing}"
        object.__setattr__(self, "hash", digest(self.network, words))

    @torch.no_grad()
    def __call__(
        self, batches: Iterable[Tensor], *, device: torch.device | str = "cpu"
    ) -> Extracted:
        """The features of all images of ``batches``, each uint8 ``[B, C, H, W]``.

        Raises:
            DataError: the network returns something else than ``[B, D]``, or NaN.
        """
        self.network.to(device)
        features, logits = [], []
        for part in batches:
            seen, scores = self.run(to_channels(part.to(device), self.channels))
            if seen.dim() != 2 or len(seen) != len(part):
                raise DataError(
                    f"features {self.name} must be [{len(part)}, D] for a batch of {len(part)} "
                    f"images, got {list(seen.shape)}"
                )
            features.append(seen.float().cpu())
            if scores is not None:
                logits.append(scores.float().cpu())
        every = torch.cat(features)
        if not bool(every.isfinite().all()):
            raise DataError(f"features {self.name} hold NaN or infinite values, none may be")
        return Extracted(every, torch.cat(logits) if logits else None)


def digest(network: nn.Module, words: str = "") -> str:
    """A hash of what ``network`` computes, and of ``words``."""
    found = hashlib.sha256(f"{words}\0".encode())
    sources = set()
    for name, layer in network.named_modules():
        kind = type(layer)
        settings = _ADDRESS.sub("", layer.extra_repr())
        found.update(f"{name} {kind.__module__}.{kind.__qualname__}({settings})\0".encode())
        sources.add(_source(kind))
    found.update("\0".join(sorted(sources)).encode())
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor):
            found.update(f"{name} {value.dtype} {list(value.shape)}\0".encode())
            found.update(
                value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
            )
    return found.hexdigest()[:_DIGITS]


def _source(kind: type[nn.Module]) -> str:
    """The code of a class that has no version of a library; two may have the same weights."""
    if kind.__module__.split(".")[0] in _LIBRARIES:
        return ""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made in a console, or compiled
        return ""


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Images ``[N, C, H, W]`` with ``channels`` channels, grey repeated as RGB.

    RGB images that hold grey values become grey; the opacity of RGBA images is left out.

    Raises:
        DataError: colored images where grey ones are needed, or another number of channels.
    """
    given = images.shape[1]
    if given == channels:
        return images
    if given == 1:
        return images.expand(-1, channels, -1, -1)
    if given == 4 and channels == 3:
        return images[:, :3]
    first = images[:, :1]
    if given >= 3 and channels == 1 and bool((images[:, :3] == first).all()):
        return first
    raise DataError(f"images of {given} channels came, where {channels} are expected")
