"""grad_norm_penalty in pure PyTorch: what every other backend is checked against."""

from __future__ import annotations

import torch

TWO_SIDED, ONE_SIDED, ZERO_CENTRED = 0, 1, 2


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def forward(grad: torch.Tensor, target: float, mode: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean penalty over samples, and each sample's norm in the compute type."""
    rows = grad.to(compute_dtype(grad)).reshape(grad.shape[0], grad[:1].numel())
    norms = rows.square().sum(dim=1).sqrt()
    if mode == ZERO_CENTRED:
        penalties = norms.square()
    elif mode == ONE_SIDED:
        penalties = (norms - target).clamp(min=0).square()
    else:
        penalties = (norms - target).square()
    return penalties.mean().to(grad.dtype), norms


def factors(norms: torch.Tensor, target: float, mode: int) -> torch.Tensor:
    """What each sample's gradient is multiplied by in the derivative; 0 at norm 0."""
    if mode == ZERO_CENTRED:
        return torch.full_like(norms, 2.0)
    taken = norms != 0
    if mode == ONE_SIDED:
        taken = taken & ~(norms < target)
    safe = torch.where(norms == 0, torch.ones_like(norms), norms)
    return torch.where(taken, 2 * ((norms - target) / safe), torch.zeros_like(norms))


def backward(
    upstream: torch.Tensor, grad: torch.Tensor, norms: torch.Tensor, target: float, mode: int
) -> torch.Tensor:
    """dL/dgrad from dL/dpenalty."""
    shares = upstream.to(norms.dtype) / grad.shape[0] * factors(norms, target, mode)
    shares = shares.reshape(-1, *[1] * (grad.dim() - 1))
    return torch.empty_like(grad).copy_(shares * grad.to(norms.dtype))


def second(
    incoming: torch.Tensor, upstream: torch.Tensor, grad: torch.Tensor, target: float, mode: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The derivative of :func:`backward`: dL/dupstream and dL/dgrad from dL/d(its result).

    Serves every backend, in operations that autograd differentiates further: the norms are
    computed again from ``grad``, so that third derivatives see them too.
    """
    kind = compute_dtype(grad)
    shape = (grad.shape[0], grad[:1].numel())
    g, v = grad.to(kind).reshape(shape), incoming.to(kind).reshape(shape)
    squares = g.square().sum(dim=1, keepdim=True)
    nonzero = squares > 0
    norms = torch.where(nonzero, squares, torch.ones_like(squares)).sqrt()
    along = (g * v).sum(dim=1, keepdim=True)
    if mode == ZERO_CENTRED:
        first, bend = torch.full_like(norms, 2.0), torch.zeros_like(g)
    else:
        taken = nonzero & ~(norms < target) if mode == ONE_SIDED else nonzero
        first = torch.where(taken, 2 * ((norms - target) / norms), 0.0)
        # 2 target / norm^3 (g.v) g, in an order that does not overflow at small norms.
        bend = torch.where(taken, 2 * target / norms, 0.0) * (along / norms) * (g / norms)
    share = upstream.to(kind) / grad.shape[0]
    to_upstream = (first * along).sum() / grad.shape[0]
    to_grad = share * (first * v + bend)
    return to_upstream.to(upstream.dtype), to_grad.reshape(grad.shape).to(grad.dtype)
