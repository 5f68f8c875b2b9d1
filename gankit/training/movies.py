"""Frames as a moving picture: GIF, and MP4 where PyAV is installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.errors import ConfigError, MissingExtra
from gankit.training.pictures import drawable, to_bytes

MOVIES = (".gif", ".mp4")
_PADDING = 2


def check_movie(path: Path) -> None:
    """Raise an error unless a moving picture can be written as ``path`` here."""
    if path.suffix.lower() == ".gif":
        try:
            import PIL  # noqa: F401
        except ImportError as error:
            raise MissingExtra("pillow", "train") from error
        return
    import_av()


def import_av() -> Any:
    """PyAV, which writes MP4; raises MissingExtra without it."""
    try:
        return import_module("av")
    except ImportError as error:
        raise MissingExtra("av", "video") from error


def encode_mp4(out: IO[bytes], pages: Iterable[np.ndarray], rate: Fraction) -> None:
    """Write uint8 ``[H, W, 3]`` pages of one even size as MP4 (H.264), ``rate`` a second."""
    av, stream = import_av(), None
    with av.open(out, "w", format="mp4") as container:
        for page in pages:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate)
                stream.height, stream.width = page.shape[:2]
                stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(page), format="rgb24")
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))


def save_movie(
    path: Path,
    frames: Sequence[Tensor],
    *,
    scale: int = 1,
    frames_per_second: int = 10,
    inverted: bool = False,
) -> None:
    """Write ``path``, a .gif or .mp4.

    Args:
        path: the file; the suffix says which.
        frames: each float ``[N, C, H, W]`` in [-1, 1] on the CPU: the images of a frame, which
            stand side by side.
        scale: pixels of the movie per pixel of an image, along each edge.
        frames_per_second: 1 to 50.
        inverted: dark on light.

    Raises ConfigError or MissingExtra where it cannot be written here, OSError where the place is
    not writable.
    """
    check_movie(path)
    if not 1 <= frames_per_second <= 50:
        raise ConfigError(f"frames_per_second is {frames_per_second}; allowed are 1 to 50")
    pages = [_page(frame, scale, inverted) for frame in frames]
    with atomic_write(path) as file:
        if path.suffix.lower() == ".gif":
            from PIL import Image

            images = [Image.fromarray(page) for page in pages]
            duration = round(1000 / frames_per_second)
            images[0].save(
                file,
                format="GIF",
                save_all=True,
                append_images=images[1:],
                duration=duration,
                loop=0,
            )
            return
        encode_mp4(file, pages, Fraction(frames_per_second))


def _page(images: Tensor, scale: int, inverted: bool) -> np.ndarray:
    """uint8 ``[H, W, 3]`` with even sides, as the usual format of pixels of MP4 asks for."""
    big = to_bytes(drawable(images)[:, :3], inverted=inverted)
    big = big.expand(-1, 3, -1, -1).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    paper = 255 if inverted else 0
    n, channels, height, width = big.shape
    high, wide = height + 2 * _PADDING, n * (width + _PADDING) + _PADDING
    page = torch.full((channels, high + high % 2, wide + wide % 2), paper, dtype=torch.uint8)
    for number, image in enumerate(big):
        left = _PADDING + number * (width + _PADDING)
        page[:, _PADDING : _PADDING + height, left : left + width] = image
    return np.ascontiguousarray(page.permute(1, 2, 0).numpy())
