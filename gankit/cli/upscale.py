"""``gankit upscale``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gankit.cli.image_files import places, report, save
from gankit.data.image_files import decode, resize, stored_channels
from gankit.data.images import normalize_bytes
from gankit.errors import ConfigError, DataError, MissingExtra
from gankit.runs.build import pick_device
from gankit.saved import load
from gankit.training.image_files import check_folder
from gankit.training.pictures import to_bytes
from gankit.training.upscaling import tiles, upscale_tiles
from gankit.upscaler import LoadedUpscaler


def upscale(arguments: argparse.Namespace) -> int:
    """Make an image larger, or the images of a folder; 1 if one of them cannot be read."""
    device = pick_device(arguments.device)
    upscaler = load(arguments.run, trust=arguments.trust, device=device)
    if not isinstance(upscaler, LoadedUpscaler):
        raise ConfigError(
            f"{arguments.run} is a run whose generator does not make small images large; allowed "
            "are those of srresnet and srgan"
        )
    if upscaler.channels not in (1, 3):
        raise ConfigError(
            f"the run in {arguments.run} takes images of {upscaler.channels} channels; allowed "
            "for files are 1 and 3"
        )
    given, out = Path(arguments.input), Path(arguments.out)
    found, others = places(given, out)
    if out.suffix.lower() != ".png" or out.is_dir():
        check_folder(out, upscaler.channels)
    elif given.is_dir():
        raise ConfigError(
            f"--out is {out}, which names a file; allowed for a folder of images is a folder"
        )
    elif out.exists():
        raise ConfigError(f"--out is {out}, which exists; allowed is a new file")
    else:
        found = [(given, out)]
    failed = []
    for number, (file, place) in enumerate(found, 1):
        words = file.name if len(found) == 1 else f"{number}/{len(found)} {file.name}"
        try:
            image = enlarged_file(upscaler, file, arguments.tile, words)
        except DataError as error:
            failed.append(error)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        save(place, image)
    return report(len(found), failed, out, others, given=arguments.input)


def enlarged_file(upscaler: LoadedUpscaler, file: Path, tile: int, words: str) -> Tensor:
    """uint8 ``[C, scale H, scale W]``, C 1 to 4: grey or RGB, and opacity where ``file`` has it.

    A network of one channel is given the channels of a color image one by one; one of three is
    given a grey image as RGB, of which the mean is grey again.
    """
    grey = stored_channels(file) == 1
    pixels = decode(file, channels=4)
    color, opacity = pixels[:3], pixels[3:]
    wanted = 1 if grey else 3
    if upscaler.channels == 1:
        made = torch.cat([_made(upscaler, plane, tile, words) for plane in color[:wanted].split(1)])
    else:
        made = _made(upscaler, color, tile, words)
        made = made.float().mean(0, keepdim=True).round().byte() if grey else made
    if bool((opacity == 255).all()):
        return made
    height, width = made.shape[1:]
    return torch.cat([made, resize(opacity, (height, width))])


def _made(upscaler: LoadedUpscaler, image: Tensor, tile: int, words: str) -> Tensor:
    """uint8 ``[C, scale H, scale W]`` of ``image`` uint8 ``[C, H, W]``, a tile after the other."""
    scale = upscaler.scale
    channels, height, width = image.shape
    made = torch.empty(channels, scale * height, scale * width, dtype=torch.uint8)
    shown = normalize_bytes(image)
    with _Progress(sum(1 for _ in tiles(height, width, tile, 0)), words) as step:
        for part, result in upscale_tiles(upscaler.network, shown, scale, tile):
            rows, columns = (
                slice(scale * side.start, scale * side.stop) for side in (part.rows, part.columns)
            )
            made[:, rows, columns] = to_bytes(result)
            step()
    return made


class _Progress:
    """A bar on a terminal that says how many tiles of an image are done."""

    def __init__(self, total: int, words: str) -> None:
        self._bar: Any = None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError as error:
                raise MissingExtra("tqdm", "train") from error
            self._bar = tqdm(total=total, desc=words, unit="tile", leave=False)

    def __enter__(self) -> Callable[[], object]:
        return self._bar.update if self._bar is not None else lambda: None

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
