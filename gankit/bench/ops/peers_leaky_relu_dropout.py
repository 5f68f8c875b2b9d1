"""LeakyReLU and dropout without gankit, from the textbook's way to an expert's."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def plain(x: Tensor, negative_slope: float = 0.2, p: float = 0.5) -> Tensor:
    """Two calls, as every tutorial has them."""
    return F.dropout(F.leaky_relu(x, negative_slope), p)


def swapped(x: Tensor, negative_slope: float = 0.2, p: float = 0.5) -> Tensor:
    """Dropout first: LeakyReLU commutes with it and can then overwrite its result.

    On CUDA dropout is one kernel; nothing eager moves fewer bytes.
    """
    return F.leaky_relu(F.dropout(x, p), negative_slope, inplace=True)


def packed_draws(x: Tensor, negative_slope: float = 0.2, p: float = 0.5) -> Tensor:
    """Four draws of 16 bits from each 64-bit random number.

    On the CPU the generator is what dropout spends its time on, and it makes a number of 64 bits as
    fast as the fraction that ``F.dropout`` compares with p. Same rounding of p as gankit's.
    """
    n = x.numel()
    threshold = math.floor(p * 65536 + 0.5)
    words = torch.empty((n + 3) // 4, dtype=torch.int64, device=x.device).random_(-(2**63), None)
    draws = words.view(torch.int16)[:n].view(x.shape)
    factors = (draws >= threshold - 32768).to(x.dtype).mul_(65536 / (65536 - threshold))
    return F.leaky_relu(x * factors, negative_slope, inplace=True)


def check(y: Tensor, x: Tensor, negative_slope: float = 0.2, p: float = 0.5) -> None:
    """Raises AssertionError unless ``y`` is ``x`` after both layers, for some mask."""
    kept = y != 0
    expected = F.leaky_relu(x.detach().float(), negative_slope) / (1 - p)
    # Comparing in the storage type: a peer may round after each of its two steps.
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[x.dtype]
    torch.testing.assert_close(y.detach().float()[kept], expected[kept], rtol=tolerance, atol=1e-6)
    if x.numel() >= 10_000:
        share = kept.double().mean().item()
        assert abs(share - (1 - p)) < 0.02, f"{share:.3f} of the elements were kept"
