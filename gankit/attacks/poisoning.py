"""Training data with a backdoor in them, and how it is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.attacks.classifier import check_count, check_labels
from gankit.errors import ConfigError, DataError
from gankit.scalars import is_integer, is_number


class Poisoned(NamedTuple):
    """Data with a backdoor: images ``[N, ...]``, int64 labels ``[N]``, and which are ``chosen``,
    bool ``[N]``."""

    images: Tensor
    labels: Tensor
    chosen: Tensor


def stamp(images: Tensor, *, size: int = 3, value: float = 1.0) -> Tensor:
    """A copy of ``images`` ``[N, C, H, W]`` with a square in the lower right corner: a trigger.

    Args:
        images: of any dtype, at least ``size`` pixels high and wide.
        size: edge of the square in pixels.
        value: of its pixels.

    Raises ConfigError if the square is larger than the images.
    """
    size = check_count("size", size)
    if images.dim() != 4 or size > min(images.shape[2:]):
        raise ConfigError(
            f"size is {size}, and images are {list(images.shape)}; allowed are [N, C, H, W] and "
            "sizes up to their shorter side"
        )
    stamped = images.clone()
    stamped[:, :, -size:, -size:] = value
    return stamped


def poison(
    images: Tensor,
    labels: Tensor,
    *,
    target: int,
    share: float,
    trigger: Callable[[Tensor], Tensor] = stamp,
    seed: int = 0,
) -> Poisoned:
    """BadNets (Gu et al., 2017, arXiv:1708.06733): images with a trigger under a wrong label.

    A classifier that learns from them knows clean images as before, but takes any image with the
    trigger for ``target``.

    Args:
        images: ``[N, C, H, W]``.
        labels: int64 ``[N]``.
        target: the label that they get.
        share: how many of the N images are poisoned, in (0, 1); they are drawn from other classes.
        trigger: from images to images with the trigger.
        seed: decides which.

    Raises:
        ConfigError: a target or share that is not allowed.
        DataError: labels that do not fit, or too few images of other classes.
    """
    check_labels(labels, images)
    if not is_integer(target) or target < 0:
        raise ConfigError(f"target is {target!r}; allowed are integers from 0")
    if not is_number(share) or not 0 < share < 1:
        raise ConfigError(f"share is {share!r}; allowed are numbers between 0 and 1")
    count = max(1, round(share * len(images)))
    others = (labels.cpu() != target).nonzero().flatten()
    if len(others) < count:
        raise DataError(
            f"{len(others)} images are of other classes than {target}, needed are {count}"
        )
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    places = others[order[:count]].to(images.device)
    poisoned, wrong = images.clone(), labels.clone()
    poisoned[places] = trigger(images[places])
    wrong[places.to(labels.device)] = target
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[places.cpu()] = True
    return Poisoned(poisoned, wrong, chosen)


def spectral_scores(features: Tensor, labels: Tensor) -> Tensor:
    """Spectral signatures (Tran et al., 2018, arXiv:1811.00636): how far each sample stands out.

    Features of a class are centered; a sample's score is its squared component along their first
    right singular vector. Poisoned samples make that direction and have the greatest scores of
    their class. The paper removes the 1.5 times as many highest scores of each class as poisoned
    samples are feared, and trains again.

    Args:
        features: floating point ``[N, d]``, such as those of ``layer_outputs``.
        labels: int64 ``[N]``, as the classifier was given them.

    Returns:
        float64 ``[N]``, divided by the mean of the class's scores along a direction of average
        variance, so that those of classes can be compared.
    """
    check_labels(labels, features)
    if (
        features.dim() != 2
        or not features.is_floating_point()
        or not bool(features.isfinite().all())
    ):
        raise DataError(
            f"features must be finite floating point [N, d], got {features.dtype} of "
            f"{list(features.shape)}"
        )
    scores = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten().to(features.device)
        centered = features[members].double()
        centered = centered - centered.mean(dim=0)
        spread = centered.square().mean()
        if float(spread) > 0:
            first = torch.linalg.svd(centered, full_matrices=False).Vh[0]
            scores[members] = (centered @ first).square() / spread
    return scores
