"""Images out of a generator, and onto a page."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gankit.atomic import atomic_write
from gankit.errors import ConfigError, MissingExtra
from gankit.json_text import json_text
from gankit.nn.inference import eval_mode, seeded
from gankit.training.noise import Distribution, noise_for
from gankit.training.seeds import drawn_seed, stream

# Pixels of a grid: between images, between panels, of the letters, and of an image's shorter side.
_PADDING, _GAP, _FONT_SIZE, _LEGIBLE = 2, 12, 12, 56
_LARGEST_SCALE = 8
# What a picture says of itself, in a text of its PNG.
_LAYOUT = "gankit grid"
# A longer name of a column is cut to the width of the column, but not below this.
_FEWEST = 3
# A panel with a caption is at least this wide, so that pictures of one run have one size.
_CAPTION_WIDTH = 176


def generate(
    G: nn.Module,
    n: int,
    *,
    seed: int,
    distribution: Distribution = "normal",
    batch: int = 256,
    labels: Tensor | None = None,
) -> Tensor:
    """``n`` images of G in eval mode, float32 on the CPU, decided by ``seed`` alone.

    Neither G's mode nor any global random state is changed. z is drawn on the CPU, so that one seed
    means the same z on every device. Random numbers that G draws itself are independent of z and
    decided by ``seed`` and ``batch``.

    A conditional G, one with an int attribute ``n_classes``, is called as ``G(z, labels)`` with
    ``labels`` (int64 ``[n]``), by default 0, 1, ... and over again. Raises ConfigError if n < 1 or
    the labels do not fit.
    """
    parts = generate_batches(G, n, seed=seed, distribution=distribution, batch=batch, labels=labels)
    return torch.cat(list(parts))


def generate_batches(
    G: nn.Module,
    n: int,
    *,
    seed: int,
    distribution: Distribution = "normal",
    batch: int = 256,
    labels: Tensor | None = None,
    z: Tensor | None = None,
    numbers: Container[int] | None = None,
) -> Iterator[Tensor]:
    """The images of ``generate``, ``batch`` at a time, so that no memory holds them all.

    Those of ``z`` ``[n, z_dim]`` where it is given; of the batches, those that are ``numbers``.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; allowed are integers from 1")
    n_classes = getattr(G, "n_classes", None)
    if n_classes is None and labels is not None:
        raise ConfigError(f"labels are given, but {type(G).__name__} is not conditional")
    if n_classes is not None:
        labels = torch.arange(n) % n_classes if labels is None else labels.cpu()
        if labels.shape != (n,) or not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
            raise ConfigError(
                f"labels must be {n} of 0 to {n_classes - 1}, got {list(labels.shape)} of "
                f"{int(labels.min())} to {int(labels.max())}"
            )
    # A run's weights may have been drawn with the same seed, and G may draw numbers of its own: z
    # would equal them, number by number, if their generators were seeded alike.
    if z is None:
        z = noise_for(G, distribution, device="cpu", random=stream(seed, "z"))(n)
    return _batches(G, z, labels, batch, seed, numbers)


def generate_from(
    G: nn.Module, z: Tensor, labels: Tensor | None = None, *, seed: int = 0, batch: int = 256
) -> Tensor:
    """Images of ``z`` ``[N, z_dim]``, float32 on the CPU, N >= 1; the rest is as for ``generate``.

    ``labels`` (int64 ``[N]``) are given to a conditional G and no other.
    """
    return torch.cat(list(_batches(G, z, labels, batch, seed)))


def _batches(
    G: nn.Module,
    z: Tensor,
    labels: Tensor | None,
    batch: int,
    seed: int,
    numbers: Container[int] | None = None,
) -> Iterator[Tensor]:
    own, device = stream(seed, "the generator's own"), next(G.parameters(), z).device
    inputs = (z,) if labels is None else (z, labels)
    for number, part in enumerate(zip(*(x.split(batch) for x in inputs), strict=True)):
        own_seed = drawn_seed(own)  # also of a batch that another process makes
        if numbers is not None and number not in numbers:
            continue
        with torch.no_grad(), eval_mode(G), seeded(own_seed, device):
            images = G(*(x.to(device) for x in part)).float().cpu()
        yield images


