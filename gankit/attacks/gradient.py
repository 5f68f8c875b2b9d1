"""Adversarial examples by the gradient of the loss with respect to the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.attacks.bounds import Norm, check_eps, check_images, check_norm, within
from gankit.attacks.classifier import check_count, check_labels, logits_of, undisturbed
from gankit.errors import ConfigError
from gankit.scalars import is_integer

_Bounds = tuple[float, float]


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    targeted: bool = False,
    bounds: _Bounds = (0.0, 1.0),
    batch: int = 256,
) -> Tensor:
    """The fast gradient sign method (Goodfellow et al., 2014, arXiv:1412.6572).

    ``images + eps * sign(gradient of the cross entropy)``, or minus where ``targeted``.

    The model is in eval mode meanwhile and is left as it was: modes, ``requires_grad``, gradients,
    buffers, and the global random states. Its weights may be of any floating dtype; images are
    given to it in that dtype, and the loss is taken in float32 at least.

    Args:
        model: from images to logits ``[N, K]``.
        images: float32 or float64 ``[N, ...]`` within ``bounds``, on the model's device.
        labels: int64 ``[N]``: the true classes, or with ``targeted`` those that are wanted.
        eps: the largest change of a value.
        targeted: go toward ``labels``, not away from them.
        bounds: least and greatest value of an image.
        batch: images per pass.

    Returns:
        Images of the same shape and dtype, within ``bounds``, none of whose values differs by more
        than ``eps``, rounding included (:func:`gankit.attacks.project`).

    Raises:
        ConfigError: a number that is not allowed, or the logits do not depend on the images by
            differentiable operations.
        DataError: images or labels of another type or shape or out of range, or the model does not
            return finite logits.
    """
    eps = check_eps(eps)

    def attack(part: Tensor, classes: Tensor) -> Tensor:
        gradient = _gradient(model, part, classes, targeted)
        return within(part, part + eps * gradient.sign(), eps, "linf", bounds)

    return _in_batches(attack, model, images, labels, bounds, batch)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    steps: int = 40,
    step_size: float | None = None,
    random_start: bool = True,
    restarts: int = 1,
    targeted: bool = False,
    seed: int | torch.Generator = 0,
    bounds: _Bounds = (0.0, 1.0),
    batch: int = 256,
) -> Tensor:
    """Projected gradient descent (Madry et al., 2017, arXiv:1706.06083).

    Each step goes along the sign of the gradient (``"linf"``) or the gradient divided by its norm
    (``"l2"``), and back to within ``eps``. What happens to the model, and ``images``, ``labels``,
    ``targeted``, ``bounds``, ``batch`` and the errors are as for :func:`fgsm`.

    Args:
        eps: the largest change: of a value (``"linf"``), or the Euclidean norm of that of an image
            (``"l2"``).
        norm: ``"linf"`` or ``"l2"``.
        steps: from 1.
        step_size: length of a step; by default ``2.5 * eps / steps``, so that every point can be
            reached from any other.
        random_start: begin at a point drawn uniformly within ``eps``, not at the image.
        restarts: how many times it is tried, with starts of their own. Of each image the try is
            kept that the model gets wrong, and among such the one with the greatest loss (with
            ``targeted``: takes for the target, the least loss).
        seed: decides the starts; a ``torch.Generator`` of the CPU gives others at each call.
    """
    eps, steps, restarts = (
        check_eps(eps),
        check_count("steps", steps),
        check_count("restarts", restarts),
    )
    check_norm(norm)
    step = 2.5 * eps / steps if step_size is None else check_eps(step_size, "step_size")
    if restarts > 1 and not random_start:
        raise ConfigError(
            f"restarts is {restarts} without a random start, and all would be alike; allowed is 1"
        )
    if not isinstance(seed, torch.Generator) and not is_integer(seed):
        raise ConfigError(f"seed is {seed!r}; allowed are integers and a torch.Generator")
    random = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(int(seed))

    def once(part: Tensor, classes: Tensor) -> Tensor:
        moved = _start(part, eps, norm, random) if random_start else part
        current = within(part, moved, eps, norm, bounds)
        for _ in range(steps):
            gradient = _gradient(model, current, classes, targeted)
            if norm == "linf":
                direction = gradient.sign()
            else:
                # The least norm keeps an image without a gradient where it is.
                direction = gradient / _lengths(gradient).clamp_min(
                    torch.finfo(gradient.dtype).tiny
                )
            current = within(part, current + step * direction, eps, norm, bounds)
        return current

    def attack(part: Tensor, classes: Tensor) -> Tensor:
        best = once(part, classes)
        if restarts == 1:
            return best
        reached, loss = _outcome(model, best, classes, targeted)
        for _ in range(restarts - 1):
            other = once(part, classes)
            again, other_loss = _outcome(model, other, classes, targeted)
            better = (again & ~reached) | ((again == reached) & (other_loss > loss))
            best = torch.where(better.view(-1, *[1] * (part.dim() - 1)), other, best)
            reached, loss = (
                torch.where(better, again, reached),
                torch.where(better, other_loss, loss),
            )
        return best

    return _in_batches(attack, model, images, labels, bounds, batch)


def _in_batches(
    attack: Callable[[Tensor, Tensor], Tensor],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    bounds: _Bounds,
    batch: int,
) -> Tensor:
    check_images(images, bounds)
    check_labels(labels, images)
    parts = check_count("batch", batch)
    # A caller's inference mode would leave no graph to differentiate.
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(model, images.device):
        given, classes = images.detach().clone(), labels.to(images.device, copy=True)
        found = [
            attack(part, classes_of_part)
            for part, classes_of_part in zip(given.split(parts), classes.split(parts), strict=True)
            if len(part)
        ]
    return torch.cat(found) if found else images.clone()


def _losses(
    model: nn.Module, images: Tensor, labels: Tensor, targeted: bool
) -> tuple[Tensor, Tensor]:
    """What the attack makes greater, ``[N]``, and the logits."""
    logits = logits_of(model, images)
    check_labels(labels, images, logits.shape[1])
    loss = F.cross_entropy(logits, labels, reduction="none")
    return -loss if targeted else loss, logits


def _gradient(model: nn.Module, images: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    point = images.detach().requires_grad_()
    loss, _ = _losses(model, point, labels, targeted)
    gradient = None
    if loss.requires_grad:
        # The sum, so that an image's gradient does not depend on the others.
        (gradient,) = torch.autograd.grad(loss.sum(), point, allow_unused=True)
    if gradient is None:
        raise ConfigError(
            "model gives no gradient for its images; expected logits that depend on them by "
            "differentiable operations"
        )
    return gradient


@torch.no_grad()
def _outcome(
    model: nn.Module, images: Tensor, labels: Tensor, targeted: bool
) -> tuple[Tensor, Tensor]:
    loss, logits = _losses(model, images, labels, targeted)
    return (logits.argmax(dim=1) == labels) == targeted, loss


def _start(images: Tensor, eps: float, norm: Norm, random: torch.Generator) -> Tensor:
    """A point drawn uniformly from the ball around each image, on the CPU for every device."""
    if norm == "linf":
        noise = torch.rand(images.shape, generator=random, dtype=images.dtype) * 2 - 1
        return images + eps * noise.to(images.device)
    noise = torch.randn(images.shape, generator=random, dtype=images.dtype)
    radius = torch.rand(len(images), generator=random, dtype=images.dtype)
    radius = radius.pow(1 / images[0].numel()).view(-1, *[1] * (images.dim() - 1))
    return images + (eps * radius * noise / _lengths(noise)).to(images.device)


def _lengths(values: Tensor) -> Tensor:
    """The Euclidean norm of each row, ``[N, 1, ...]``."""
    return values.flatten(1).norm(dim=1).view(-1, *[1] * (values.dim() - 1))
