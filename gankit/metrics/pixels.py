"""L1, PSNR and SSIM between translated images and their targets, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from gankit.errors import ConfigError, MissingExtra
from gankit.metrics.metric import Inputs, Metric, Value

# Height and width of SSIM's Gaussian window.
_WINDOW = 11


def pairs(inputs: Inputs, name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Generated images and their targets in batches, float32 ``[B, C, H, W]`` in [0, 1].

    Raises ConfigError unless there are as many, of one shape.
    """
    made, target = inputs.generated.pixels, inputs.real.pixels
    if made.shape != target.shape:
        raise ConfigError(
            f"{name} compares images with their targets, and there are {list(made.shape)} and "
            f"{list(target.shape)} of them; expected as many of one shape"
        )
    size, device = inputs.generated.batch_size, inputs.generated.device
    for some in zip(made.split(size), target.split(size), strict=True):
        first, second = (images.to(device).float() / 255 for images in some)
        yield first, second


def _mean(inputs: Inputs, name: str, per_image: Callable[[Tensor, Tensor], Tensor]) -> float:
    every = [per_image(*pair).double().cpu() for pair in pairs(inputs, name)]
    return float(torch.cat(every).mean())


def _torchmetrics() -> Any:
    try:
        from torchmetrics.functional import image
    except ImportError as error:
        raise MissingExtra("torchmetrics", "evaluate") from error
    return image


def _l1(inputs: Inputs) -> dict[str, float]:
    return {"mae": _mean(inputs, "l1", lambda a, b: (a - b).abs().flatten(1).mean(dim=1))}


def _psnr(inputs: Inputs) -> dict[str, float]:
    function = _torchmetrics().peak_signal_noise_ratio

    def per_image(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = function(a, b, data_range=1.0, dim=(1, 2, 3), reduction="none")
        return found

    return {"psnr": _mean(inputs, "psnr", per_image)}


def _ssim(inputs: Inputs) -> dict[str, float]:
    function = _torchmetrics().structural_similarity_index_measure
    if min(inputs.real.data.shape[1:]) < _WINDOW:
        raise ConfigError(
            f"ssim needs images of at least {_WINDOW}x{_WINDOW} pixels, and they are "
            f"{'x'.join(map(str, inputs.real.data.shape[1:]))}"
        )

    def per_image(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = function(a, b, data_range=1.0, reduction="none")
        return found.reshape(len(a))

    return {"ssim": _mean(inputs, "ssim", per_image)}


_PAIRS = frozenset({"pairs"})
L1 = Metric(
    "l1",
    "mean absolute difference from the target, pixels in [0, 1]",
    {"mae": Value("mean absolute error")},
    _l1,
    _PAIRS,
)
PSNR = Metric(
    "psnr",
    "peak signal-to-noise ratio in dB, mean over images, by torchmetrics",
    {"psnr": Value("PSNR", higher_is_better=True)},
    _psnr,
    _PAIRS,
)
SSIM = Metric(
    "ssim",
    "structural similarity (Wang et al., 2004), mean over images, by torchmetrics",
    {"ssim": Value("SSIM", higher_is_better=True)},
    _ssim,
    _PAIRS,
)
