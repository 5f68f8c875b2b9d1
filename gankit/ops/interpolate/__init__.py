"""Points on the lines between two batches, one uniform weight per sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..autograd import Differentiable
from ..philox import as_stream, draw_seed
from . import spec

__all__ = ["interpolate"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# Linear in the gradient: its own derivative, with the same weights.
_backward: Differentiable = Differentiable(
    spec.BACKWARD,
    tensors=2,
    save=lambda inputs, output: (inputs[1],),
    gradient=lambda needs, grad, saved, rest: (
        _backward(grad, saved[0], *rest) if needs[0] else None,
        None,
    ),
)


def _gradient(
    needs: Sequence[bool], grad: torch.Tensor, saved: Any, rest: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    (seed,) = saved
    (stream,) = rest
    return (
        _backward(grad, seed, stream, False) if needs[0] else None,
        _backward(grad, seed, stream, True) if needs[1] else None,
        None,
    )


_forward = Differentiable(
    spec.FORWARD,
    tensors=3,
    save=lambda inputs, output: (inputs[2],),
    gradient=_gradient,
)


def interpolate(
    real: torch.Tensor,
    fake: torch.Tensor,
    *,
    seed: torch.Tensor | None = None,
    stream: int = 0,
) -> torch.Tensor:
    r"""``e * real + (1 - e) * fake`` with one uniform ``e`` per sample, in one pass.

    The points at which WGAN-GP looks at its critic (Gulrajani et al., 2017, arXiv:1704.00028,
    algorithm 1). ``e`` is a multiple of 2**-24 in [0, 1): the upper 24 bits of word i % 4 of Philox
    block i // 4 for sample i. Differentiable to any order in reverse mode, with respect to both
    batches; there is no forward-mode derivative. Every backend gives the same bits.

    Args:
        real: ``[N, ...]``, float32, bfloat16, float16 or float64, any strides.
        fake: the same shape, dtype and device.
        seed: int64, one element, on ``real``'s device. None draws one from torch's generator of
            that device, so ``torch.manual_seed`` governs it.
        stream: selects one of 2**64 independent streams of a seed (0 to 2**64 - 1; a negative
            int64 stands for its bits). The weights come from the same words as the draws of
            :func:`gankit.ops.leaky_relu_dropout` of that seed and stream: where the two share a
            seed, give them different streams.

    Returns:
        A tensor with the shape, dtype and strides of ``torch.empty_like(real)``.

    Raises:
        TypeError: an argument is no tensor or of another dtype, ``seed`` is not int64, or
            ``stream`` is no int.
        ValueError: ``stream`` beyond 64 bits, or shapes or devices that do not fit; the message
            names both.
        RuntimeError: a backend asked for by name is missing.
    """
    for name, x in (("real", real), ("fake", fake)):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    if real.dtype not in _DTYPES:
        raise TypeError(
            f"real: expected dtype float32, bfloat16, float16 or float64, got {real.dtype}"
        )
    if fake.dtype != real.dtype:
        raise TypeError(f"fake: expected real's dtype {real.dtype}, got {fake.dtype}")
    if real.dim() == 0:
        raise ValueError("real: expected a batch [N, ...], got a tensor without dimensions")
    if fake.shape != real.shape:
        raise ValueError(
            f"fake: expected real's shape {tuple(real.shape)}, got {tuple(fake.shape)}"
        )
    if fake.device != real.device:
        raise ValueError(
            f"fake: expected a tensor on real's device {real.device}, got {fake.device}"
        )
    stream = as_stream(stream)
    if seed is None:
        seed = draw_seed(real.device)
    else:
        _check_seed(seed, real)
    return _forward(real, fake, seed, stream)


def _check_seed(seed: torch.Tensor, real: torch.Tensor) -> None:
    if not isinstance(seed, torch.Tensor) or seed.dtype != torch.int64:
        came = seed.dtype if isinstance(seed, torch.Tensor) else type(seed).__name__
        raise TypeError(f"seed: expected an int64 tensor with one element, got {came}")
    if seed.numel() != 1:
        raise ValueError(f"seed: expected one element, got shape {tuple(seed.shape)}")
    if seed.device != real.device:
        raise ValueError(
            f"seed: expected a tensor on real's device {real.device}, got {seed.device}"
        )
