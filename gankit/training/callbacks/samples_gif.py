"""The sample pictures of a run as one moving picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gankit.atomic import atomic_write
from gankit.errors import DataError, MissingExtra
from gankit.training.callbacks.drawing import Drawing
from gankit.training.callbacks.sample_grid import SAMPLE_NAME
from gankit.training.pictures import reduced

if TYPE_CHECKING:
    from gankit.training.trainer import Trainer

MAX_FRAMES = 200
# Of all frames together: bounds the time, a second or two, and the memory.
_MAX_PIXELS = 40_000_000
# Of a frame, in pixels, where its images stay legible.
_WIDTH = 1280


class SamplesGif(Drawing):
    """Join the pictures of ``folder`` into the GIF ``path``, at each new one and at the end.

    While the run goes on it is drawn only where that costs little (see ``Drawing``). A picture that
    cannot be read, or is of another size than most, is left out with a warning.
    """

    _needs = ("PIL", "pillow")

    def __init__(
        self,
        folder: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        milliseconds: int = 250,
    ) -> None:
        super().__init__(path)
        self.folder, self.milliseconds = Path(folder), milliseconds

    def on_picture(self, trainer: Trainer, path: Path) -> None:
        self._changed = True
        self._draw_if_cheap(trainer)

    def _draw(self, trainer: Trainer) -> None:
        write_gif(self.folder, self.path, milliseconds=self.milliseconds, say=self._warn)


def write_gif(
    folder: Path, path: Path, *, milliseconds: int = 250, say: Callable[[str], None]
) -> int:
    """Write the sample pictures in ``folder`` as the GIF ``path``, and return how many they are.

    At most 200 of them, and fewer large ones, at equal distances up to the last. Images of more
    than 112 pixels are reduced where the picture is wider than 1,280. ``say`` is given a sentence
    for each that is left out; without any nothing is written. Raises MissingExtra without Pillow,
    DataError if no picture can be read, OSError if the GIF cannot be written.
    """
    frames = [_in_256_colors(frame) for frame in frames_of(folder, say=say, of="GIF")]
    if not frames:
        return 0
    with atomic_write(path) as out:
        frames[0].save(
            out,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=[milliseconds] * (len(frames) - 1) + [8 * milliseconds],
            loop=0,
        )
    return len(frames)


def frames_of(folder: Path, *, say: Callable[[str], None], of: str) -> list[Any]:
    """The sample pictures in ``folder`` as RGB pictures of one size; see ``write_gif``.

    ``of`` is what they are the frames of, in words. Raises as ``write_gif`` does.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    say = _once(say)
    sizes: dict[Path, tuple[int, int]] = {}
    for file in sample_pictures(folder):
        try:
            if not file.is_file():  # a named pipe would be waited for
                raise DataError("it is not a file")
            with Image.open(file) as picture:
                sizes[file] = picture.size
        except Exception as error:  # Pillow raises a dozen kinds for damaged files
            say(_left_out(file, error, of))
    if not sizes:
        return []
    frames: list[Any] = []
    tried = []
    # Of two sizes as frequent the newest comes first.
    for usual, _ in Counter(reversed(sizes.values())).most_common():
        files = [file for file, size in sizes.items() if size == usual]
        tried.append(usual)
        # The last says how large a frame is.
        last = next(_frames(files[::-1], say, of), None)
        if last is None:
            continue
        most = max(1, min(MAX_FRAMES, _MAX_PIXELS // (last.width * last.height)))
        stride = -(-len(files) // most)
        frames = list(_frames(files[::-1][::stride][::-1], say, of))
        break
    else:
        raise DataError(f"none of the {len(sizes)} pictures in {folder} can be read")
    for file, (width, height) in sizes.items():
        if (width, height) not in tried:
            what = f"it is of {width}x{height} pixels, most are of {usual[0]}x{usual[1]}"
            say(_left_out(file, DataError(what), of))
    return [frame for frame in frames if frame.size == last.size]


def sample_pictures(folder: Path) -> list[Path]:
    """The sample grids in ``folder``, in the order of their steps."""
    if not folder.is_dir():
        return []
    found = (file for file in folder.iterdir() if SAMPLE_NAME.fullmatch(file.name))
    return sorted(found, key=lambda file: (step_of(file), file.name))


def step_of(file: Path) -> int:
    """The step in the name of a sample grid."""
    return int(file.stem.rpartition("_")[2])


def _frames(files: list[Path], say: Callable[[str], None], of: str) -> Iterator[Any]:
    from PIL import Image

    for file in files:
        try:
            with Image.open(file) as picture:
                picture.load()
                yield reduced(picture, _WIDTH).convert("RGB")
        except Exception as error:
            say(_left_out(file, error, of))


def _in_256_colors(frame: Any) -> Any:
    from PIL import Image, ImageChops

    red, green, blue = frame.split()
    grey = not any(ImageChops.difference(red, other).getbbox() for other in (green, blue))
    # Pillow's own choice of 256 colours takes half a second for a large picture.
    return red if grey else frame.quantize(method=Image.Quantize.FASTOCTREE)


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    said: set[str] = set()

    def each(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            say(sentence)

    return each


def _left_out(file: Path, error: Exception, of: str) -> str:
    what = " ".join(str(error).split()) or type(error).__name__
    return f"{file} is left out of the {of}: {what}"
