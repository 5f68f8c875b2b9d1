"""What a metric is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gankit.data.image_set import ImageSet
from gankit.data.images import ImageData, quantise
from gankit.errors import ConfigError, MissingExtra
from gankit.metrics.features import Extracted, FeatureExtractor

__all__ = ["Images", "Inputs", "LatentGenerator", "Metric", "Value", "torch_fidelity"]


@dataclass(frozen=True)
class Value:
    """One number of a metric: what tables and plots call it, and which way is better."""

    label: str
    higher_is_better: bool = False


@dataclass(frozen=True)
class Metric:
    """A metric of generated images, as ``--metrics`` names it.

    Args:
        name: such as ``"fid"``.
        summary: one line, with the paper.
        values: the numbers that ``compute`` returns, by the names of their columns.
        compute: the metric itself.
        needs: of ``"features"``, ``"logits"`` (of a classifier), ``"classes"`` (features of a
            classifier of the data's own classes), ``"labels"`` (of the generated images),
            ``"pairs"`` (the i-th generated image has the i-th real one as its target) and
            ``"generator"`` (noise in, images out).
        settings: what the number depends on beside images and features, for the result.
    """

    name: str
    summary: str
    values: Mapping[str, Value]
    compute: Callable[[Inputs], dict[str, float]]
    needs: frozenset[str] = frozenset()
    settings: Callable[[Inputs], dict[str, Any]] = field(default=lambda inputs: {})


@dataclass(frozen=True)
class LatentGenerator:
    """A generator of images out of noise, for metrics that walk through its latent space.

    Args:
        network: ``network(z)``, or ``network(z, labels)`` where ``n_classes`` is given.
        z_dim: the length of z.
        z_distribution: ``"normal"`` or ``"uniform"`` in [-1, 1).
        image_shape: ``(C, H, W)``.
        n_classes: of a conditional generator.
    """

    network: nn.Module
    z_dim: int
    z_distribution: str
    image_shape: tuple[int, ...]
    n_classes: int | None = None


class Images:
    """A set of images and, once they are asked for, their features, or ``extracted`` ones."""

    def __init__(
        self,
        data: ImageSet,
        extractor: FeatureExtractor | None = None,
        *,
        batch_size: int = 64,
        device: torch.device | str = "cpu",
        extracted: Extracted | None = None,
    ) -> None:
        self.data, self.extractor, self._extracted = data, extractor, extracted
        self.batch_size, self.device = batch_size, device

    def __len__(self) -> int:
        return len(self.data)

    @property
    def labels(self) -> Tensor | None:
        """int64 ``[N]`` on the CPU, or None."""
        return None if self.data.labels is None else self.data.labels.cpu()

    def batches(self) -> Iterator[Tensor]:
        """The images in their order, uint8 ``[B, C, H, W]``; those of a stream are read anew."""
        for indices in torch.arange(len(self.data)).split(self.batch_size):
            yield self.part(indices)

    def part(self, indices: Tensor) -> Tensor:
        """The images at ``indices``, int64 ``[B]``, as uint8 ``[B, C, H, W]``."""
        if isinstance(self.data, ImageData):
            return self.data.images[indices.to(self.data.images.device)]
        return quantise(self.data.gather(indices).cpu(), self.data.name)

    @cached_property
    def pixels(self) -> Tensor:
        """All images, uint8 ``[N, C, H, W]``."""
        return torch.cat(list(self.batches()))

    @cached_property
    def extracted(self) -> Extracted:
        """Features and logits of all images."""
        if self._extracted is not None:
            return self._extracted
        assert self.extractor is not None  # a metric says that it needs features
        return self.extractor(self.batches(), device=self.device)

    @property
    def features(self) -> Tensor:
        """float32 ``[N, D]``."""
        return self.extracted.features


@dataclass(frozen=True)
class Inputs:
    """What metrics compare: generated images with real ones."""

    generated: Images
    real: Images
    seed: int = 0
    generator: LatentGenerator | None = None
    paired: bool = False

    @property
    def extractor(self) -> FeatureExtractor:
        """Of the features of both sides."""
        assert self.generated.extractor is not None
        return self.generated.extractor

    def at_least(self, n: int, name: str) -> None:
        """Raise ConfigError if either side has fewer than ``n`` images."""
        for side, images in (("generated", self.generated), ("real", self.real)):
            if len(images) < n:
                raise ConfigError(
                    f"{name} needs at least {n} {side} images, and there {_are(len(images))}"
                )


def _are(n: int) -> str:
    return f"is {n}" if n == 1 else f"are {n}"


def torch_fidelity() -> Any:
    """The package of that name. Raises MissingExtra where it is not installed."""
    try:
        import torch_fidelity
    except ImportError as error:
        raise MissingExtra("torch-fidelity", "evaluate") from error
    return torch_fidelity
