"""What autoencoders minimise: the error of what comes back, and for a variational one the ELBO.

Images and what the decoder returns lie in [-1, 1], as everywhere in gankit. All functions take any
floating-point dtype, compute in float32 at least and are differentiable twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from gankit.errors import ConfigError, DataError
from gankit.losses.scores import widened

__all__ = [
    "AutoencoderLoss",
    "bernoulli_nats",
    "elbo",
    "gaussian_nats",
    "kl_to_standard_normal",
    "resolve_autoencoder",
    "squared_error",
]


@dataclass(frozen=True)
class AutoencoderLoss:
    """What encoder and decoder minimise together.

    Args:
        name: what reports call it.
        reconstruction: ``(decoded, images) -> [N]``, the error of each image.
        variational: the encoder returns means and logarithms of variances, ``[N, 2 z_dim]``, codes
            are drawn, and ``beta`` times the divergence from N(0, 1) is added; else it returns the
            codes themselves, ``[N, z_dim]``.
        beta: weight of the divergence, finite and at least 0. At 1 the sum is minus the ELBO; more
            is the beta-VAE of Higgins et al., 2017.

    Raises:
        ConfigError: beta is not allowed.
    """

    name: str
    reconstruction: Callable[[Tensor, Tensor], Tensor]
    variational: bool = False
    beta: float = 1.0
    # Nobody answers with a probability here: what AdversarialLoss says of a critic.
    scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ConfigError(f"beta must be finite and at least 0, got {self.beta}")


def squared_error(decoded: Tensor, images: Tensor) -> Tensor:
    """``mean((decoded - images)^2)`` of each image, ``[N]``.

    Args:
        decoded: what the decoder returned, ``[N, ...]``.
        images: what it should be, of the same shape.

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(decoded, images)
    return (widened(decoded) - widened(images)).square().flatten(1).mean(dim=1)


def bernoulli_nats(decoded: Tensor, images: Tensor) -> Tensor:
    """Cross entropy of each image in nats, ``[N]``: a pixel is a probability of white.

    ``-sum(t log p + (1 - t) log(1 - p))`` with t and p the pixels brought into [0, 1] (Kingma and
    Welling, 2013, arXiv:1312.6114, appendix C.1). For grey pixels it is above 0 even where
    ``decoded`` is the image itself, and it is no normalised density. The logarithms are clamped at
    -100, and a decoder whose tanh has rounded to -1 or 1 (from 9 on in float32, 4 in bfloat16) gets
    no gradient at that pixel, be it wrong.

    Args:
        decoded: what the decoder returned, ``[N, ...]`` in [-1, 1].
        images: what it should be, of the same shape, in [-1, 1].

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(decoded, images)
    p, t = (widened(decoded) + 1) / 2, (widened(images) + 1) / 2
    # Rounding may carry tanh's 1 a little further, which the cross entropy refuses.
    nats = F.binary_cross_entropy(p.clamp(0, 1), t.clamp(0, 1), reduction="none")
    return nats.flatten(1).sum(dim=1)


def gaussian_nats(decoded: Tensor, images: Tensor, *, std: float = 0.2) -> Tensor:
    """``sum((decoded - images)^2 / (2 std^2) + log(std) + log(2 pi) / 2)`` of each image, ``[N]``.

    Minus the logarithm of the density of N(decoded, std^2) at the image.

    Args:
        decoded: what the decoder returned, ``[N, ...]``.
        images: what it should be, of the same shape.
        std: standard deviation of a pixel, finite and above 0.

    Raises:
        DataError: the shapes differ.
        ConfigError: std is not allowed.
    """
    _check_shapes(decoded, images)
    if not (math.isfinite(std) and std > 0):
        raise ConfigError(f"std must be finite and above 0, got {std}")
    squares = (widened(decoded) - widened(images)).square().flatten(1)
    constant = math.log(std) + 0.5 * math.log(2 * math.pi)
    return squares.sum(dim=1) / (2 * std**2) + constant * squares.shape[1]


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """``sum(exp(log_variance) + mean^2 - 1 - log_variance) / 2`` of each code in nats, ``[N]``.

    The divergence of N(mean, variance) from N(0, 1) (Kingma and Welling, 2013, arXiv:1312.6114,
    appendix B).

    Args:
        mean: ``[N, z_dim]``.
        log_variance: of the same shape.

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(mean, log_variance)
    mean, log_variance = widened(mean), widened(log_variance)
    # expm1 keeps the digits that exp(v) - 1 loses near v = 0.
    terms = log_variance.expm1() - log_variance + mean.square()
    return terms.flatten(1).sum(dim=1) / 2


def elbo(
    *, likelihood: str = "bernoulli", beta: float = 1.0, std: float | None = None
) -> AutoencoderLoss:
    """Minus the evidence lower bound of a VAE: reconstruction plus ``beta`` times divergence.

    Args:
        likelihood: ``"bernoulli"`` (:func:`bernoulli_nats`) or ``"gaussian"``
            (:func:`gaussian_nats`).
        beta: as for :class:`AutoencoderLoss`.
        std: of the gaussian likelihood; None is 0.2.

    Raises:
        ConfigError: a setting is not allowed.
    """
    if likelihood == "bernoulli":
        if std is not None:
            raise ConfigError(f"std is {std}, but the likelihood 'bernoulli' has none")
        return AutoencoderLoss("elbo", bernoulli_nats, variational=True, beta=beta)
    if likelihood == "gaussian":
        nats = partial(gaussian_nats, std=0.2 if std is None else std)
        return AutoencoderLoss("elbo", nats, variational=True, beta=beta)
    raise ConfigError(f"likelihood must be 'bernoulli' or 'gaussian', got {likelihood!r}")


def resolve_autoencoder(loss: str | AutoencoderLoss) -> AutoencoderLoss:
    """The loss of that name, ``"squared-error"`` or ``"elbo"``; an AutoencoderLoss passes through.

    Raises:
        ConfigError: unknown name.
    """
    if isinstance(loss, AutoencoderLoss):
        return loss
    if loss == "squared-error":
        return AutoencoderLoss(loss, squared_error)
    if loss == "elbo":
        return elbo()
    raise ConfigError(f"unknown autoencoder loss {loss!r}, allowed are elbo, squared-error")


def _check_shapes(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim < 2:
        raise DataError(
            f"both must have one shape [N, ...], got {list(a.shape)} and {list(b.shape)}"
        )
