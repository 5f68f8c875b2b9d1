"""Image files below a folder, decoded by Pillow to uint8 tensors."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from gankit.data.files import files_below
from gankit.errors import DataError, GankitWarning, MissingExtra, outside_gankit, shortened

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SUFFIXES",
    "Fit",
    "Source",
    "check_background",
    "decode",
    "decode_all",
    "decode_resized",
    "headers",
    "in_threads",
    "list_image_files",
    "resize",
    "stored_channels",
    "warn_of_skipped",
]

# The suffixes of the formats that are decoded. Others of Pillow's start programs (EPS), have
# nothing that tells them from damaged files (TGA), or are no pictures.
_FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
SUFFIXES = tuple(suffix for suffixes in _FORMATS.values() for suffix in suffixes)

Fit = Literal["crop", "stretch", "pad"]
# A file, or what it is called and its bytes.
Source = Path | tuple[str, bytes]
_T = TypeVar("_T")
_R = TypeVar("_R")

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY_MODES = ("1", "L", "LA", "La", "I", "F")


def list_image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files below ``folder``, and the files that are none by their suffix.

    Both are sorted by their path, the same on every machine. Hidden files and folders are left
    out, links are followed.

    Raises:
        DataError: a folder cannot be read.
    """
    return files_below(folder, SUFFIXES)


def stored_channels(path: Path) -> int:
    """1 for a file whose pixels are stored as grey values, 3 for all others (palettes too).

    Raises:
        DataError: the file is not an image, or its header is damaged.
        MissingExtra: Pillow is not installed.
    """
    with _opened(path) as image:
        return 1 if image.mode.split(";")[0] in _GREY_MODES else 3


def check_background(color: object) -> None:
    """Raise DataError unless ``color`` is one that Pillow knows, such as ``"white"``."""
    try:
        from PIL import ImageColor
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    try:
        if not isinstance(color, str):
            raise ValueError
        ImageColor.getrgb(color)
    except ValueError:
        raise DataError(
            f"background is {shortened(color)}, expected a color such as 'white' or '#808080'"
        ) from None


def decode(path: Source, *, channels: int, background: str = "white") -> Tensor:
    """One image file as uint8 ``[channels, H, W]``, 0 to 255.

    The picture is turned as its EXIF orientation says. Transparent pixels are laid over
    ``background``, unless there are 4 channels. Values of 16 bits are rounded to 8. Of a file with
    several pictures it is the first.

    Args:
        path: a file in one of the formats of ``SUFFIXES``, whatever its name ends in, or the name
            and the content of one.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and opacity).
        background: a color that Pillow knows.

    Raises:
        DataError: the file is not an image, damaged or truncated, or so large when unpacked that
            Pillow takes it for an attack.
        MissingExtra: Pillow is not installed.
    """
    return _to_tensor(_picture(path, channels, background))


def decode_resized(
    path: Source,
    image_size: tuple[int, int] | None,
    *,
    channels: int,
    fit: Fit = "crop",
    background: str = "white",
) -> Tensor:
    """What ``decode`` and then ``resize`` give, without the tensor between them."""
    whole = _picture(path, channels, background)
    if image_size not in (None, (whole.height, whole.width)):
        whole = _resized(whole, image_size, fit, background)
    return _to_tensor(whole)


def _picture(path: Source, channels: int, background: str) -> Image:
    with _opened(path) as image:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise DataError(f"{_name(path)}: floating-point pixels have no known range")
        if image.mode.startswith("I"):
            image = _to_eight_bits(image)
        if image.has_transparency_data and channels != 4:
            image = _over(background, image)
        return image.convert(_MODES[channels])


