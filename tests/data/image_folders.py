"""Small image files for the tests of the sets that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def noise(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Random bytes, ``[H, W, 3]`` or ``[H, W]``."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    """One image file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def flat(path: Path, color: tuple[int, int, int], height: int = 20, width: int = 20) -> Path:
    """An image file of one color."""
    return write(path, np.broadcast_to(np.uint8(color), (height, width, 3)))
