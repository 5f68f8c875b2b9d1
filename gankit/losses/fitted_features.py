"""Perceptual features without a file of weights: those of a small network that is fitted to images.

It learns without labels to tell by how many quarters an image was turned (Gidaris, Singh and
Komodakis, 2018, arXiv:1803.07728), for which it must see edges, strokes and textures. Brightness
and color tell nothing about that, so images averaged over 4x4 pixels stand beside the feature maps.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.atomic import atomic_write
from gankit.errors import DataError, GankitWarning, outside_gankit
from gankit.losses.perceptual import PerceptualFeatures

__all__ = ["FittedFeatures", "fit_features"]

# Files made by other code are made again.
_VERSION = 1
_WIDTHS = (16, 32)
_STEPS, _IMAGES, _SIDE, _RATE = 200, 10, 24, 2e-3
# Every eighth image is kept to see what was learnt.
_KEPT = 8


class FittedFeatures(PerceptualFeatures):
    """Feature maps at half the resolution, of four convolutions and ReLUs, and local means.

    Args:
        channels: of the images.

    Attributes:
        accuracy: the share of unseen images whose turn the fitted network tells; by chance 0.25.
    """

    kind = "fitted"
    gain: Tensor
    accuracy: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = _WIDTHS
        self.main = nn.Sequential(
            nn.Conv2d(channels, first, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(first, first, 3, 1, 1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(first, second, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(second, second, 3, 1, 1),
            nn.ReLU(),
        )
        self.register_buffer("gain", torch.ones(second, 1, 1))
        self.register_buffer("accuracy", torch.zeros(()))

    @property
    def note(self) -> str:  # type: ignore[override]
        return (
            "Perceptual features are those of a small network fitted to the data, as there are no "
            f"weights of VGG19: it tells the turn of {float(self.accuracy):.0%} of unseen images, "
            "by chance 25%."
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` in [-1, 1], H and W at least 4, to numbers ``[N, K]``.

        Their mean squared difference is the sum of that of the feature maps and that of the means.
        """
        maps = (self.main(images) * self.gain).flatten(1)
        means = F.avg_pool2d(images, 4).flatten(1)
        total = maps.shape[1] + means.shape[1]
        weights = (math.sqrt(total / some.shape[1]) for some in (maps, means))
        return torch.cat([some * w for some, w in zip((maps, means), weights, strict=True)], 1)


def fit_features(low: Tensor, high: Tensor, cache: Path | None = None) -> FittedFeatures:
    """Features of a network fitted to ``high``, the same for the same images on one machine.

    Each map is brought to one variance, and all together to the scale of pixels: of the bicubic
    enlargements of ``low`` and ``high`` the mean squared difference of the maps is that of the
    pixels.

    Args:
        low: the same images small, float ``[N, C, H / scale, W / scale]``.
        high: float32 ``[N, C, H, W]`` in [-1, 1] on the CPU, N >= 2, H and W >= 8.
        cache: folder in which the result is kept, for images and a torch of the same content.

    Returns:
        The features, in eval mode and without gradients. Neither modes nor random states change.

    Raises:
        DataError: fewer images, or smaller ones.
    """
    if len(high) < 2 or min(high.shape[2:]) < 8:
        raise DataError(
            f"images have shape {list(high.shape)}; allowed for fitted features are two or more of "
            "at least 8x8 pixels"
        )
    file = None if cache is None else cache / f"features-{_key(low, high)}.pt"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        features = FittedFeatures(high.shape[1]).eval().requires_grad_(False)
        if file is not None and _read(features, file):
            return features
        _fit(features, high)
    _calibrate(features, low, high)
    if file is not None:
        _write(features, file)
    return features


def _fit(features: FittedFeatures, high: Tensor) -> None:
    main, head = features.main.requires_grad_(True), nn.Linear(_WIDTHS[1], 4)
    for module in main:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    kept = torch.arange(len(high)) % _KEPT == _KEPT - 1
    kept[-1] |= not bool(kept.any())
    learnt, unseen = high[~kept], high[kept]
    optimizer = torch.optim.Adam([*main.parameters(), *head.parameters()], _RATE)
    with torch.enable_grad():
        for _ in range(_STEPS):
            turned = _turned(learnt[torch.randint(len(learnt), (_IMAGES,))])
            loss = F.cross_entropy(head(main(turned).mean((2, 3))), _quarters(_IMAGES))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    main.requires_grad_(False)
    with torch.no_grad():
        found = head(main(_turned(unseen)).mean((2, 3))).argmax(1)
    features.accuracy.copy_((found == _quarters(len(unseen))).float().mean())


def _turned(images: Tensor) -> Tensor:
    """A random square part of ``images``, in all four turns one after the other."""
    side = min(_SIDE, *images.shape[2:])
    top, left = (int(torch.randint(whole - side + 1, ())) for whole in images.shape[2:])
    part = images[:, :, top : top + side, left : left + side]
    return torch.cat([part.rot90(quarter, (2, 3)) for quarter in range(4)])


def _quarters(n: int) -> Tensor:
    return torch.arange(4).repeat_interleave(n)


@torch.no_grad()
def _calibrate(features: FittedFeatures, low: Tensor, high: Tensor) -> None:
    blurred = F.interpolate(low, high.shape[2:], mode="bicubic")
    real, soft = features.main(high), features.main(blurred)
    gain = 1 / real.std((0, 2, 3)).clamp(min=1e-4)
    between = ((real - soft) * gain[:, None, None]).square().mean()
    pixels = F.mse_loss(blurred, high)
    if bool(between > 0) and bool(pixels > 0):
        gain = gain * (pixels / between).sqrt()
    features.gain.copy_(gain[:, None, None])


def _key(low: Tensor, high: Tensor) -> str:
    found = hashlib.sha256(f"{_VERSION} {_STEPS} {torch.__version__} {list(low.shape)}".encode())
    found.update(str(list(high.shape)).encode())
    found.update(high.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _read(features: FittedFeatures, file: Path) -> bool:
    """Whether ``file`` has given ``features`` their weights; one that is damaged has not."""
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
        features.load_state_dict(state)
    except Exception:  # torch raises many, and it is then made again
        return False
    return True


def _write(features: FittedFeatures, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as handle:
            torch.save(features.state_dict(), handle)
    except OSError as error:
        warnings.warn(
            f"the fitted features cannot be kept in {file.parent} "
            f"({error.strerror or os.strerror(error.errno or 0)}), so the next start fits them "
            "again",
            GankitWarning,
            stacklevel=outside_gankit(),
        )
