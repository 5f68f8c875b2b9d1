"""What a semi-supervised discriminator learns from the few labels there are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.losses.scores import widened

__all__ = ["supervised_cross_entropy"]


def supervised_cross_entropy(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    *,
    labelled: tuple[Tensor, Tensor],
    batch_size: int = 50,
    weight: float = 1.0,
) -> Tensor:
    """``-weight mean(log p(y | x, x is real))`` over a batch of labelled images.

    Salimans et al., 2016, arXiv:1606.03498, section 5: D's loss is this and the cross entropy of
    "real or generated" on all images. A penalty for ``GANStep``.

    Args:
        discriminator: has ``classify(images)``, to the logits ``[N, K]`` of the K real classes.
        real, fake: the images of D's turn; they are not looked at.
        labelled: images ``[M, ...]`` and labels int64 ``[M]``, M >= 1, on D's device.
        batch_size: images drawn, with replacement, by torch's global generator.
        weight: finite and at least 0.

    Returns:
        0-d tensor, differentiable twice with respect to D's weights.

    Raises:
        ConfigError: a setting is not allowed, or D has no ``classify``.
        DataError: no labelled images, or not one label each.
    """
    classify = getattr(discriminator, "classify", None)
    if not callable(classify):
        raise ConfigError(
            f"D ({type(discriminator).__name__}) has no method classify; allowed is one such as "
            "gankit.models.semi_supervised.Discriminator"
        )
    if batch_size < 1 or not (math.isfinite(weight) and weight >= 0):
        raise ConfigError(
            f"batch_size must be at least 1 and weight finite and at least 0, got {batch_size} and "
            f"{weight}"
        )
    images, labels = labelled
    if len(images) == 0 or labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise DataError(
            f"labelled must be images and an int64 label each, got {list(images.shape)} and "
            f"{labels.dtype} {list(labels.shape)}"
        )
    drawn = torch.randint(len(images), (batch_size,), device=images.device)
    logits = widened(classify(images[drawn]))
    return weight * F.cross_entropy(logits, labels[drawn])
