"""Batch normalisation and its activation as one op, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..autograd import Differentiable
from . import spec
from .reference import LEAKY_RELU, NONE, RELU, TANH, compute_dtype, per_sample
from .second import second_derivative
from .synchronised import apply_synchronised
from .synchronised import process_group as find_group

__all__ = ["batch_norm_act"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
ACTIVATIONS = {"none": NONE, "relu": RELU, "leaky_relu": LEAKY_RELU, "tanh": TANH}


def _second_gradient(
    needs: Sequence[bool], cotangents: Any, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    *settings, training, need_input, need_parameters = rest
    u, s, t = cotangents
    chosen = (u if need_input else None, *((s, t) if need_parameters else (None, None)))
    if all(cotangent is None for cotangent in chosen):
        return (None,) * 6
    wanted = (needs[0], needs[1], needs[4], needs[5])
    grad, x, weight, bias = second_derivative(wanted, chosen, saved, settings, training)
    return grad, x, None, None, weight, bias


_backward: Differentiable = Differentiable(
    spec.BACKWARD,
    tensors=6,
    save=lambda inputs, output: tuple(inputs[:6]),
    gradient=_second_gradient,
)


def _gradients(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, settings: Any, training: bool
) -> tuple[torch.Tensor | None, ...]:
    """Of x, weight and bias; ``needs`` in that order."""
    flags = (training, needs[0], needs[1] or needs[2])
    found = _backward(grad, *saved, *settings, *flags)
    return tuple(g if need else None for g, need in zip(found, needs, strict=True))


def _training_gradient(
    needs: Sequence[bool], grads: Any, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    return _gradients(needs[:3], grads[0], saved, rest[1:], True)


def _eval_gradient(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    x, weight, bias = _gradients((needs[0], needs[3], needs[4]), grad, saved, rest, False)
    return x, None, None, weight, bias


def _kept_bias(weight: Any, bias: Any, activation: int) -> Any:
    # Only the activation's slope depends on it; without one it has no second derivative either. But
    # where the weight does not say it, the bias says that there is one for each sample.
    needed = activation != NONE or (weight is None and per_sample(None, bias))
    return bias if needed else None


# Mean and variance leave as constants: the gradient of y already knows how they follow from x.
_training = Differentiable(
    spec.FORWARD,
    tensors=3,
    save=lambda inputs, output: (
        inputs[0],
        output[1],
        output[2],
        inputs[1],
        _kept_bias(inputs[1], inputs[2], inputs[5]),
    ),
    gradient=_training_gradient,
    non_differentiable=(1, 2),
)
_eval = Differentiable(
    spec.APPLY,
    tensors=5,
    save=lambda inputs, output: (*inputs[:4], _kept_bias(inputs[3], inputs[4], inputs[6])),
    gradient=_eval_gradient,
)


def batch_norm_act(
    x: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    activation: str = "relu",
    negative_slope: float = 0.2,
    groups: int = 1,
    num_batches_tracked: torch.Tensor | None = None,
    process_group: Any = None,
) -> torch.Tensor:
    r"""``activation(F.batch_norm(x, ...))`` in two sweeps over memory, and two for the gradient.

    Batch normalisation is that of Ioffe and Szegedy (2015, arXiv:1502.03167): the biased variance
    normalises, the unbiased one enters the running statistics. Backward keeps x and one mean and
    variance per channel, not the output. Differentiable to any order in reverse mode, with respect
    to ``x``, ``weight`` and ``bias``; there is no forward-mode derivative. Sums do not depend on
    the number of threads: the same input gives the same bits.

    Args:
        x: ``[N, C]`` or ``[N, C, ...]``, float32, bfloat16, float16 or float64. Contiguous and
            channels-last tensors are worked on where they lie; others are first copied.
        running_mean: ``[C]`` or None. Updated in place when training, used when not.
        running_var: ``[C]`` or None, together with ``running_mean``.
        weight: the scale: ``[C]``, ``[N, C]`` with one per sample, or None; in x's dtype or, for
            16-bit x, float32.
        bias: the shift; shape and dtype as ``weight``, but either may be ``[C]`` where the other is
            ``[N, C]``.
        training: normalise with the batch's own statistics rather than the running ones.
        momentum: weight of the newest statistics. None averages over all batches so far, which
            ``num_batches_tracked`` counts.
        eps: added to the variance, finite and >= 0.
        activation: ``"relu"``, ``"leaky_relu"``, ``"tanh"`` or ``"none"``.
        negative_slope: of ``"leaky_relu"``, finite.
        groups: divides the batch into so many equal slices, each normalised by its own statistics;
            the running statistics follow slice after slice. A discriminator on
            ``cat([real, fake])`` with ``groups=2`` gives what two passes give.
        num_batches_tracked: int64, one element: batches seen before this call. Read where
            ``momentum`` is None, never written; the module adds ``groups`` to it.
        process_group: take the statistics over all processes of this ``torch.distributed`` group
            (``"world"``: the default group), as ``nn.SyncBatchNorm`` does, on gloo too. All
            processes must call, and differentiate, alike. Two derivatives; not under
            ``torch.compile(fullgraph=True)``.

    Returns:
        A tensor with x's shape and dtype, channels last if x is, else contiguous.

    Raises:
        TypeError: an argument is no tensor or of a wrong dtype.
        ValueError: shapes that do not fit, a value out of range, one value per channel in
            training, or running statistics missing in evaluation; the message names both sides.
        RuntimeError: ``process_group`` without an initialised ``torch.distributed``, or a backend
            asked for by name is missing.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x: expected a tensor, got {type(x).__name__}")
    if x.dtype not in _DTYPES:
        raise TypeError(f"x: expected dtype float32, bfloat16, float16 or float64, got {x.dtype}")
    if x.dim() < 2:
        raise ValueError(f"x: expected [N, C] or [N, C, ...], got shape {tuple(x.shape)}")
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}"
        )
    if not -math.inf < negative_slope < math.inf:
        raise ValueError(f"negative_slope: expected a finite number, got {negative_slope}")
    if not 0.0 <= eps < math.inf:
        raise ValueError(f"eps: expected a finite number >= 0, got {eps}")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean, running_var: expected both or neither, got one")
    wide = compute_dtype(x)
    weight = _parameter("weight", weight, x, wide)
    bias = _parameter("bias", bias, x, wide)
    if per_sample(weight, bias):
        weight, bias = (p if p is None else p.expand(x.shape[:2]) for p in (weight, bias))
    _check("running_mean", running_mean, x, wide)
    _check("running_var", running_var, x, wide)
    _check_constant(running_mean, running_var)
    number = ACTIVATIONS[activation]
    recorded = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    keep = torch.is_grad_enabled() and not recorded
    if keep and number != NONE and bias is not None:
        # torch's norm and activation keep no bias: it may change before the backward.
        bias = bias.clone()
    settings = (eps, number, negative_slope)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("running_mean, running_var: needed when training=False, got None")
        mean, var = running_mean.to(wide), running_var.to(wide)
        if keep:
            # A call in training may come between this one and its backward.
            mean, var = mean.clone(), var.clone()
        return _eval(x, mean, var, weight, bias, *settings)
    if not isinstance(groups, (int, torch.SymInt)):
        if not hasattr(groups, "__index__"):  # as NumPy's integers have
            raise TypeError(f"groups: expected an int, got {type(groups).__name__}")
        groups = int(groups)
    if groups < 1 or x.shape[0] % groups != 0:
        raise ValueError(f"groups: {groups} does not divide the batch of shape {tuple(x.shape)}")
    count = x.shape[0] // groups * x.shape[2:].numel()
    group = None if process_group is None else find_group(process_group)
    if count == 1 and (group is None or group.size() == 1):
        shape = torch.Size((1, *x.shape[1:]))
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {shape}"
        )
    if group is not None:
        y, mean, var = apply_synchronised(x, weight, bias, groups, settings, group)
        count = 0  # var is unbiased already
    else:
        y, mean, var = _training(x, weight, bias, groups, *settings)
        if count == 0:
            return y  # as torch: no values, no statistics
    if running_mean is not None and running_var is not None:
        _update(running_mean, running_var, mean, var, num_batches_tracked, momentum, count)
    return y


