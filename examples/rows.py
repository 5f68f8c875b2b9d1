"""Labelled rows of small images, big enough for a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.errors import DataError, MissingExtra

FONT_SIZE, GAP, GREYS = 14, 2, 16


def save_rows(path: Path, rows: Mapping[str, Tensor], *, scale: int) -> None:
    """Write a PNG with a row of images per entry, its name in front.

    Args:
        path: of the PNG.
        rows: names to grey images ``[N, 1, H, W]`` in [-1, 1], all of one size; several rows of a
            name are a list ``[R, N, 1, H, W]``.
        scale: pixels of the picture per pixel of an image, along each edge.

    Raises:
        DataError: the images are no grey ones of one size.
        MissingExtra: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingExtra("pillow", "train") from error
    lines = [
        ("" if number else name, line)
        for name, images in rows.items()
        for number, line in enumerate(images if images.ndim == 5 else images.unsqueeze(0))
    ]
    sizes = {tuple(line.shape[1:]) for _, line in lines}
    if len(sizes) != 1 or next(iter(sizes))[:1] != (1,):
        raise DataError(f"rows must be grey images [N, 1, H, W] of one size, got {sorted(sizes)}")
    height, width = (scale * size + GAP for size in next(iter(sizes))[1:])
    font = ImageFont.load_default(FONT_SIZE)
    margin = max(int(font.getlength(name)) for name, _ in lines) + 3 * GAP
    columns = max(len(line) for _, line in lines)
    page = Image.new("L", (margin + width * columns, height * len(lines)), 255)
    draw = ImageDraw.Draw(page)
    for row, (name, line) in enumerate(lines):
        top = row * height
        draw.text((0, top + height // 2), name, fill=0, font=font, anchor="lm")
        pixels = ((line[:, 0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        big = pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        for column, image in enumerate(big):
            page.paste(Image.fromarray(image.numpy()), (margin + column * width, top))
    # Sixteen greys are a third of the bytes, and no eye sees the difference.
    step = 255 // (GREYS - 1)
    page = page.point([round(value / step) * step for value in range(256)])
    with atomic_write(path) as file:
        page.quantize(GREYS).save(file, format="PNG", optimize=True)