def resize(
    image: Tensor,
    image_size: int | tuple[int, int],
    fit: Fit = "stretch",
    background: str = "white",
) -> Tensor:
    """uint8 ``[C, H, W]``, C 1, 3 or 4, at another size: bicubic, antialiased when shrinking.

    Args:
        image: the picture.
        image_size: height and width, or one number for both.
        fit: what happens to a picture of another aspect. ``"crop"`` takes the largest part of it
            that has the right one, from its center; ``"stretch"`` distorts it; ``"pad"`` keeps all
            of it and fills the borders.
        background: the color of the borders, which are transparent if there are 4 channels.
    """
    from PIL import Image

    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if image.shape[1:] == size:
        return image
    pixels = image[0].numpy() if len(image) == 1 else image.numpy().transpose(1, 2, 0)
    whole = Image.fromarray(np.ascontiguousarray(pixels))
    return _to_tensor(_resized(whole, size, fit, background))


def _resized(whole: Image, image_size: tuple[int, int], fit: Fit, background: str) -> Image:
    from PIL import Image, ImageColor

    height, width = image_size
    bicubic = Image.Resampling.BICUBIC
    if fit == "stretch":
        return whole.resize((width, height), bicubic)
    ratios = width / whole.width, height / whole.height
    if fit == "crop":
        # A quotient may round to more than the picture has.
        across, down = (
            min(part / max(ratios), side)
            for part, side in ((width, whole.width), (height, whole.height))
        )
        left, top = (whole.width - across) / 2, (whole.height - down) / 2
        box = (left, top, left + across, top + down)
        return whole.resize((width, height), bicubic, box=box)
    scale = min(ratios)
    size = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
    color: Any = ImageColor.getcolor(background, "RGB" if whole.mode == "RGBA" else whole.mode)
    page = Image.new(whole.mode, (width, height), (*color, 0) if whole.mode == "RGBA" else color)
    page.paste(whole.resize(size, bicubic), ((width - size[0]) // 2, (height - size[1]) // 2))
    return page


def headers(
    files: Sequence[Path], name: str, *, progress: bool = False
) -> Generator[int | DataError]:
    """``stored_channels`` of each file, in their order, or why it has none.

    ``progress`` shows on a terminal how far it is, ``name`` being what messages call the set.
    """

    def stored(file: Path) -> int | DataError:
        try:
            return stored_channels(file)
        except DataError as error:
            return error

    return in_threads(stored, files, f"looking at {name}" if progress else None)


def decode_all(
    items: Sequence[tuple[Path, ...]],
    arrange: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]],
    name: str,
    *,
    channels: int | None = None,
    background: str = "white",
    progress: bool = False,
) -> tuple[list[Tensor], dict[int, DataError]]:
    """The images of all items, stacked, and the errors of the items that cannot be read.

    Args:
        items: the files of each item, at least one item.
        arrange: makes of the images of an item (uint8 ``[C, H, W]``) those that are kept. Its
            DataError gets the name of the file. It is called from several threads.
        name: what messages call the set.
        channels: of each image, 1, 3 or 4. None: the k-th image of each item has one channel if the
            k-th file of all items stores grey values, else three.
        background: what transparent pixels are laid over.
        progress: show on a terminal how far it is.

    Returns:
        One tensor uint8 ``[N, C, H, W]`` per image that ``arrange`` gives, N being the number of
        items that were read, in their order; and the errors by the number of their item.

    Raises:
        DataError: no item can be read, or the images are not all of one size.
        MissingExtra: Pillow is not installed.
    """

    def stored(item: tuple[Path, ...]) -> list[int] | DataError:
        try:
            return [stored_channels(file) for file in item]
        except DataError as error:
            return error

    def read(number: int) -> tuple[Tensor, ...] | DataError:
        item = items[number]
        try:
            images = tuple(
                decode(file, channels=count, background=background)
                for file, count in zip(item, each, strict=True)
            )
        except DataError as error:
            return error
        try:
            return arrange(images)
        except DataError as error:
            return DataError(f"{item[0]}: {error}")

    errors: dict[int, DataError] = {}
    each = [channels or 1] * len(items[0])
    if channels is None:
        for number, found in enumerate(in_threads(stored, items)):
            if isinstance(found, DataError):
                errors[number] = found
            else:
                each = [max(pair) for pair in zip(each, found, strict=True)]
    readable = [number for number in range(len(items)) if number not in errors]
    stacks: list[Tensor] = []
    count = 0
    decoded = in_threads(read, readable, f"reading {name}" if progress else None)
    with closing(decoded):
        for number, images in zip(readable, decoded, strict=True):
            if isinstance(images, DataError):
                errors[number] = images
                continue
            if not stacks:
                stacks = [torch.empty(len(readable), *t.shape, dtype=torch.uint8) for t in images]
            for stack, image in zip(stacks, images, strict=True):
                if image.shape != stack.shape[1:]:
                    raise DataError(
                        f"{name}: images of different sizes in one set, {_in_words(stack)} and "
                        f"{_in_words(image)}; give an image_size"
                    )
                stack[count] = image
            count += 1
    errors = dict(sorted(errors.items()))
    if count == 0:
        first = next(iter(errors.values()))
        raise DataError(f"{name}: none of {len(items)} images can be read; {first}")
    return [stack[:count] for stack in stacks], errors


