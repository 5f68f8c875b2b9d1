"""Images at other places than their pixels', with derivatives of any order.

``torch.nn.functional.grid_sample`` has had a second derivative for a short time only. Sampling is
linear in the images, so the gradient of its gradient is the sampling again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# As torch's own operator numbers them.
NEAREST, BILINEAR = 1, 0
ZEROS, REFLECTION = 0, 2


def resample(images: Tensor, x: Tensor, y: Tensor, *, mode: int, padding: int) -> Tensor:
    """``images`` ``[N, C, H, W]`` at other places, ``[N, C, H', W']``.

    Args:
        images: float32 or float64.
        x, y: for each pixel of the result where it lies in the image, ``[N, H', W']`` of the
            images' dtype: in pixels from the center of the image, right and down.
        mode: ``BILINEAR`` or ``NEAREST``.
        padding: what stands beyond the edges, ``ZEROS`` or the mirror image, ``REFLECTION``.
    """
    height, width = images.shape[2:]
    grid = torch.stack([x * (2 / width), y * (2 / height)], dim=3)
    found: Tensor = _Resample.apply(images, grid, mode, padding)
    return found


def places(images: Tensor) -> tuple[Tensor, Tensor]:
    """The centers of the pixels of ``images``, as ``resample`` takes them: ``[W]`` and ``[H, 1]``.

    In the dtype of ``images``.
    """
    height, width = images.shape[2:]
    like: Any = {"dtype": images.dtype, "device": images.device}
    x = torch.arange(width, **like) - (width - 1) / 2
    y = torch.arange(height, **like) - (height - 1) / 2
    return x, y[:, None]


class _Resample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor, mode: int, padding: int) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size, ctx.how = images.shape, (mode, padding)
        return torch.ops.aten.grid_sampler_2d(images, grid, mode, padding, False)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Transposed.apply(upstream, grid, ctx.size, *ctx.how), None, None, None


class _Transposed(torch.autograd.Function):
    """The transpose of the linear map that ``_Resample`` is."""

    @staticmethod
    def forward(
        ctx: Any, upstream: Tensor, grid: Tensor, size: torch.Size, mode: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.how = (mode, padding)
        like = upstream.new_empty(size)  # only its size is looked at
        wanted = [True, False]
        found: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            upstream.contiguous(), like, grid, mode, padding, False, wanted
        )[0]
        return found

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Resample.apply(upstream, grid, *ctx.how), None, None, None, None
