"""Sample grids inside a page, as ``data:`` addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gankit.errors import DataError, MissingExtra
from gankit.training.callbacks.samples_gif import step_of

MAX_PICTURES = 50
# Larger files are drawn again: narrower, and with losses that the eye does not see.
_MAX_BYTES, _MAX_WIDTH, _QUALITY = 300_000, 1600, 80
# Of all pictures that are drawn again, which bounds the time to some seconds.
_MAX_PIXELS = 40_000_000


class Embedded(NamedTuple):
    """A sample grid: its step, its address for ``<img src>`` and its size in pixels."""

    step: int
    source: str
    width: int
    height: int


def embedded(pictures: list[Path], say: Callable[[str], None]) -> list[Embedded]:
    """At most 50 of ``pictures``, and fewer large ones, at equal distances up to the last.

    ``say`` is given a sentence for each that cannot be read. Raises MissingExtra without Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    most = MAX_PICTURES
    for file in pictures[::-1]:  # the newest that can be read says how large they are
        try:
            with Image.open(_checked(file)) as picture:
                large = file.stat().st_size > _MAX_BYTES
                pixels = picture.width * picture.height
        except Exception:  # it is named below
            continue
        most = max(1, min(most, _MAX_PIXELS // pixels)) if large else most
        break
    stride = max(1, -(-len(pictures) // most))
    return list(_read(pictures[::-1][::stride][::-1], say))


def _read(files: list[Path], say: Callable[[str], None]) -> Iterator[Embedded]:
    from PIL import Image

    for file in files:
        try:
            data, kind = _checked(file).read_bytes(), "png"
            with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
                width, height = picture.size
                picture.load()
                if len(data) > _MAX_BYTES:
                    data, kind = _smaller(picture), "webp"
        except Exception as error:  # Pillow raises a dozen kinds for damaged files
            what = " ".join(str(error).split()) or type(error).__name__
            say(f"{file} is left out of the page: {what}")
            continue
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        yield Embedded(step_of(file), source, width, height)


def _checked(file: Path) -> Path:
    if not file.is_file():  # a named pipe would be waited for
        raise DataError("it is not a file")
    return file


def _smaller(picture: Any) -> bytes:
    """``picture`` of Pillow, at most 1,600 pixels wide, as WebP."""
    if picture.width > _MAX_WIDTH:
        picture = picture.resize((_MAX_WIDTH, picture.height * _MAX_WIDTH // picture.width))
    out = io.BytesIO()
    drawn = picture.convert("RGBA" if "A" in picture.mode else "RGB")
    drawn.save(out, format="WEBP", quality=_QUALITY)
    return out.getvalue()
