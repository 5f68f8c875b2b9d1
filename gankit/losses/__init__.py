"""Losses of GAN training: pure functions, and the pairs of them that a training step takes."""

from __future__ import annotations

from gankit.losses.adversarial import (
    AdversarialLoss,
    bce_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    resolve,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from gankit.losses.penalties import gradient_penalty

__all__ = [
    "AdversarialLoss",
    "bce_discriminator_loss",
    "gradient_penalty",
    "minimax_generator_loss",
    "non_saturating_generator_loss",
    "resolve",
    "wasserstein_discriminator_loss",
    "wasserstein_generator_loss",
]
