"""Sound files, read and written by libsndfile."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gankit.data.resampling import resampled
from gankit.errors import DataError, MissingExtra

__all__ = ["AUDIO_SUFFIXES", "audio_blocks", "opened_audio", "read_mono", "soundfile"]

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".aif", ".aiff")
_BLOCK = 65536


def soundfile() -> Any:
    """The module. Raises MissingExtra where it is not installed."""
    try:
        import soundfile as module
    except (ImportError, OSError) as error:  # the library of C below it may be absent
        raise MissingExtra("soundfile", "audio") from error
    return module


@contextmanager
def opened_audio(path: Path) -> Iterator[Any]:
    """The file as a ``soundfile.SoundFile``; whatever fails before it is closed is a DataError.

    Raises:
        DataError: not a sound file, damaged, or without samples.
        MissingExtra: soundfile is not installed.
    """
    module = soundfile()
    if not path.is_file():  # a pipe has no end
        raise DataError(f"{path}: not a regular file, expected a sound file")
    try:
        file = module.SoundFile(path)
    except (module.SoundFileError, RuntimeError, OSError) as error:
        reason = textwrap.shorten(str(error).rpartition(": ")[2], 200)
        raise DataError(f"{path}: not a sound file that can be read ({reason})") from error
    with file:
        if file.frames < 1:
            raise DataError(f"{path}: no samples in it")
        yield file


def audio_blocks(path: Path, file: Any) -> Iterator[np.ndarray]:
    """The samples of the open ``file``, float64 ``[channels, T]``, full scale being 1.

    Raises:
        DataError: damaged or truncated, or samples that are NaN or infinite.
    """
    module = soundfile()
    left = int(file.frames)
    while left:
        try:
            block = file.read(_BLOCK, dtype="float64", always_2d=True)
        except (module.SoundFileError, RuntimeError) as error:
            reason = textwrap.shorten(str(error).rpartition(": ")[2], 200)
            raise DataError(f"{path}: cannot be decoded ({reason})") from error
        if not len(block):
            raise DataError(f"{path}: truncated, {left} of {file.frames} samples are missing")
        if not np.isfinite(block).all():
            raise DataError(f"{path}: samples that are NaN or infinite")
        left -= len(block)
        yield np.ascontiguousarray(block.T)


def read_mono(path: Path, sample_rate: int) -> np.ndarray:
    """The mean of all channels at ``sample_rate``, float64 ``[T]``, full scale being 1.

    Files of any rate and any number of bits are taken.

    Raises:
        DataError: as ``opened_audio`` and ``audio_blocks``.
        MissingExtra: soundfile, or scipy for another rate, is not installed.
    """
    with opened_audio(path) as file:
        blocks = [block.mean(0) for block in audio_blocks(path, file)]
        return resampled(np.concatenate(blocks), int(file.samplerate), sample_rate)
