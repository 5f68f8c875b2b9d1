"""Losses of GAN training: pure functions, and the pairs of them that a training step takes."""

from __future__ import annotations

from gankit.losses.adversarial import (
    AdversarialLoss,
    bce_discriminator_loss,
    least_squares,
    minimax_generator_loss,
    non_saturating_generator_loss,
    resolve,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from gankit.losses.autoencoder import (
    AutoencoderLoss,
    bernoulli_nats,
    elbo,
    gaussian_nats,
    kl_to_standard_normal,
    resolve_autoencoder,
    squared_error,
)
from gankit.losses.energy import (
    began_convergence,
    began_discriminator_loss,
    began_next_k,
    energy_discriminator_loss,
    energy_generator_loss,
    pulling_away_term,
)
from gankit.losses.penalties import gradient_penalty
from gankit.losses.scores import (
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    relativistic_average_hinge_loss,
    relativistic_average_least_squares_loss,
    relativistic_average_loss,
    relativistic_loss,
)

__all__ = [
    "AdversarialLoss",
    "AutoencoderLoss",
    "bce_discriminator_loss",
    "bernoulli_nats",
    "began_convergence",
    "began_discriminator_loss",
    "began_next_k",
    "elbo",
    "energy_discriminator_loss",
    "energy_generator_loss",
    "gaussian_nats",
    "gradient_penalty",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "kl_to_standard_normal",
    "least_squares",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "minimax_generator_loss",
    "non_saturating_generator_loss",
    "pulling_away_term",
    "relativistic_average_hinge_loss",
    "relativistic_average_least_squares_loss",
    "relativistic_average_loss",
    "relativistic_loss",
    "resolve",
    "resolve_autoencoder",
    "squared_error",
    "wasserstein_discriminator_loss",
    "wasserstein_generator_loss",
]
