"""Games on energies: D gives low energy to real images, such as an autoencoder's error.

EBGAN (Zhao et al., 2016, arXiv:1609.03126) and BEGAN (Berthelot et al., 2017, arXiv:1703.10717).
Energies are at least 0. All functions work on tensors of any floating-point dtype and return a 0-d
tensor, in float32 at least, differentiable with respect to every tensor unless said otherwise.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.losses.adversarial import AdversarialLoss
from gankit.losses.scores import widened

__all__ = [
    "began",
    "began_convergence",
    "began_discriminator_loss",
    "began_next_k",
    "ebgan",
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


def ebgan(
    margin: float = 1.0, *, pulling_away: float = 0.0, discriminator: nn.Module | None = None
) -> AdversarialLoss:
    """The game of EBGAN: :func:`energy_discriminator_loss`, :func:`energy_generator_loss`.

    With ``pulling_away`` above 0 it is EBGAN-PT: so many times :func:`pulling_away_term` of the
    codes of G's images is added to G's loss. The codes are what ``discriminator.encoder`` returns,
    kept by a forward hook on it.

    Args:
        margin: as for :func:`energy_discriminator_loss`.
        pulling_away: weight of the pulling-away term, finite and at least 0; the paper takes 0.1.
        discriminator: D; needed for the pulling-away term alone.

    Raises:
        ConfigError: a margin or weight that is not allowed, or no D with an ``encoder``.
    """
    check_margin(margin)
    if not (math.isfinite(pulling_away) and pulling_away >= 0):
        raise ConfigError(f"pulling_away must be finite and at least 0, got {pulling_away}")
    game = AdversarialLoss(
        "ebgan",
        partial(energy_discriminator_loss, margin=margin),
        energy_generator_loss,
        scores=True,
        energies=True,
    )
    if pulling_away == 0:
        return game
    encoder = getattr(discriminator, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ConfigError(
            f"pulling_away is {pulling_away}, which needs discriminator, a network with a module "
            f"'encoder'; got {type(discriminator).__name__}"
        )
    codes: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, code: Tensor) -> None:
        codes[:] = [code]

    def d_turn(real: Tensor, fake: Tensor) -> Tensor:
        codes.clear()  # or their graph would live on
        return energy_discriminator_loss(real, fake, margin=margin)

    def g_turn(fake: Tensor) -> Tensor:
        return energy_generator_loss(fake) + pulling_away * pulling_away_term(codes.pop())

    encoder.register_forward_hook(keep)
    return replace(game, discriminator=d_turn, generator=g_turn)


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

    It holds the balance ``mean(L(G(z))) = gamma mean(L(x))``. k is all that BEGAN remembers between
    steps: who saves a run saves it.

    Args:
        k: its value now, in [0, 1].
        real: errors of real images, of any shape.
        fake: errors of the images of G's turn.
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
    if not 0.0 <= gamma <= 1.0:
        raise ConfigError(f"gamma must lie in [0, 1], got {gamma}")


def check_margin(margin: float) -> None:
    """Raise ConfigError unless EBGAN's margin can be this."""
    if not (math.isfinite(margin) and margin > 0):
        raise ConfigError(f"margin must be finite and above 0, got {margin}")


def began(discriminator: nn.Module, *, gamma: float = 0.5, rate: float = 1e-3) -> AdversarialLoss:
    """The game of BEGAN, with its control.

    D gets buffers: ``began_k``, which each of G's turns changes as :func:`began_next_k` says,
    ``began_real``, the mean error of the latest real images, and ``began_measure``, what
    :func:`began_convergence` says of the latest turn. So a checkpoint of D keeps them, and a run
    goes on exactly. Where torch.distributed is initialised the means are those of all processes,
    which then keep one k. A batch is not taken in parts, each of which would move k.

    Args:
        discriminator: D, an autoencoder that returns errors.
        gamma, rate: as for :func:`began_next_k`.

    Raises:
        ConfigError: gamma or rate is not allowed.
    """
    _check_gamma(gamma)
    _check_rate(rate)
    like = next(discriminator.parameters(), torch.empty(0))
    for name in ("began_k", "began_real", "began_measure"):
        discriminator.register_buffer(name, torch.zeros((), device=like.device))
    return AdversarialLoss(
        "began",
        partial(_began_d_turn, discriminator),
        partial(_began_g_turn, discriminator, gamma, rate),
        scores=True,
        energies=True,
        in_parts=False,
    )


def _began_d_turn(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    with torch.no_grad():
        _buffer(discriminator, "began_real").copy_(_mean_of_all(real))
    # A copy, because G's turn writes into the buffer.
    return began_discriminator_loss(real, fake, _buffer(discriminator, "began_k").clone())


def _began_g_turn(discriminator: nn.Module, gamma: float, rate: float, fake: Tensor) -> Tensor:
    k, real = _buffer(discriminator, "began_k"), _buffer(discriminator, "began_real")
    with torch.no_grad():
        mean = _mean_of_all(fake)
        measure = began_convergence(real, mean, gamma=gamma)
        _buffer(discriminator, "began_measure").copy_(measure)
        k.copy_(began_next_k(k, real, mean, gamma=gamma, rate=rate))
    return energy_generator_loss(fake)


def _mean_of_all(errors: Tensor) -> Tensor:
    """Over all processes: with a k of its own each would play another game."""
    mean = widened(errors.detach()).mean()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(mean)
        mean /= dist.get_world_size()
    return mean


def _buffer(module: nn.Module, name: str) -> Tensor:
    buffer: Tensor = module.get_buffer(name)
    return buffer


def _check_rate(rate: float) -> None:
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"rate must be finite and above 0, got {rate}")
