"""``gankit translate``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from torch import Tensor

from gankit.atomic import atomic_write
from gankit.data.image_files import decode, list_image_files
from gankit.data.images import normalize_bytes
from gankit.errors import ConfigError, DataError, MissingExtra
from gankit.runs.build import pick_device
from gankit.saved import load
from gankit.training.image_files import check_folder
from gankit.training.pictures import to_bytes
from gankit.translator import LoadedTranslator


def translate(arguments: argparse.Namespace) -> int:
    """Translate an image, or the images of a folder; 1 if one of them cannot be read."""
    device = pick_device(arguments.device)
    translator = load(arguments.run, trust=arguments.trust, device=device)
    if not isinstance(translator, LoadedTranslator):
        raise ConfigError(
            f"{arguments.run} is a run whose generator takes noise, not images: gankit sample "
            "draws from it"
        )
    direction = _direction(translator, arguments)
    channels, made = (translator.shapes[domain][0] for domain in direction.split("2"))
    if channels not in (1, 3):
        raise ConfigError(
            f"the run in {arguments.run} takes images of {channels} channels; allowed for files "
            "are 1 and 3"
        )
    out = Path(arguments.out)
    if out.suffix.lower() == ".png" and not out.is_dir():
        raise ConfigError(
            f"--out is {out}, which names a file; allowed is a folder, which gets a PNG of the "
            "same name for each image"
        )
    places, others = _places(Path(arguments.input), out)
    check_folder(out, made)
    failed = []
    for file, place in _shown(places, quiet=not sys.stderr.isatty()):
        try:
            image = normalize_bytes(decode(file, channels=channels)[None])
        except DataError as error:
            failed.append(error)
            continue
        result = translator.translate(image, direction, seed=arguments.seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        _save(place, to_bytes(result)[0])
    done = len(places) - len(failed)
    if not done:
        raise (
            failed[0]
            if len(failed) == 1
            else DataError(
                f"none of {len(failed)} images in {arguments.input} can be read; {failed[0]}"
            )
        )
    beside = f", and {others} other file{'s'[: others > 1]} left alone" if others else ""
    print(f"{done} image{'s are' if done > 1 else ' is'} in {out}{beside}")
    for reason in failed:
        print(f"gankit: skipped {reason}", file=sys.stderr)
    return 1 if failed else 0


def _direction(translator: LoadedTranslator, arguments: argparse.Namespace) -> str:
    directions = translator.directions
    if arguments.direction is None and len(directions) > 1:
        raise ConfigError(
            f"the run in {arguments.run} goes both ways; add --direction {' or '.join(directions)}"
        )
    if arguments.direction not in (None, *directions):
        raise ConfigError(
            f"--direction is {arguments.direction}, but the run in {arguments.run} has learned "
            f"{' and '.join(directions)} alone"
        )
    return translator.direction(arguments.direction)


def _places(given: Path, out: Path) -> tuple[list[tuple[Path, Path]], int]:
    """Each image with the PNG that it becomes, and how many files of a folder are no images.

    A name keeps its suffix in front of ``.png`` where two images would have one name.
    """
    if given.is_dir():
        files, others = list_image_files(given)
        names = [file.relative_to(given) for file in files]
        if not files:
            raise DataError(f"{given} has no images in it")
    elif given.exists():
        files, names, others = [given], [Path(given.name)], []
    else:
        raise DataError(f"there is no file or folder {given}")
    shared = Counter(name.with_suffix(".png") for name in names)
    new = [
        name.with_suffix(".png")
        if shared[name.with_suffix(".png")] == 1
        else name.with_name(f"{name.name}.png")
        for name in names
    ]
    return [(file, out / name) for file, name in zip(files, new, strict=True)], len(others)


def _shown(places: list[tuple[Path, Path]], *, quiet: bool) -> list[tuple[Path, Path]]:
    """The same, with a bar on a terminal that says how many are done."""
    if quiet:
        return places
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingExtra("tqdm", "train") from error
    shown: list[tuple[Path, Path]] = tqdm(places, unit="image", leave=False)
    return shown


def _save(path: Path, image: Tensor) -> None:
    from PIL import Image

    pixels = (image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy()
    with atomic_write(path) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
