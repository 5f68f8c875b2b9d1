"""The sample pictures of a run as a video."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from gankit.atomic import atomic_write
from gankit.training.callbacks.samples_gif import frames_of
from gankit.training.movies import encode_mp4, import_av

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
    import_av()
    frames = frames_of(folder, say=say, of="video")
    if not frames:
        return 0
    width, height = (size - size % 2 for size in frames[0].size)
    shown = [*frames, *[frames[-1]] * (_LAST - 1)]
    pages = (np.asarray(frame.convert("RGB").crop((0, 0, width, height))) for frame in shown)
    with atomic_write(path) as out:
        encode_mp4(out, pages, Fraction(1000, milliseconds))
    return len(frames)
