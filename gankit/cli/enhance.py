"""``gankit enhance``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gankit.atomic import atomic_write
from gankit.data.audio_files import AUDIO_SUFFIXES, audio_blocks, opened_audio, soundfile
from gankit.data.files import files_below
from gankit.enhancer import LoadedEnhancer
from gankit.errors import ConfigError, DataError
from gankit.runs.build import pick_device
from gankit.saved import load

# Of these a sample beyond full scale is kept as it is.
_FLOATS = ("FLOAT", "DOUBLE")


def enhance(arguments: argparse.Namespace) -> int:
    """Take the noise out of a sound file, or those of a folder; 1 if one cannot be read."""
    soundfile()
    device = pick_device(arguments.device)
    enhancer = load(arguments.run, trust=arguments.trust, device=device)
    if not isinstance(enhancer, LoadedEnhancer):
        raise ConfigError(
            f"{arguments.run} is a run that makes images, not speech; allowed is one of segan"
        )
    given, out = Path(arguments.input), Path(arguments.out)
    places, others = _places(given, out)
    failed: list[DataError] = []
    clipped: list[str] = []
    for file, place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            count = enhance_file(enhancer, file, place, arguments.seed)
        except DataError as error:
            failed.append(error)
            continue
        if count:
            clipped.append(f"{place}: {count} sample{'s'[: count > 1]} beyond full scale clipped")
    done = len(places) - len(failed)
    if not done:
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise (
            failed[0]
            if len(failed) == 1
            else DataError(f"none of {len(failed)} sound files in {given} can be read; {failed[0]}")
        )
    beside = f", and {others} other file{'s'[: others > 1]} left alone" if others else ""
    print(f"{done} sound file{'s are' if done > 1 else ' is'} in {out}{beside}")
    for line in (*clipped, *(f"skipped {reason}" for reason in failed)):
        print(f"gankit: {line}", file=sys.stderr)
    return 1 if failed else 0


def _places(given: Path, out: Path) -> tuple[list[tuple[Path, Path]], int]:
    """Each sound file with the one that it becomes, and how many files of a folder are none."""
    names_a_file = out.suffix.lower() in AUDIO_SUFFIXES and not out.is_dir()
    if given.is_dir():
        files, others = files_below(given, AUDIO_SUFFIXES)
        if not files:
            raise DataError(
                f"{given} has no sound files in it, expected files of type "
                f"{', '.join(AUDIO_SUFFIXES)}"
            )
        if names_a_file:
            raise ConfigError(
                f"--out is {out}, which names a file; allowed for a folder is a folder, which "
                "gets a file of the same name for each"
            )
        places = [(file, out / file.relative_to(given)) for file in files]
    elif not given.exists():
        raise DataError(f"there is no file or folder {given}")
    elif names_a_file:
        if out.suffix.lower() != given.suffix.lower():
            raise ConfigError(
                f"--out is {out}, but the format stays that of {given}; allowed is a name in "
                f"{given.suffix or 'the same suffix'}"
            )
        if out.exists():
            raise ConfigError(f"{out} is there already; allowed is a new file")
        return [(given, out)], 0
    else:
        places, others = [(given, out / given.name)], []
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder; allowed is a new or an empty one")
    return places, len(others)


def enhance_file(enhancer: LoadedEnhancer, file: Path, place: Path, seed: int) -> int:
    """Write ``place`` with the rate, channels and format of ``file``.

    Returns how many of its samples were clipped.
    """
    clipped = 0

    def limited(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal clipped
        for block in blocks:
            clipped += int((np.abs(block) > 1.0).sum())
            yield block.clip(-1.0, 1.0)

    with opened_audio(file) as source:
        settings = {
            "samplerate": source.samplerate,
            "channels": source.channels,
            "format": source.format,
            "subtype": source.subtype,
        }
        made = enhancer.stream(audio_blocks(file, source), source.samplerate, seed=seed)
        if source.subtype not in _FLOATS:
            made = limited(made)
        with atomic_write(place) as whole, soundfile().SoundFile(whole, "w", **settings) as target:
            for block in made:
                target.write(block.T)
    return clipped
