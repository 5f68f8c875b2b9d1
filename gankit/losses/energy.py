"""Losses of energies: D gives low energy to real images, such as an autoencoder's error.

EBGAN (Zhao et al., 2016, arXiv:1609.03126) and BEGAN (Berthelot et al., 2017, arXiv:1703.10717).
Energies are at least 0. All functions work on tensors of any floating-point dtype and return a 0-d
tensor, in float32 at least, differentiable with respect to every tensor unless said otherwise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.errors import ConfigError, DataError
from gankit.losses.scores import widened
from gankit.scalars import is_number

__all__ = [
    "began_convergence",
    "began_discriminator_loss",
    "began_next_k",
    "energy_discriminator_loss",
    "energy_generator_loss",
    "pulling_away_term",
]


def energy_discriminator_loss(real: Tensor, fake: Tensor, *, margin: float = 1.0) -> Tensor:
    """EBGAN: ``mean(D(x)) + mean(max(0, m - D(G(z))))`` with m the margin.

    Args:
        real: energies of real images, of any shape.
        fake: energies of generated images.
        margin: energy above which generated images add no gradient, finite and above 0. It depends
            on the scale of the energies.

    Raises:
        ConfigError: a margin that is not allowed.
    """
    check_margin(margin)
    return widened(real).mean() + F.relu(margin - widened(fake)).mean()


def energy_generator_loss(fake: Tensor) -> Tensor:
    """``mean(D(G(z)))``: G lowers the energy of its images, in EBGAN and BEGAN.

    Args:
        fake: energies of generated images, of any shape.
    """
    return widened(fake).mean()


def pulling_away_term(features: Tensor) -> Tensor:
    """EBGAN-PT: the mean squared cosine between the features of different images of one batch.

    ``1 / (N (N - 1)) sum_i sum_{j != i} (s_i . s_j / (|s_i| |s_j|))^2``, in [0, 1]: 0 where all are
    orthogonal, 1 where all are parallel. Added to G's loss it works against samples that are alike.

    Args:
        features: D's inner features of generated images, ``[N, ...]`` with N at least 2. A feature
            vector of zeros has cosine 0 with every other.

    Raises:
        DataError: fewer than two images, or no feature dimension.
    """
    if features.ndim < 2 or len(features) < 2:
        raise DataError(
            "features must be [N, ...] of at least two images, one dimension or more each, got "
            f"{list(features.shape)}"
        )
    rows = widened(features).flatten(1)
    # The cosine has no scale; squares of the largest and smallest numbers leave float32's range.
    largest = rows.detach().abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    unit = F.normalize(rows / largest, dim=1)
    n = len(unit)
    squares = (unit @ unit.T).square()
    return (squares.sum() - squares.diagonal().sum()) / (n * (n - 1))


def began_discriminator_loss(real: Tensor, fake: Tensor, k: Tensor | float) -> Tensor:
    """BEGAN: ``mean(L(x)) - k mean(L(G(z)))`` with L the autoencoder's error.

    Args:
        real: errors of real images, of any shape.
        fake: errors of generated images.
        k: weight of the second term, in [0, 1]: what :func:`began_next_k` gave, 0 at the start.
            Tensors are not checked, which would wait for the device.

    Raises:
        ConfigError: k is a number outside [0, 1].
    """
    if not isinstance(k, Tensor) and not 0.0 <= k <= 1.0:
        raise ConfigError(f"k must lie in [0, 1], got {k}")
    return widened(real).mean() - k * widened(fake).mean()


@torch.no_grad()
def began_next_k(
    k: Tensor | float, real: Tensor, fake: Tensor, *, gamma: float = 0.5, rate: float = 1e-3
) -> Tensor:
    """BEGAN's control: ``clamp(k + rate (gamma mean(L(x)) - mean(L(G(z)))), 0, 1)``, no gradient.

    It holds the balance ``mean(L(G(z))) = gamma mean(L(x))``. :class:`gankit.gans.began.BEGANStep`
    keeps k between steps.

    Args:
        k: its value now, in [0, 1].
        real: errors of real images, of any shape.
        fake: errors of the images of G's update.
        gamma: diversity ratio, in [0, 1]; a higher one asks for more diverse images.
        rate: of k's change, finite and above 0.

    Raises:
        ConfigError: gamma or rate is not allowed.
    """
    _check_gamma(gamma)
    _check_rate(rate)
    balance = gamma * widened(real).mean() - widened(fake).mean()
    return (k + rate * balance).clamp(0.0, 1.0)


@torch.no_grad()
def began_convergence(real: Tensor, fake: Tensor, *, gamma: float = 0.5) -> Tensor:
    """BEGAN's measure ``mean(L(x)) + |gamma mean(L(x)) - mean(L(G(z)))|``, no gradient.

    It falls as training converges.

    Args:
        real: errors of real images, of any shape.
        fake: errors of generated images.
        gamma: as for :func:`began_next_k`.

    Raises:
        ConfigError: gamma is not allowed.
    """
    _check_gamma(gamma)
    mean = widened(real).mean()
    return mean + (gamma * mean - widened(fake).mean()).abs()


def check_control(gamma: float, rate: float) -> None:
    """Raise ConfigError unless BEGAN's control can have these settings."""
    _check_gamma(gamma)
    _check_rate(rate)


def _check_gamma(gamma: float) -> None:
    if not (is_number(gamma) and 0.0 <= gamma <= 1.0):
        raise ConfigError(f"gamma must lie in [0, 1], got {gamma!r}")


def check_margin(margin: float) -> None:
    """Raise ConfigError unless EBGAN's margin can be this."""
    if not (is_number(margin) and 0.0 < margin < math.inf):
        raise ConfigError(f"margin must be finite and above 0, got {margin!r}")


def _check_rate(rate: float) -> None:
    if not (is_number(rate) and 0.0 < rate < math.inf):
        raise ConfigError(f"rate must be finite and above 0, got {rate!r}")
