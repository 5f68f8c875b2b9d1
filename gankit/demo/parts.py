"""What all pages are made of: errors as sentences, files to download, looks."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from torch import Tensor

from gankit.errors import DataError, GankitError
from gankit.training.pictures import drawable, to_bytes

F = TypeVar("F", bound=Callable[..., Any])
SEEDS = 9999
# Small pictures are enlarged by a whole number until their shorter side has so many pixels.
_LEGIBLE, _LARGEST_SCALE = 256, 16

CSS = """
.gradio-container { width: 100%; max-width: 1100px !important; margin: 0 auto !important; }
.gankit-exact img { image-rendering: pixelated; }
/* So many columns that all of a few images are seen at once, also on a telephone. */
.gankit-exact .grid-container {
  grid-template-columns: repeat(4, minmax(0, 1fr)) !important;
  grid-auto-rows: auto !important;
}
@media (min-width: 800px) {
  .gankit-exact .grid-container { grid-template-columns: repeat(8, minmax(0, 1fr)) !important; }
}
"""


def theme() -> gr.themes.Base:
    """Gradio's own, with the system's fonts, which no server is asked for."""
    return gr.themes.Default(
        primary_hue="teal",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def new_page(title: str) -> gr.Blocks:
    """An empty page, whose files are deleted an hour after they were shown."""
    return gr.Blocks(
        title=title, fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)
    )


class Guard:
    """Makes functions into handlers of a page: one at a time, and an error is a sentence.

    Handlers run in threads, and running a generator sets modes and random states for a while.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, function: F) -> F:
        """``function`` as a handler."""

        @functools.wraps(function)
        def handler(*arguments: Any) -> Any:
            try:
                with self._lock:
                    return function(*arguments)
            except GankitError as error:
                raise gr.Error(f"{error}.", print_exception=False) from error

        return handler  # type: ignore[return-value]


class Downloads:
    """A folder of files for the browser, which is gone when the program ends."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gankit-demo-")

    def place(self, name: str) -> Path:
        """Where a new file of that name may be written."""
        return Path(tempfile.mkdtemp(dir=self._folder.name)) / name


def upload() -> gr.Image:
    """Where the visitor gives an image; one that cannot be read is a sentence.

    It stays the file that it was: what reads it turns it as its EXIF orientation says.
    """
    part = gr.Image(
        label="Image", type="filepath", image_mode=None, sources=["upload", "clipboard"]
    )
    read = part.preprocess

    def preprocess(payload: Any) -> Any:
        try:
            return read(payload)
        except (OSError, ValueError, SyntaxError) as error:  # Pillow's, of a file that is no image
            name = getattr(payload, "orig_name", None) or "the file"
            raise gr.Error(f"{name}: not an image.", print_exception=False) from error

    # Not a subclass: Gradio writes a file beside the module of each that is defined.
    part.preprocess = preprocess
    return part


def without_folder(error: DataError, file: Path) -> DataError:
    """The same, naming ``file`` but not the server's folder of uploads."""
    return DataError(str(error).replace(str(file), file.name))


def picture(image: Tensor) -> Any:
    """``image`` ``[C, H, W]`` in [-1, 1] for Pillow, each pixel one pixel."""
    from PIL import Image

    pixels = to_bytes(drawable(image[None]))[0]
    return Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).numpy())


def enlarged(image: Tensor) -> Any:
    """``picture`` with pixels of a whole number of pixels, so that a small one can be seen."""
    from PIL import Image

    small = picture(image)
    scale = max(1, min(-(-_LEGIBLE // min(small.size)), _LARGEST_SCALE))
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)


def seed_slider(**options: Any) -> gr.Slider:
    """From 0, in whole numbers."""
    return gr.Slider(0, SEEDS, **{"value": 0, "step": 1, "label": "Seed", **options})
