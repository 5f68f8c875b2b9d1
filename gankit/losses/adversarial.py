"""The adversarial losses of Goodfellow et al. (2014) and of Arjovsky et al. (2017).

In the first (arXiv:1406.2661) the discriminator D minimizes the cross entropies
H(p_data, D) + H(p_g, 1 - D); the generator is trained against it. ``from_logits=True`` takes D's
output before the sigmoid and stays exact where the sigmoid would round to 0 or 1;
``from_logits=False`` takes probabilities and, as ``torch.nn.BCELoss`` does, clamps the logarithm at
-100.

In the second (Wasserstein GAN, arXiv:1701.07875) D is a critic, whose output is a score without
bounds: the difference of its means over real and generated images estimates a distance between the
two distributions, as long as the critic is kept Lipschitz (by clipping its weights or by a gradient
penalty). More losses on scores stand in :mod:`gankit.losses.scores`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.errors import ConfigError
from gankit.losses import scores
from gankit.losses.scores import widened
from gankit.ops import bce_label_smoothing, gan_bce

__all__ = [
    "AdversarialLoss",
    "bce_discriminator_loss",
    "minimax_generator_loss",
    "non_saturating_generator_loss",
    "resolve",
    "wasserstein_discriminator_loss",
    "wasserstein_generator_loss",
]


@dataclass(frozen=True)
class AdversarialLoss:
    """The two sides of one adversarial loss.

    Args:
        name: what reports call it.
        discriminator: ``(D(real), D(fake)) -> 0-d Tensor``, to be minimized by D.
        generator: ``D(fake) -> 0-d Tensor``, to be minimized by G; with ``relativistic``
            ``(D(fake), D(real)) -> 0-d Tensor``.
        scores: D's output is a score, not a probability or its logit: a critic's.
        energies: these scores are energies, low for real images.
        relativistic: G's loss compares D's output on generated images with that on real ones.
        boundary: D's output where it is undecided: above it D takes an image for real, below it for
            generated. None if there is no such value, as for a Wasserstein critic.
    """

    name: str
    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[..., Tensor]
    scores: bool = False
    energies: bool = False
    relativistic: bool = False
    boundary: float | None = None

    @classmethod
    def of(cls, functions: Functions) -> AdversarialLoss:
        """Of plain functions of D's output, which counts as a score.

        Args:
            functions: ``(discriminator, generator)``, or D's function alone with G's as its
                attribute ``generator``. D's is ``loss(real, fake)``; G's is ``loss(fake)``, or
                ``loss(fake, real)`` of a relativistic loss. Both return a 0-d tensor.

        Raises:
            ConfigError: anything else, such as a function of another number of arguments.
        """
        pair: Any = functions
        if callable(functions):
            pair = functions, getattr(functions, "generator", None)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(callable, pair)):
            raise ConfigError(
                f"loss is {functions!r}; expected a name, an AdversarialLoss, a pair of functions "
                "(loss of real and fake for D, loss of fake for G), or a function of real and fake "
                "with G's as its attribute generator"
            )
        discriminator, generator = pair
        counts = [_takes(discriminator, 2), _takes(generator, 1), _takes(generator, 2)]
        if not counts[0] or not (counts[1] or counts[2]):
            which, what = ("G", "fake, or fake and real") if counts[0] else ("D", "real and fake")
            raise ConfigError(
                f"{which}'s function of the loss, {_name(pair[which == 'G'])}, takes another "
                f"number of arguments; expected a function of {what}"
            )
        return cls(
            _name(discriminator),
            discriminator,
            generator,
            scores=True,
            relativistic=not counts[1],
        )


Functions = (
    Callable[[Tensor, Tensor], Tensor]
    | tuple[Callable[[Tensor, Tensor], Tensor], Callable[..., Tensor]]
)


def _takes(function: Callable[..., Tensor], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # some builtins have no signature
        return True
    return True


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def bce_discriminator_loss(
    real: Tensor,
    fake: Tensor,
    *,
    from_logits: bool = True,
    real_label: float = 1.0,
    fake_label: float = 0.0,
    reduction: str = "sum",
) -> Tensor:
    """Binary cross entropy of D on real and generated images.

    With labels 1 and 0: ``-mean(log D(x)) - mean(log(1 - D(G(z))))``. In general each half is
    ``-mean(t log D + (1 - t) log(1 - D))`` with t its label. ``real_label=0.9`` is one-sided label
    smoothing (Salimans et al., 2016, arXiv:1606.03498).

    Args:
        real: D's output on real images, floating point of any shape.
        fake: D's output on generated images.
        from_logits: the outputs are logits; else probabilities in [0, 1].
        real_label: target of the real half, 0 to 1.
        fake_label: target of the generated half, 0 to 1.
        reduction: ``"sum"`` adds the means of the two halves; ``"mean"`` is one mean over both, as
            training on one concatenated batch gives: half of it for halves of equal size.

    Returns:
        0-d tensor.

    Raises:
        ConfigError: a label outside [0, 1] or an unknown reduction.
    """
    if reduction in ("sum", "mean") and _fuse(real, fake):
        _check_label("label", real_label)
        _check_label("label", fake_label)
        return gan_bce(
            widened(real),
            widened(fake),
            real_label=real_label,
            fake_label=fake_label,
            from_logits=from_logits,
            reduction=reduction,
        )
    if reduction == "sum":
        return _cross_entropy(real, real_label, from_logits) + _cross_entropy(
            fake, fake_label, from_logits
        )
    if reduction == "mean":
        total = _cross_entropy(real, real_label, from_logits, "sum") + _cross_entropy(
            fake, fake_label, from_logits, "sum"
        )
        return total / (real.numel() + fake.numel())
    raise ConfigError(f"reduction must be 'sum' or 'mean', got {reduction!r}")


def non_saturating_generator_loss(
    fake: Tensor, *, from_logits: bool = True, real_label: float = 1.0
) -> Tensor:
    """``-mean(log D(G(z)))``: G raises the probability that D is wrong.

    Its gradient stays large where D rejects the images with certainty (Goodfellow et al., 2014,
    section 3).

    Args:
        fake: D's output on generated images, floating point of any shape.
        from_logits: the output is logits; else probabilities in [0, 1].
        real_label: what G wants D to answer, 0 to 1.

    Returns:
        0-d tensor.

    Raises:
        ConfigError: a label outside [0, 1].
    """
    return _cross_entropy(fake, real_label, from_logits)


def minimax_generator_loss(fake: Tensor, *, from_logits: bool = True) -> Tensor:
    """``mean(log(1 - D(G(z))))``: G minimises exactly what D maximises.

    The value is at most 0 and its gradient vanishes where D rejects the images with certainty
    (Goodfellow et al., 2014, equation 1).

    Args:
        fake: D's output on generated images, floating point of any shape.
        from_logits: the output is logits; else probabilities in [0, 1].

    Returns:
        0-d tensor.
    """
    return -_cross_entropy(fake, 0.0, from_logits)


def wasserstein_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """``mean(D(G(z))) - mean(D(x))``: minus the critic's estimate of the distance.

    Arjovsky et al., 2017, arXiv:1701.07875, algorithm 1.

    Args:
        real: the critic's scores of real images, floating point of any shape.
        fake: its scores of generated images.

    Returns:
        0-d tensor, in float32 at least.
    """
    return widened(fake).mean() - widened(real).mean()


def wasserstein_generator_loss(fake: Tensor) -> Tensor:
    """``-mean(D(G(z)))``: G raises the critic's score of its images.

    Args:
        fake: the critic's scores of generated images, floating point of any shape.

    Returns:
        0-d tensor, in float32 at least.
    """
    return -widened(fake).mean()


def least_squares(
    real_target: float = 1.0, fake_target: float = 0.0, target: float = 1.0
) -> AdversarialLoss:
    """The loss of LSGAN with its three targets b, a and c (Mao et al., 2016, arXiv:1611.04076).

    With ``(1, -1, 0)`` and the best D, G minimizes a Pearson chi-square divergence; the defaults
    are the paper's 0-1 coding.

    Args:
        real_target, fake_target: as for ``least_squares_discriminator_loss``, finite.
        target: as for ``least_squares_generator_loss``, finite.

    Raises:
        ConfigError: a target that is not finite.
    """
    targets = {"real_target": real_target, "fake_target": fake_target, "target": target}
    for name, value in targets.items():
        if not math.isfinite(value):
            raise ConfigError(f"{name} must be finite, got {value}")
    return AdversarialLoss(
        "least-squares",
        partial(
            scores.least_squares_discriminator_loss,
            real_target=real_target,
            fake_target=fake_target,
        ),
        partial(scores.least_squares_generator_loss, target=target),
        scores=True,
        boundary=(real_target + fake_target) / 2 if real_target > fake_target else None,
    )


def resolve(
    loss: str | AdversarialLoss | Functions,
    *,
    from_logits: bool,
    real_label: float = 1.0,
    fake_label: float = 0.0,
    reduction: str = "sum",
) -> AdversarialLoss:
    """The loss of that name, bound to its settings, or of functions; an :class:`AdversarialLoss`
    passes through.

    The labels smooth D's targets alone: G's target stays 1.

    Args:
        loss: ``"non-saturating"`` or ``"minimax"``; for scores ``"wasserstein"``,
            ``"least-squares"``, ``"hinge"``, ``"relativistic"``, ``"relativistic-average"``,
            ``"relativistic-average-least-squares"``, ``"relativistic-average-hinge"``; or functions
            as :meth:`AdversarialLoss.of` takes them.
        from_logits, real_label, fake_label, reduction: as for :func:`bce_discriminator_loss`.

    Raises:
        ConfigError: unknown name, a setting that is not allowed, labels given beside a loss that
            does not use them, or a loss on scores for probabilities.
    """
    if not isinstance(loss, str):
        loss = loss if isinstance(loss, AdversarialLoss) else AdversarialLoss.of(loss)
        if (real_label, fake_label, reduction) != (1.0, 0.0, "sum"):
            raise ConfigError(
                f"real_label, fake_label and reduction do not apply to your own loss "
                f"{loss.name!r}, put them into its functions"
            )
        return loss
    _check_label("real_label", real_label)
    _check_label("fake_label", fake_label)
    if reduction not in ("sum", "mean"):
        raise ConfigError(f"reduction must be 'sum' or 'mean', got {reduction!r}")
    generators: dict[str, Callable[..., Tensor]] = {
        "non-saturating": non_saturating_generator_loss,
        "minimax": minimax_generator_loss,
    }
    if loss in _ON_SCORES:
        labels_given = (real_label, fake_label, reduction) != (1.0, 0.0, "sum")
        return _on_scores(loss, from_logits, labels_given)
    if loss not in generators:
        names = sorted([*generators, *_ON_SCORES])
        raise ConfigError(
            f"unknown loss {loss!r}, allowed are {', '.join(names)}, and an AdversarialLoss, such "
            "as gankit.losses.least_squares returns"
        )
    return AdversarialLoss(
        name=loss,
        discriminator=partial(
            bce_discriminator_loss,
            from_logits=from_logits,
            real_label=real_label,
            fake_label=fake_label,
            reduction=reduction,
        ),
        generator=partial(generators[loss], from_logits=from_logits),
        boundary=0.0 if from_logits else 0.5,
    )


def _on_scores(loss: str, from_logits: bool, labels_given: bool) -> AdversarialLoss:
    if not from_logits:
        raise ConfigError(
            f"the loss {loss!r} needs a critic's scores, got probabilities; leave out the sigmoid "
            "at the end of D (output='logit')"
        )
    if labels_given:
        raise ConfigError(f"real_label, fake_label and reduction do not apply to the loss {loss!r}")
    return _ON_SCORES[loss]


def _relativistic(name: str, loss: Callable[[Tensor, Tensor], Tensor]) -> AdversarialLoss:
    # Both sides minimize one function, with the two sides exchanged.
    return AdversarialLoss(name, loss, loss, scores=True, relativistic=True)


_ON_SCORES = {
    loss.name: loss
    for loss in (
        AdversarialLoss(
            "wasserstein",
            wasserstein_discriminator_loss,
            wasserstein_generator_loss,
            scores=True,
        ),
        least_squares(),
        AdversarialLoss(
            "hinge",
            scores.hinge_discriminator_loss,
            scores.hinge_generator_loss,
            scores=True,
            boundary=0.0,
        ),
        _relativistic("relativistic", scores.relativistic_loss),
        _relativistic("relativistic-average", scores.relativistic_average_loss),
        _relativistic(
            "relativistic-average-least-squares", scores.relativistic_average_least_squares_loss
        ),
        _relativistic("relativistic-average-hinge", scores.relativistic_average_hinge_loss),
    )
}


def _cross_entropy(
    output: Tensor, label: float, from_logits: bool, reduction: str = "mean"
) -> Tensor:
    _check_label("label", label)
    output = widened(output)
    if _fuse(output):
        return bce_label_smoothing(output, label, from_logits=from_logits, reduction=reduction)
    target = torch.full_like(output, label)
    if from_logits:
        return F.binary_cross_entropy_with_logits(output, target, reduction=reduction)
    return F.binary_cross_entropy(output, target, reduction=reduction)


def _fuse(*outputs: Tensor) -> bool:
    """Whether to use the fused losses: one launch each way instead of several.

    Not on the CPU, where a batch's loss is nothing beside D itself, and torch's own functions give
    the tutorial's loss bit for bit.
    """
    return all(output.is_cuda for output in outputs)


def _check_label(name: str, label: float) -> None:
    if not 0.0 <= label <= 1.0:
        raise ConfigError(f"{name} must lie in [0, 1], got {label}")
