"""The discriminator's binary cross entropy on real and generated samples in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..autograd import Differentiable
from ..bce_label_smoothing import (
    _MODES,
    check_input,
    check_label,
    widened,
)
from ..bce_label_smoothing import (
    _backward as _half_backward,
)
from ..bce_label_smoothing import (
    reference as bce,
)
from . import spec

__all__ = ["gan_bce"]


def _weights(real: torch.Tensor, fake: torch.Tensor, joint: bool) -> tuple[float, float]:
    """What the sum over each half is multiplied by; empty halves have no gradient to scale."""
    both = max(real.numel() + fake.numel(), 1)
    return (1 / both, 1 / both) if joint else (1 / max(real.numel(), 1), 1 / max(fake.numel(), 1))


def _gradient(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    real, fake = saved
    real_label, fake_label, from_logits, joint = rest
    if needs[0] and needs[1]:
        return tuple(_backward(grad, real, fake, *rest))
    # One half alone is the gradient of a plain bce.
    reduction = bce.SUM if joint else bce.MEAN
    share = grad * _weights(real, fake, joint)[0] if joint else grad
    found: list[torch.Tensor | None] = [None, None]
    for i, label in enumerate((real_label, fake_label)):
        if needs[i]:
            found[i] = _half_backward(share, saved[i], None, 0.0, label, from_logits, reduction)
    return tuple(found)


def _second_gradient(
    needs: Sequence[bool], grads: Any, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    """Of ``backward``: ``grads`` belong to dL/dreal and dL/dfake, ``outer`` is dL/dloss."""
    outer, *halves = saved
    real_label, fake_label, from_logits, joint = rest
    found: list[torch.Tensor | None] = [None, None, None]
    by_outer = torch.zeros_like(bce.compute(outer))
    weights = _weights(halves[0], halves[1], joint)
    for i, (x, label) in enumerate(zip(halves, (real_label, fake_label), strict=True)):
        if grads[i] is None:
            continue
        share = bce.compute(grads[i]) * weights[i]
        if needs[0]:
            slope = bce.slopes(x, None, 0.0, label, from_logits)
            by_outer = by_outer + (share * slope).sum()
        if needs[i + 1]:
            curvature = bce.curvatures(x, None, 0.0, label, from_logits)
            found[i + 1] = (share * bce.compute(outer) * curvature).to(x.dtype)
    if needs[0]:
        found[0] = by_outer.to(outer.dtype)
    return tuple(found)


_backward: Differentiable = Differentiable(
    spec.BACKWARD,
    tensors=3,
    save=lambda inputs, output: (inputs[0], inputs[1], inputs[2]),
    gradient=_second_gradient,
)
_forward = Differentiable(
    spec.FORWARD,
    tensors=2,
    save=lambda inputs, output: (inputs[0], inputs[1]),
    gradient=_gradient,
)


def gan_bce(
    real: torch.Tensor,
    fake: torch.Tensor,
    *,
    real_label: float = 1.0,
    fake_label: float = 0.0,
    smoothing: float = 0.0,
    mode: str = "one-sided",
    from_logits: bool = True,
    reduction: str = "sum",
) -> torch.Tensor:
    r"""The discriminator's loss of Goodfellow et al. (2014, arXiv:1406.2661) in one launch.

    ``bce_label_smoothing(real, real_label) + bce_label_smoothing(fake, fake_label)``, or one mean
    over both halves; see :func:`gankit.ops.bce_label_smoothing` for the formulas, their accuracy
    and the order of the sums. Differentiable twice in reverse mode, with respect to ``real`` and
    ``fake``, of which only those that need it get a gradient; there is no forward-mode derivative.

    Args:
        real: D's output on real samples, any shape and strides, float32, bfloat16, float16 or
            float64. Under autocast, halves are computed in float32.
        fake: D's output on generated samples: ``real``'s dtype and device, any shape.
        real_label: target of the real half; in [0, 1] for probabilities.
        fake_label: target of the generated half; likewise.
        smoothing: e, in [0, 1): a label t becomes t(1 - e), or t(1 - e) + e/2.
        mode: ``"one-sided"`` or ``"two-sided"`` smoothing.
        from_logits: whether the outputs are logits, else probabilities in [0, 1].
        reduction: ``"sum"`` adds the means of the halves; ``"mean"`` is one mean over all elements
            of both, as one concatenated batch gives. A mean of nothing is NaN.

    Returns:
        0-d tensor of ``real``'s dtype.

    Raises:
        TypeError: ``real`` or ``fake`` of a wrong type or dtype.
        ValueError: devices differ, or an argument out of range; the message names it.
        RuntimeError: a probability outside [0, 1] on the CPU. On other devices the loss is NaN.
    """
    check_input("real", real)
    check_input("fake", fake)
    if real.dtype != fake.dtype:
        raise TypeError(f"fake: expected real's dtype {real.dtype}, got {fake.dtype}")
    if real.device != fake.device:
        raise ValueError(
            f"fake: expected a tensor on real's device {real.device}, got {fake.device}"
        )
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing: expected a number in [0, 1), got {smoothing}")
    if mode not in _MODES:
        raise ValueError(f"mode: expected 'one-sided' or 'two-sided', got {mode!r}")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction: expected 'sum' or 'mean', got {reduction!r}")
    scale = 1.0 - smoothing
    shift = smoothing / 2 if mode == "two-sided" else 0.0
    real_label = check_label("real_label", real_label, from_logits) * scale + shift
    fake_label = check_label("fake_label", fake_label, from_logits) * scale + shift
    joint = reduction == "mean"
    return _forward(widened(real), widened(fake), real_label, fake_label, from_logits, joint)
