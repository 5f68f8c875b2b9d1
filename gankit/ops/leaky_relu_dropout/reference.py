"""leaky_relu_dropout in pure PyTorch: what every other backend is checked against."""

from __future__ import annotations

import torch

from ..philox import draws16


def _compute_dtype(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _with_sign(x: torch.Tensor) -> torch.Tensor:
    """``x`` with the sign bit set, of zeros and NaN too (negation loses that of a bfloat16 NaN)."""
    bits = x.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])
    return (bits | torch.iinfo(bits.dtype).min).view(x.dtype)


def _dropped(
    x: torch.Tensor, seed: torch.Tensor, stream: int, threshold: int, channelwise: bool
) -> torch.Tensor:
    """Bool, True where an element of ``x`` is dropped; broadcasts against ``x``."""
    if channelwise:
        samples, channels = x.shape[:2]
        draws = draws16(seed, stream, samples * channels)
        return (draws < threshold).reshape(samples, channels, *[1] * (x.dim() - 2))
    # Elements are counted in the order of this memory, of which only the strides are asked for.
    layout = torch.empty_like(x, device="meta")
    draws = draws16(seed, stream, x.numel())
    return (draws < threshold).as_strided(layout.shape, layout.stride())


def forward(
    x: torch.Tensor,
    seed: torch.Tensor,
    stream: int,
    threshold: int,
    scale: float,
    negative_scale: float,
    channelwise: bool,
) -> torch.Tensor:
    """y from x: negative results (and zeros, and NaN) carry the sign, dropped elements are +0."""
    positive = x > 0
    value = x.to(_compute_dtype(x))
    kept = torch.where(positive, value * scale, value * negative_scale).to(x.dtype)
    marked = torch.where(positive, kept, _with_sign(kept))
    dropped = _dropped(x, seed, stream, threshold, channelwise)
    # where() may choose another layout than empty_like(x), which is the op's contract.
    return torch.empty_like(x).copy_(torch.where(dropped, torch.zeros_like(marked), marked))


def forward_(
    x: torch.Tensor,
    seed: torch.Tensor,
    stream: int,
    threshold: int,
    scale: float,
    negative_scale: float,
    channelwise: bool,
) -> None:
    """:func:`forward` into its input."""
    x.copy_(forward(x, seed, stream, threshold, scale, negative_scale, channelwise))


def backward(
    grad: torch.Tensor, y: torch.Tensor, scale: float, negative_scale: float
) -> torch.Tensor:
    """dL/dx from dL/dy and the mask that y carries."""
    value = grad.to(_compute_dtype(y))
    kept = torch.where(torch.signbit(y), value * negative_scale, value * scale).to(y.dtype)
    dropped = (y == 0) & ~torch.signbit(y)
    return torch.empty_like(y).copy_(torch.where(dropped, torch.zeros_like(kept), kept))


def backward_from_input(
    grad: torch.Tensor,
    x: torch.Tensor,
    seed: torch.Tensor,
    stream: int,
    threshold: int,
    scale: float,
    negative_scale: float,
    channelwise: bool,
) -> torch.Tensor:
    """dL/dx from dL/dy and x; the mask is drawn again."""
    value = grad.to(_compute_dtype(x))
    kept = torch.where(x > 0, value * scale, value * negative_scale).to(x.dtype)
    dropped = _dropped(x, seed, stream, threshold, channelwise)
    return torch.empty_like(x).copy_(torch.where(dropped, torch.zeros_like(kept), kept))
