"""Finds every op by its folder, and the layouts that its tensors are tried in."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import torch

import gankit.ops
from gankit.ops.registry import OpSpec

FOLDERS = sorted(
    path.name for path in Path(gankit.ops.__file__).parent.iterdir() if (path / "spec.py").exists()
)
SPECS: dict[str, OpSpec] = {
    name: importlib.import_module(f"gankit.ops.{name}.spec").SPEC for name in FOLDERS
}


def layouts(x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The same elements in every memory layout that reaches a kernel in practice."""
    yield "contiguous", x.contiguous()
    if x.dim() == 4:
        yield "channels_last", x.contiguous(memory_format=torch.channels_last)
    if x.dim() >= 2:
        order = tuple(reversed(range(x.dim())))
        yield "permuted", x.permute(order).contiguous().permute(order)
    if x.dim() >= 1 and x.shape[-1] > 0:
        wide = torch.stack((x, torch.full_like(x, float("nan"))), dim=-1)
        yield "sliced", wide[..., 0]
    if x.dim() >= 1 and x.numel() > 0:
        padded = torch.cat((torch.full_like(x.reshape(-1)[:1], float("nan")), x.reshape(-1)))
        yield "misaligned", padded[1:].reshape(x.shape)


def gradients(y: torch.Tensor, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """Gradients as autograd hands them over: from sum() they are expanded, with stride 0.

    Their values are representable in ``dtype``, whatever the dtype of ``y``.
    """
    generator = torch.Generator().manual_seed(7)
    dense = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    dense = dense.to(dtype).to(y.device, y.dtype)
    yield "dense", torch.empty_like(y).copy_(dense)
    yield "expanded", torch.full((), 0.75, device=y.device, dtype=y.dtype).expand(y.shape)
    if y.dim() >= 2:
        order = tuple(reversed(range(y.dim())))
        yield "permuted", dense.permute(order).contiguous().permute(order)
