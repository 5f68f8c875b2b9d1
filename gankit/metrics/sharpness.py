"""How sharp images are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.errors import DataError
from gankit.metrics.checks import check_range

__all__ = ["sharpness"]


def sharpness(images: Tensor) -> float:
    """Mean over images of the variance of the Laplacian: higher is sharper.

    The 3x3 Laplacian (0 1 0; 1 -4 1; 0 1 0) of each channel, without the border; its variance over
    the pixels of an image; the mean over all images. A measure of focus since Pech-Pacheco et al.,
    2000. It depends on size and contrast, and noise counts as sharp: compare images of one kind.

    Args:
        images: floating point ``[N, C, H, W]`` in [-1, 1], N >= 1, H and W >= 3; a warning
            (GankitWarning) is given for values above 1.5 or none below 0.

    Returns:
        A number of at least 0; NaN if a pixel is NaN.

    Raises:
        DataError: another shape or type, or values far outside [-1, 1].
    """
    if not isinstance(images, Tensor):
        raise DataError(f"images must be a tensor, got {type(images).__name__}")
    if not images.is_floating_point() or images.dim() != 4 or min(images.shape[2:]) < 3:
        raise DataError(
            "images must be floating point [N, C, H, W] of at least 3x3 pixels, got "
            f"{images.dtype} {list(images.shape)}"
        )
    if images.numel() == 0:
        raise DataError("sharpness needs at least one image, got none")
    check_range("images", images)
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    planes = images.detach().double().flatten(0, 1).unsqueeze(1)
    edges = F.conv2d(planes, kernel.to(planes).view(1, 1, 3, 3))
    return float(edges.view(len(images), -1).var(dim=1, correction=0).mean())
