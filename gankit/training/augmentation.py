"""Random transforms of the images that a discriminator is shown in training.

With few real images D learns them by heart. If what it is shown, real and generated, goes through
random transforms, it cannot; and because G learns through the same transforms, its own images need
not look transformed (Zhao et al., 2020, arXiv 2006.10738; Karras et al., 2020, arXiv 2006.06676).
Sampling knows nothing of them.

Kornia's transforms do not serve here: their probability is a number of the host, which a CUDA graph
would keep as it was. Nor are they faster: on one core a flip and an affine map of 60 images of
28x28 take them 20 ms, where all of ADA takes 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError


class Numbers(NamedTuple):
    """The random numbers of a transform, a row for each sample."""

    uniform: Tensor  # in [0, 1)
    normal: Tensor


class Augmentation(nn.Module, ABC):
    """A random transform of images ``[N, C, H, W]``, another one for each sample and call.

    A subclass defines ``transform``, which has to be differentiable twice and to decide nothing on
    the host. All random numbers come from torch's default generator of the device. Those of a call
    are drawn for a whole batch and cut into micro-batches, so that the number of these does not
    change them.

    Args:
        policy: names out of ``groups``, with commas between.

    Raises ConfigError for another policy.
    """

    name: ClassVar[str]
    groups: ClassVar[tuple[str, ...]]
    # What a step that augments so reports, each with its label.
    metrics: ClassVar[Mapping[str, str]] = {}
    # How many random numbers of each kind a sample needs.
    uniforms: ClassVar[int] = 0
    normals: ClassVar[int] = 0

    def __init__(self, policy: str) -> None:
        super().__init__()
        names = [part.strip() for part in policy.split(",")] if isinstance(policy, str) else []
        if not names or len(set(names)) < len(names) or not set(names) <= set(self.groups):
            raise ConfigError(
                f"policy of augment {self.name!r} is {policy!r}; allowed are one or more of "
                f"{', '.join(self.groups)}, with commas between"
            )
        self.policy = tuple(name for name in self.groups if name in names)
        self._parts, self._part = 1, 0
        self._drawn: list[Numbers] = []
        self._calls = 0

    @property
    def note(self) -> str:
        """What is done, as a sentence."""
        return f"D is shown transformed images: {self.name} ({', '.join(self.policy)})."

    @abstractmethod
    def transform(self, images: Tensor, numbers: Numbers) -> Tensor:
        """``images`` ``[N, C, H, W]``, float32 or float64, transformed as ``numbers`` say."""

    def begin(self, part: int, parts: int) -> None:
        """What follows are the calls of a phase on micro-batch ``part`` (from 0) of ``parts``."""
        if part == 0:
            self._drawn.clear()
        self._part, self._parts, self._calls = part, parts, 0

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        """Each of ``images`` ``[N, C, H, W]`` transformed; those of one sample alike.

        Their channels and sizes may differ. Of four channels the fourth is opacity, whose colors do
        not change. Raises ConfigError for what are no images.
        """
        for each in images:
            if each.ndim != 4 or min(each.shape[2:]) < 2:
                raise ConfigError(
                    f"augment is {self.name!r}, which transforms images [N, C, H, W] of at least "
                    f"2x2 pixels, got {list(each.shape)}; allowed is 'none'"
                )
        wide = [x.to(torch.promote_types(x.dtype, torch.float32)) for x in images]
        numbers = self._numbers(wide[0])
        pairs = zip(wide, images, strict=True)
        return tuple(self.transform(x, numbers).to(given.dtype) for x, given in pairs)

    def adapt(self) -> dict[str, Tensor]:
        """Called after each update; what is reported of it, detached."""
        return {}

    def observe(self, scores: Tensor, boundary: float | None) -> None:
        """See ``Step.observe_real``."""

    def check_observed(self, step: object) -> None:
        """Raise ConfigError, after all phases of ``step``, if it was not told what it follows."""

    def _numbers(self, images: Tensor) -> Numbers:
        if self._parts == 1:
            return self._draw(len(images), images)
        if self._calls == len(self._drawn):
            self._drawn.append(self._draw(len(images) * self._parts, images))
        drawn = self._drawn[self._calls]
        self._calls += 1
        own = slice(self._part * len(images), (self._part + 1) * len(images))
        return Numbers(drawn.uniform[own], drawn.normal[own])

    def _draw(self, rows: int, images: Tensor) -> Numbers:
        like: Any = {"dtype": images.dtype, "device": images.device}
        uniform = torch.rand(rows, self.uniforms, **like)
        return Numbers(uniform, torch.randn(rows, self.normals, **like))


def colors_of(images: Tensor) -> tuple[Tensor, Tensor | None]:
    """The channels of ``images`` that are colors, and the opacity of those that have four."""
    return (images[:, :3], images[:, 3:]) if images.shape[1] == 4 else (images, None)


class Augmenting:
    """The half of :class:`gankit.training.Step` that augments what its discriminators are shown."""

    # Whether the family shows its discriminators `augmented` images.
    augments: ClassVar[bool] = False
    augmentation: Augmentation | None

    def augmented(self, images: Tensor) -> Tensor:
        """``images`` ``[N, C, H, W]`` as a discriminator is shown them: as they are without
        ``augment``, else each transformed at random, by other random numbers in each call."""
        if self.augmentation is None:
            return images
        (shown,) = self.augmentation(images)
        return shown

    def augmented_alike(self, *images: Tensor) -> tuple[Tensor, ...]:
        """The same of several images of each sample, which get one transform: an input and what
        was made of it."""
        return images if self.augmentation is None else self.augmentation(*images)

    def observe_real(self, scores: Tensor, boundary: float | None) -> None:
        """Tell ``augment`` of a discriminator's output on real images.

        Args:
            scores: one per image, ``[N]``, or the mean over an image's patches.
            boundary: above it the discriminator takes an image for real, below it for generated.
                None of a loss that has no such value: ADA is then refused with ConfigError.
        """
        if self.augmentation is not None:
            self.augmentation.observe(scores.detach(), boundary)


def check_augments(augmentation: Augmentation | None, kind: type) -> None:
    """Raise ConfigError if a step of class ``kind`` cannot be given ``augmentation``."""
    if augmentation is None:
        return
    if not isinstance(augmentation, Augmentation):
        raise ConfigError(
            f"augment is a {type(augmentation).__name__}; allowed are None and an instance of a "
            "class that derives from gankit.training.augmentation.Augmentation, such as "
            "gankit.training.DiffAugment()"
        )
    if not getattr(kind, "augments", False):
        raise ConfigError(
            f"augment is {augmentation.name!r}, but {kind.__name__} does not augment what a "
            "discriminator is given; allowed is 'none'"
        )
