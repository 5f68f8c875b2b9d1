"""Games on scores without bounds: least squares, hinge, and the relativistic ones.

D ends without a sigmoid. A relativistic D (Jolicoeur-Martineau, 2018, arXiv:1807.00734) says how
much more real one image looks than another; exchanging the two exchanges its answer, so both
players minimise the same function, the generator with real and generated images exchanged. That is
why the relativistic functions take ``(preferred, other)``: real and generated images for D,
generated and real ones for G.

All return a 0-d tensor, in float32 at least, and are differentiable twice where their formula is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.errors import DataError

__all__ = [
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "relativistic_average_hinge_loss",
    "relativistic_average_least_squares_loss",
    "relativistic_average_loss",
    "relativistic_loss",
]


def least_squares_discriminator_loss(
    real: Tensor, fake: Tensor, *, real_target: float = 1.0, fake_target: float = 0.0
) -> Tensor:
    """``mean((D(x) - b)^2) / 2 + mean((D(G(z)) - a)^2) / 2`` with b and a the two targets.

    Mao et al., 2016, arXiv:1611.04076; the defaults are its 0-1 coding.

    Args:
        real: D's scores of real images, floating point of any shape.
        fake: its scores of generated images.
        real_target: b.
        fake_target: a.
    """
    right = (widened(real) - real_target).square().mean()
    return (right + (widened(fake) - fake_target).square().mean()) / 2


def least_squares_generator_loss(fake: Tensor, *, target: float = 1.0) -> Tensor:
    """``mean((D(G(z)) - c)^2) / 2`` with c the target.

    It pulls towards the decision boundary those images too that D already takes for real by far
    (Mao et al., 2016, arXiv:1611.04076).

    Args:
        fake: D's scores of generated images, floating point of any shape.
        target: c, the score that G wants.
    """
    return (widened(fake) - target).square().mean() / 2


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """``mean(max(0, 1 - D(x))) + mean(max(0, 1 + D(G(z))))``.

    Scores beyond the margins add no gradient (Lim and Ye, 2017, arXiv:1705.02894).

    Args:
        real: D's scores of real images, floating point of any shape.
        fake: its scores of generated images.
    """
    return F.relu(1 - widened(real)).mean() + F.relu(1 + widened(fake)).mean()


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """``-mean(D(G(z)))``, without a margin (Lim and Ye, 2017, arXiv:1705.02894).

    Args:
        fake: D's scores of generated images, floating point of any shape.
    """
    return -widened(fake).mean()


def relativistic_loss(preferred: Tensor, other: Tensor) -> Tensor:
    """RSGAN: ``-mean(log sigmoid(C(preferred_i) - C(other_i)))``, image by image.

    Args:
        preferred: scores of the images that the player wants to look more real.
        other: scores of the images they are compared with, of the same shape.

    Raises:
        DataError: the shapes differ, so there are no pairs.
    """
    if preferred.shape != other.shape:
        raise DataError(
            "the relativistic loss compares images in pairs: its scores must have one shape, got "
            f"{list(preferred.shape)} and {list(other.shape)}"
        )
    return F.softplus(widened(other) - widened(preferred)).mean()


def relativistic_average_loss(preferred: Tensor, other: Tensor) -> Tensor:
    """RaSGAN: each image against the average of the other side.

    ``-mean(log sigmoid(C(preferred) - mean C(other)))
    - mean(log(1 - sigmoid(C(other) - mean C(preferred))))``.

    Args:
        preferred: scores of the images that the player wants to look more real, of any shape.
        other: scores of the images they are compared with; their number may differ.
    """
    up, down = _against_averages(preferred, other)
    return F.softplus(-up).mean() + F.softplus(down).mean()


def relativistic_average_least_squares_loss(preferred: Tensor, other: Tensor) -> Tensor:
    """RaLSGAN: ``mean((C(preferred) - mean C(other) - 1)^2)
    + mean((C(other) - mean C(preferred) + 1)^2)``.

    Args:
        preferred: scores of the images that the player wants to look more real, of any shape.
        other: scores of the images they are compared with; their number may differ.
    """
    up, down = _against_averages(preferred, other)
    return (up - 1).square().mean() + (down + 1).square().mean()


def relativistic_average_hinge_loss(preferred: Tensor, other: Tensor) -> Tensor:
    """RaHinge: ``mean(max(0, 1 - (C(preferred) - mean C(other))))
    + mean(max(0, 1 + (C(other) - mean C(preferred))))``.

    Args:
        preferred: scores of the images that the player wants to look more real, of any shape.
        other: scores of the images they are compared with; their number may differ.
    """
    up, down = _against_averages(preferred, other)
    return F.relu(1 - up).mean() + F.relu(1 + down).mean()


def widened(output: Tensor) -> Tensor:
    """``output`` in float32 where it is in half precision: losses are not summed in that."""
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def _against_averages(preferred: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    preferred, other = widened(preferred), widened(other)
    return preferred - other.mean(), other - preferred.mean()
