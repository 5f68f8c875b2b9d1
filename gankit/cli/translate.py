"""``gankit translate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gankit.cli.image_files import places, report, save, shown
from gankit.data.image_files import decode
from gankit.data.images import normalize_bytes
from gankit.errors import ConfigError, DataError
from gankit.runs.build import pick_device
from gankit.saved import load
from gankit.training.image_files import check_folder
from gankit.training.pictures import to_bytes
from gankit.translator import LoadedTranslator
from gankit.upscaler import LoadedUpscaler


def translate(arguments: argparse.Namespace) -> int:
    """Translate an image, or the images of a folder; 1 if one of them cannot be read."""
    device = pick_device(arguments.device)
    translator = load(arguments.run, trust=arguments.trust, device=device)
    if isinstance(translator, LoadedUpscaler):
        raise ConfigError(
            f"{arguments.run} is a run that makes small images large, which gankit upscale does"
        )
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
    found, others = places(Path(arguments.input), out)
    check_folder(out, made)
    failed = []
    for file, place in shown(found, quiet=not sys.stderr.isatty()):
        try:
            image = normalize_bytes(decode(file, channels=channels)[None])
        except DataError as error:
            failed.append(error)
            continue
        result = translator.translate(image, direction, seed=arguments.seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        save(place, to_bytes(result)[0])
    return report(len(found), failed, out, others, given=arguments.input)


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
