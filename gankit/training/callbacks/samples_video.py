"""The sample pictures of a run as a video."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

from gankit.atomic import atomic_write
from gankit.errors import MissingExtra
from gankit.training.callbacks.samples_gif import frames_of

# Pictures that the last one stays.
_LAST = 8


def write_mp4(
    folder: Path, path: Path, *, milliseconds: int = 250, say: Callable[[str], None]
) -> int:
    """Write the sample pictures in ``folder`` as the MP4 (H.264) ``path``; how many they are.

    They are the frames of ``write_gif``, one pixel less in height or width where that is odd, as
    the format demands. ``say`` is given a sentence for each that is left out; without any nothing
    is written. Raises MissingExtra without PyAV or Pillow, DataError if no picture can be read,
    OSError if the video cannot be written.
    """
    try:
        av: Any = import_module("av")
    except ImportError as error:
        raise MissingExtra("av", "video") from error
    frames = frames_of(folder, say=say, of="video")
    if not frames:
        return 0
    width, height = (size - size % 2 for size in frames[0].size)
    with atomic_write(path) as out, av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000, milliseconds))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "12"}
        for frame in [*frames, *[frames[-1]] * (_LAST - 1)]:
            picture = av.VideoFrame.from_image(frame.crop((0, 0, width, height)))
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return len(frames)
