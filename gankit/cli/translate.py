"""``gankit translate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gankit.cli.image_files import places, report, save, shown
from gankit.data.image_files import decode
from gankit.data.images import normalize_bytes
from gankit.domain_translator import DomainTranslator
from gankit.enhancer import LoadedEnhancer
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
    if isinstance(translator, LoadedEnhancer):
        raise ConfigError(
            f"{arguments.run} takes the noise out of speech, which gankit enhance does"
        )
    ways, channels, made = _ways(translator, arguments)
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
        for folder, way in ways.items():
            made_place = out / folder / place.relative_to(out)
            made_place.parent.mkdir(parents=True, exist_ok=True)
            result = translator.translate(image, way, seed=arguments.seed)
            save(made_place, to_bytes(result)[0])
    return report(len(found), failed, out, others, given=arguments.input)


def _ways(translator: Any, arguments: argparse.Namespace) -> tuple[dict[str, Any], int, int]:
    """What each image is translated to, by the folder that gets the results; and the channels of
    images that go in and come out."""
    if isinstance(translator, DomainTranslator):
        channels = translator.image_shape[0]
        return _targets(translator, arguments), channels, channels
    if not isinstance(translator, LoadedTranslator):
        raise ConfigError(
            f"{arguments.run} is a run whose generator takes noise, not images: gankit sample "
            "draws from it"
        )
    if arguments.to is not None:
        raise ConfigError(
            f"--to is {arguments.to}, which is for runs of many domains; allowed for "
            f"{arguments.run} is --direction {' or '.join(translator.directions)}"
        )
    direction = _direction(translator, arguments)
    channels, made = (translator.shapes[domain][0] for domain in direction.split("2"))
    return {"": direction}, channels, made


def _targets(translator: DomainTranslator, arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.direction is not None:
        raise ConfigError(
            f"--direction is {arguments.direction}, which is for runs of two domains; allowed for "
            f"{arguments.run} is --to"
        )
    domains, to = translator.domains, arguments.to
    if to is None:
        raise ConfigError(
            f"the run in {arguments.run} has many domains; add --to all, or --to one of "
            f"{', '.join(domains)}"
        )
    if to == "all" and "all" not in domains:
        return {_folder(name, number): number for number, name in enumerate(domains)}
    known = translator.exclusive or to in domains
    named = [to] if known else [] if to == "none" else to.split(",")
    try:
        translator.target(named)
    except ConfigError as error:
        raise ConfigError(f"--{error}") from error
    return {"": named}


def _folder(name: str, number: int) -> str:
    """``name`` as that of a folder; the number where it cannot be one everywhere."""
    plain = all(letter.isalnum() or letter in " _-+" for letter in name) and name.strip() == name
    return name if plain and name else f"domain {number}"


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