def in_threads(
    function: Callable[[_T], _R], items: Sequence[_T], what: str | None = None
) -> Generator[_R]:
    """``function`` of each item, in their order; Pillow decodes outside Python's lock.

    ``what`` is said beside a progress bar, on a terminal and after a second.
    """
    pool = ThreadPoolExecutor(thread_name_prefix="gankit-images")
    try:
        results: Iterable[_R] = pool.map(function, items)
        if what is not None:
            try:
                from tqdm import tqdm
            except ImportError as error:
                raise MissingExtra("tqdm", "train") from error
            results = tqdm(results, what, len(items), leave=False, delay=1, disable=None)
        yield from results
    finally:  # an interrupted run does not read the rest first
        pool.shutdown(cancel_futures=True)


def warn_of_skipped(
    name: str, errors: Iterable[object], others: Iterable[Path], what: str = "an image"
) -> None:
    """Warn (GankitWarning) of the files that were left out, with the first of them by name."""
    reasons = [str(error) for error in errors] + [f"{path}: not {what}" for path in others]
    if not reasons:
        return
    more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    files = "file" if len(reasons) == 1 else "files"
    warnings.warn(
        f"{name}: skipped {len(reasons)} {files}: {'; '.join(reasons[:5])}{more}",
        GankitWarning,
        stacklevel=outside_gankit(),
    )


def _name(path: Source) -> str:
    return path[0] if isinstance(path, tuple) else str(path)


@contextmanager
def _opened(path: Source) -> Iterator[Image]:
    """The file as Pillow's image; whatever fails before it is closed is a DataError."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    name = _name(path)
    try:
        if isinstance(path, Path) and not path.is_file():  # a pipe has no end
            raise DataError(f"{name}: not a regular file, expected an image")
        file = path if isinstance(path, Path) else io.BytesIO(path[1])
        with Image.open(file, formats=tuple(_FORMATS)) as image:
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not an image, expected {', '.join(_FORMATS)}") from error
    except Exception as error:  # Pillow's decoders fail in many ways, all mean the same
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise DataError(f"{name}: cannot be decoded ({reason})") from error


def _to_eight_bits(image: Image) -> Image:
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError(f"values from {values.min()} to {values.max()}, expected 0 to 65535")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _over(background: str, image: Image) -> Image:
    from PIL import Image

    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


def _to_tensor(image: Image) -> Tensor:
    # Laid out by NumPy, as torch would start threads in each of the threads that decode.
    pixels = np.array(image, dtype=np.uint8)
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return torch.from_numpy(pixels)


def _in_words(images: Tensor) -> str:
    height, width = images.shape[-2:]
    return f"{width}x{height}"
