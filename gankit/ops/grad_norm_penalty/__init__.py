"""A penalty on the norm of each sample's gradient, in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..autograd import Differentiable
from . import reference, spec

__all__ = ["grad_norm_penalty"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MODES = {
    "two-sided": reference.TWO_SIDED,
    "one-sided": reference.ONE_SIDED,
    "zero-centred": reference.ZERO_CENTRED,
    "zero-centered": reference.ZERO_CENTRED,
}


def _second(
    needs: Sequence[bool], incoming: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    upstream, grad = saved
    to_upstream, to_grad = reference.second(incoming, upstream, grad, *rest)
    return to_upstream if needs[0] else None, to_grad if needs[1] else None, None


# The norms are constants to autograd: they are a function of the gradient, and the second
# derivative accounts for that.
_backward: Differentiable = Differentiable(
    spec.BACKWARD,
    tensors=3,
    save=lambda inputs, output: (inputs[0], inputs[1]),
    gradient=_second,
)
_forward = Differentiable(
    spec.FORWARD,
    tensors=1,
    save=lambda inputs, output: (inputs[0], output[1]),
    gradient=lambda needs, grads, saved, rest: (
        _backward(grads[0], *saved, *rest) if needs[0] else None,
    ),
    non_differentiable=(1,),
)


def grad_norm_penalty(
    grad: torch.Tensor, *, target: float = 1.0, mode: str = "two-sided"
) -> torch.Tensor:
    r"""Mean over samples of a penalty on ``norm_i``, the 2-norm of all entries of ``grad[i]``.

    * ``"two-sided"``: ``(norm_i - target)**2`` (WGAN-GP: Gulrajani et al., 2017,
      arXiv:1704.00028);
    * ``"one-sided"``: ``max(0, norm_i - target)**2`` (WGAN-LP: Petzka et al., 2017,
      arXiv:1709.08894);
    * ``"zero-centred"`` or ``"zero-centered"``: ``norm_i**2``
      (R1 and R2: Mescheder et al., 2018, arXiv:1801.04406).

    Differentiable to any order in reverse mode; where a sample's gradient is zero, all derivatives
    are finite (the norm counts as constant there). There is no forward-mode derivative. Sums are
    taken in float32 or wider, in an order that does not depend on the number of threads: the same
    input gives the same bits. In float32 a norm below about 1e-19 may count as zero.

    Args:
        grad: ``[N, ...]``, float32, bfloat16, float16 or float64, any strides: the critic's
            gradient with respect to its input.
        target: finite, >= 0. Without effect in mode ``"zero-centred"``.
        mode: as above.

    Returns:
        0-d tensor of ``grad``'s dtype; NaN for an empty batch, as ``torch.mean`` gives.

    Raises:
        TypeError: ``grad`` is no tensor or of another dtype.
        ValueError: another argument is not allowed; the message names it.
        RuntimeError: a backend asked for by name is missing.
    """
    if not isinstance(grad, torch.Tensor):
        raise TypeError(f"grad: expected a tensor, got {type(grad).__name__}")
    if grad.dtype not in _DTYPES:
        raise TypeError(
            f"grad: expected dtype float32, bfloat16, float16 or float64, got {grad.dtype}"
        )
    if grad.dim() == 0:
        raise ValueError("grad: expected a batch [N, ...], got a tensor without dimensions")
    if not 0.0 <= target < math.inf:
        raise ValueError(f"target: expected a finite number >= 0, got {target}")
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    # With target 0 all three are the square of the norm, whose derivative at 0 needs no care.
    number = MODES[mode] if target > 0 else reference.ZERO_CENTRED
    penalty: torch.Tensor = _forward(grad, float(target), number)[0]
    return penalty
