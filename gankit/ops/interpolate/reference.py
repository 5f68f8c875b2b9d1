"""interpolate in pure PyTorch: what every other backend is checked against."""

from __future__ import annotations

import torch

from ..philox import philox4x32_10

SAMPLES_PER_BLOCK = 4


def _compute_dtype(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def weights(x: torch.Tensor, seed: torch.Tensor, stream: int) -> torch.Tensor:
    """e of every sample of ``x``, in the compute type, broadcasting against ``x``."""
    samples = x.shape[0]
    blocks = -(-samples // SAMPLES_PER_BLOCK)
    words = philox4x32_10(seed, stream, blocks).reshape(-1)[:samples]
    e = (words >> 8).to(_compute_dtype(x)) * 2.0**-24
    return e.reshape(samples, *[1] * (x.dim() - 1))


def forward(
    real: torch.Tensor, fake: torch.Tensor, seed: torch.Tensor, stream: int
) -> torch.Tensor:
    """e * real + (1 - e) * fake, rounded after each operation, stored as ``real`` is."""
    e = weights(real, seed, stream)
    mixed = e * real.to(e.dtype) + (1 - e) * fake.to(e.dtype)
    # An expression may choose another layout than empty_like(real), which is the op's contract.
    return torch.empty_like(real).copy_(mixed)


def backward(grad: torch.Tensor, seed: torch.Tensor, stream: int, of_fake: bool) -> torch.Tensor:
    """dL/dreal = e * dL/dx, or dL/dfake = (1 - e) * dL/dx."""
    e = weights(grad, seed, stream)
    return torch.empty_like(grad).copy_((1 - e if of_fake else e) * grad.to(e.dtype))