def save_grid(
    path: str | os.PathLike[str],
    panels: Sequence[Tensor],
    *,
    columns: int,
    inverted: bool = False,
    captions: Sequence[str] = (),
    column_names: Sequence[str] = (),
    scale: int | None = None,
) -> None:
    """Write a PNG of one or more grids side by side.

    Args:
        path: the file.
        panels: float ``[N, C, H, W]`` in [-1, 1] on the CPU each. One channel is drawn in grey,
            three as RGB, four as RGBA; the rest as ``channels_in_words`` says.
        columns: images per row.
        inverted: dark on light (Matplotlib's ``gray_r``).
        captions: what stands above each panel, one for each or none. It is cut at the panel's edge.
        column_names: what stands above each column, such as its class; one for each or none.
        scale: pixels of the picture per pixel of an image, along each edge; None enlarges small
            images until their shorter side has 56 pixels, at most eightfold.

    Raises:
        ConfigError: another number of captions or names, or a scale below 1.
        MissingExtra: Pillow is not installed.
        OSError: the file cannot be written.
    """
    try:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    if scale is None:
        scale = min(-(-_LEGIBLE // min(panels[0].shape[2:])), _LARGEST_SCALE)
    if scale < 1:
        raise ConfigError(f"scale is {scale}; allowed are integers from 1")
    for name, given, wanted in (
        ("captions", captions, len(panels)),
        ("column_names", column_names, columns),
    ):
        if len(given) not in (0, wanted):
            raise ConfigError(f"{name} has {len(given)} entries; allowed are 0 and {wanted}")
    grids = [Image.fromarray(_tiled(panel, columns, scale, inverted)) for panel in panels]
    modes = {grid.mode for grid in grids}
    if len(modes) > 1:  # two domains may have different channels
        grids = [grid.convert("RGBA" if "RGBA" in modes else "RGB") for grid in grids]
    layout: dict[str, Any] = {
        "columns": columns,
        "inverted": inverted,
        "captions": list(captions),
        "column_names": list(column_names),
    }
    page, boxes = _page(grids, **layout)
    # For `reduced`; a short side of an image is as many pixels there.
    side = scale * min(min(panel.shape[2:]) for panel in panels)
    info = PngInfo()
    info.add_text(_LAYOUT, json_text({**layout, "boxes": boxes, "side": side}))
    with atomic_write(path) as file:
        page.save(file, format="PNG", pnginfo=info)


def _page(
    grids: Sequence[Any],
    *,
    columns: int,
    inverted: bool,
    captions: Sequence[str],
    column_names: Sequence[str],
) -> tuple[Any, list[tuple[int, int, int, int]]]:
    """The grids side by side with what stands above them, and where each of them is."""
    from PIL import Image, ImageDraw, ImageFont

    line = _FONT_SIZE + 6
    top = line * (bool(captions) + bool(column_names))
    widths = [max(grid.width, _CAPTION_WIDTH if captions else 0) for grid in grids]
    height = top + max(grid.height for grid in grids)
    mode = grids[0].mode
    light, dark, between = (_colour(mode, level) for level in (255, 0, 128))
    paper, ink = (light, dark) if inverted else (dark, light)
    width = sum(widths) + _GAP * (len(grids) - 1)
    page = Image.new(mode, (width, height), between)
    font = ImageFont.load_default(_FONT_SIZE) if top else None
    left, boxes = 0, []
    for number, (grid, wide) in enumerate(zip(grids, widths, strict=True)):
        panel = Image.new(mode, (wide, height), paper)
        panel.paste(grid, (0, top))
        draw = ImageDraw.Draw(panel)
        if captions:
            draw.text((_PADDING, line // 2), captions[number], fill=ink, font=font, anchor="lm")
        cell = (grid.width - _PADDING) / columns
        for column, name in enumerate(column_names):
            at = (int(cell * (column + 0.5)), top - line // 2)
            while len(name) > _FEWEST and draw.textlength(name, font) > cell:
                name = name[:-1]
            draw.text(at, name, fill=ink, font=font, anchor="mm")
        page.paste(panel, (left, 0))
        boxes.append((left, top, left + grid.width, top + grid.height))
        left += wide + _GAP
    return page, boxes


def reduced(picture: Any, width: int) -> Any:
    """A picture of ``save_grid``, as Pillow has it, with smaller images where it is wider.

    They are reduced by a whole number until the picture is ``width`` pixels wide, but keep 56 of
    their shorter side; what stands above them keeps its size. Other pictures come back as they are.
    """
    try:
        layout = json.loads(picture.info[_LAYOUT])
        boxes, side = layout.pop("boxes"), layout.pop("side")
        factor = max(1, min(-(-picture.width // width), side // _LEGIBLE))
        if factor == 1 or not all(_lies_inside(box, picture.size) for box in boxes):
            return picture
        page: Any = _page([picture.crop(box).reduce(factor) for box in boxes], **layout)[0]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return picture  # somebody else's, or an older gankit's
    return page


def _lies_inside(box: Sequence[int], size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    return 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]


def spread(classes: Sequence[int], columns: int) -> list[int]:
    """The classes of a grid's columns: all, or if they are more, as many at even distances."""
    if len(classes) <= columns:
        return list(classes)
    return [classes[column * len(classes) // columns] for column in range(columns)]


def to_bytes(images: Tensor, *, inverted: bool = False) -> Tensor:
    """Images in [-1, 1] as uint8 of the same shape; values outside count as -1 or 1."""
    bytes_ = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return 255 - bytes_ if inverted else bytes_


def channels_in_words(channels: int) -> str | None:
    """How images of so many channels are drawn, where that is not plain."""
    if channels == 2:
        return "images of 2 channels are drawn as red and green"
    if channels > 4:
        return f"of the {channels} channels of an image the first three are drawn, as RGB"
    return None


def drawable(images: Tensor) -> Tensor:
    """``[N, C, H, W]`` as grey, RGB or RGBA; see ``channels_in_words``."""
    channels = images.shape[1]
    if channels == 2:
        return torch.cat([images, torch.full_like(images[:, :1], -1.0)], dim=1)
    return images[:, :3] if channels > 4 else images


def _tiled(images: Tensor, columns: int, scale: int, inverted: bool) -> Any:
    """The grid as uint8 ``[H, W]`` or ``[H, W, C]`` of NumPy, with padding around each image."""
    big = to_bytes(drawable(images), inverted=inverted)
    big = big.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    n, channels, height, width = big.shape
    rows = -(-n // columns)
    high, wide = height + _PADDING, width + _PADDING
    page = torch.full(
        (channels, rows * high + _PADDING, columns * wide + _PADDING),
        255 if inverted else 0,
        dtype=torch.uint8,
    )
    for number, image in enumerate(big):
        y, x = number // columns * high + _PADDING, number % columns * wide + _PADDING
        page[:, y : y + height, x : x + width] = image
    return (page[0] if channels == 1 else page.permute(1, 2, 0)).contiguous().numpy()


def _colour(mode: str, level: int) -> int | tuple[int, ...]:
    return level if mode == "L" else (level, level, level, 255)[: len(mode)]
