"""Binary cross entropy with smoothed labels in one pass, forward and backward."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..autograd import Differentiable
from . import reference, spec

__all__ = ["bce_label_smoothing"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_REDUCTIONS = {"none": reference.NONE, "mean": reference.MEAN, "sum": reference.SUM}
_MODES = ("one-sided", "two-sided")


def _refuse_target_gradient(needed: bool) -> None:
    if needed:
        raise RuntimeError(
            "gankit::bce_label_smoothing has no derivative with respect to target; "
            "gankit.ops.bce_label_smoothing has"
        )


def _gradient(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    _refuse_target_gradient(needs[1])
    return (_backward(grad, *saved, *rest) if needs[0] else None, None)


def _second_gradient(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    """Of ``backward``: ``grad`` belongs to dL/dinput, ``outer`` is dL/dloss."""
    outer, x, target = saved
    *labels, reduction = rest
    _refuse_target_gradient(needs[2])
    wide = reference.compute(grad)
    by_outer = by_input = None
    if needs[0]:
        slope = wide * reference.slopes(x, target, *labels)
        by_outer = reference.reduced(slope, reduction).to(outer.dtype)
    if needs[1]:
        share = reference.compute(outer)
        if reduction == reference.MEAN:
            share = share / max(x.numel(), 1)
        by_input = (wide * share * reference.curvatures(x, target, *labels)).to(x.dtype)
    return by_outer, by_input, None


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


def bce_label_smoothing(
    input: torch.Tensor,
    target: torch.Tensor | bool | float,
    *,
    smoothing: float = 0.0,
    mode: str = "one-sided",
    from_logits: bool = True,
    reduction: str = "mean",
    weight: torch.Tensor | None = None,
    pos_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Binary cross entropy against smoothed labels, in one pass each way.

    The label of a target t is t(1 - e) with one-sided smoothing e (Salimans et al., 2016,
    arXiv:1606.03498: no label of a generated sample rises, so D learns nothing that draws samples
    to where it already errs), or t(1 - e) + e/2 with two-sided smoothing (Szegedy et al., 2016,
    arXiv:1512.00567).

    Logits: exact in the tails, no sigmoid is rounded. Probabilities: as
    ``torch.nn.functional.binary_cross_entropy``, each logarithm is clamped at -100 and the slope's
    denominator at 1e-12. Sums are taken in an order that depends on the size alone, in float32 or
    wider: the same bits whatever the number of threads. Differentiable twice in reverse mode, with
    respect to ``input``; saves ``input`` and ``target`` alone. There is no forward-mode derivative.

    ``weight``, ``pos_weight`` and a target that requires grad are passed, with the smoothed labels,
    to torch's own function.

    Args:
        input: any shape and strides, float32, bfloat16, float16 or float64; logits, or
            probabilities in [0, 1]. Under autocast, halves are computed in float32.
        target: a tensor of ``input``'s shape, bool or ``input``'s dtype (with logits also another
            floating dtype: both are then promoted); or one bool or float for all elements, for
            which nothing is allocated. Meant to lie in [0, 1].
        smoothing: e, in [0, 1).
        mode: ``"one-sided"`` or ``"two-sided"``.
        from_logits: whether ``input`` holds logits, else probabilities.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. The mean of nothing is NaN.
        weight: as for torch's function: rescales each loss, broadcast to ``input``.
        pos_weight: as for ``binary_cross_entropy_with_logits``: weight of the positive term;
            with logits only.

    Returns:
        A tensor of ``input``'s dtype: 0-d, or for ``"none"`` with the shape and strides of
        ``torch.empty_like(input)``.

    Raises:
        TypeError: ``input`` or ``target`` of a wrong type or dtype.
        ValueError: shapes differ, or an argument out of range; the message names it.
        RuntimeError: a probability, or a target beside one, outside [0, 1], on the CPU. On other
            devices the loss is NaN instead: an error would have to wait for the device.
    """
    check_input("input", input)
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing: expected a number in [0, 1), got {smoothing}")
    if mode not in _MODES:
        raise ValueError(f"mode: expected 'one-sided' or 'two-sided', got {mode!r}")
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")
    if pos_weight is not None and not from_logits:
        raise ValueError("pos_weight: expected None for probabilities (from_logits=False)")
    scale = 1.0 - smoothing
    shift = smoothing / 2 if mode == "two-sided" else 0.0
    input = widened(input)
    labels: torch.Tensor | None = None
    if isinstance(target, torch.Tensor):
        input, labels = _check_target(input, target, from_logits)
    else:
        shift += check_label("target", target, from_logits) * scale
        scale = 0.0
    if (
        weight is not None
        or pos_weight is not None
        or (labels is not None and labels.requires_grad)
    ):
        return _torch_loss(input, labels, scale, shift, from_logits, reduction, weight, pos_weight)
    return _forward(input, labels, scale, shift, from_logits, _REDUCTIONS[reduction])


def check_input(name: str, x: torch.Tensor) -> None:
    """Raises TypeError unless ``x`` is a tensor of a dtype that the kernels take."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    if x.dtype not in _DTYPES:
        raise TypeError(
            f"{name}: expected dtype float32, bfloat16, float16 or float64, got {x.dtype}"
        )


def check_label(name: str, label: bool | float, from_logits: bool) -> float:
    """The label as a float; raises unless it is a number, within [0, 1] for probabilities."""
    # NumPy's numbers derive from none of Python's.
    if not isinstance(label, (bool, int, float)) and not isinstance(label, numbers.Real):
        raise TypeError(f"{name}: expected a tensor, a bool or a float, got {type(label).__name__}")
    if not from_logits and not 0.0 <= label <= 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1] for probabilities, got {label}")
    return float(label)


def widened(x: torch.Tensor) -> torch.Tensor:
    """``x``, or under autocast its float32 form, as torch's losses do."""
    if x.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(x.device.type):
        return x.float()
    return x


def _check_target(
    input: torch.Tensor, target: torch.Tensor, from_logits: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both, of one dtype (a bool target stays bool)."""
    if target.shape != input.shape:
        raise ValueError(
            f"target: expected input's shape {tuple(input.shape)}, got {tuple(target.shape)}"
        )
    if target.device != input.device:
        raise ValueError(f"target: expected a tensor on {input.device}, got {target.device}")
    if target.dtype == input.dtype or target.dtype == torch.bool:
        return input, target
    target = widened(target)
    if target.dtype in _DTYPES and (from_logits or target.dtype == input.dtype):
        common = torch.promote_types(input.dtype, target.dtype)
        return input.to(common), target.to(common)
    allowed = "bool or a floating dtype" if from_logits else f"bool or input's {input.dtype}"
    raise TypeError(f"target: expected {allowed}, got {target.dtype}")


def _torch_loss(
    input: torch.Tensor,
    target: torch.Tensor | None,
    scale: float,
    shift: float,
    from_logits: bool,
    reduction: str,
    weight: torch.Tensor | None,
    pos_weight: torch.Tensor | None,
) -> torch.Tensor:
    if target is None:
        label = torch.full_like(input, shift)
    else:
        label = scale * target.to(input.dtype) + shift
    # Autocast refuses the loss of probabilities, even of float32 ones.
    with torch.autocast(input.device.type, enabled=False):
        if from_logits:
            return F.binary_cross_entropy_with_logits(
                input, label, weight, pos_weight=pos_weight, reduction=reduction
            )
        return F.binary_cross_entropy(input, label, weight, reduction=reduction)