def _check(
    name: str, value: torch.Tensor | None, x: torch.Tensor, wide: torch.dtype, dims: int = 1
) -> None:
    """Of C values, or with 2 ``dims`` also of C for each sample."""
    if value is None:
        return
    if value.dtype is not wide and value.dtype is not x.dtype:
        allowed = f"{x.dtype} or {wide}" if x.dtype is not wide else str(wide)
        raise TypeError(f"{name}: expected dtype {allowed} for x of {x.dtype}, got {value.dtype}")
    if not 1 <= value.dim() <= dims or value.shape != x.shape[2 - value.dim() : 2]:
        per_sample = f" or {tuple(x.shape[:2])}" if dims == 2 else ""
        raise ValueError(
            f"{name}: expected shape ({x.shape[1]},){per_sample} for x of shape {tuple(x.shape)}, "
            f"got {tuple(value.shape)}"
        )
    if value.device != x.device:
        raise ValueError(f"{name}: expected a tensor on x's device {x.device}, got {value.device}")


def _check_constant(*running: torch.Tensor | None) -> None:
    """As torch: the running statistics have no gradient."""
    if torch.is_grad_enabled() and any(r is not None and r.requires_grad for r in running):
        raise RuntimeError(
            "running_mean, running_var: expected tensors that do not require grad, as the op has "
            "no derivative by them; pass them detached"
        )


def _parameter(
    name: str, value: torch.Tensor | None, x: torch.Tensor, wide: torch.dtype
) -> torch.Tensor | None:
    """The parameter in the dtype that the kernels take."""
    _check(name, value, x, wide, dims=2)
    return value if value is None or value.dtype is wide else value.to(wide)


def _update(
    running_mean: torch.Tensor,
    running_var: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    batches: torch.Tensor | None,
    momentum: float | None,
    count: int,
) -> None:
    if momentum is not None:
        batches = None
    elif batches is None:
        raise ValueError("num_batches_tracked: needed when momentum is None, got None")
    running = (running_mean, running_var)
    wide = mean.dtype
    # The versions of the running statistics stay, as with torch's batch norm: that one keeps them
    # for a backward of its own, and refuses it where another call has counted them up since.
    if running_mean.dtype is wide and running_var.dtype is wide:
        spec.UPDATE(running_mean, running_var, mean, var, batches, momentum or 0.0, count)
        return
    with torch.no_grad():
        own = [r.to(wide) for r in running]
        spec.UPDATE(*own, mean, var, batches, momentum or 0.0, count)
        for r, o in zip(running, own, strict=True):
            r.data.copy_(o)
