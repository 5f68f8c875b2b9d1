"""Recordings of one's own: clean speech, and the same with noise, in files of any rate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from gankit.data.audio_files import AUDIO_SUFFIXES, read_mono, soundfile
from gankit.data.files import files_below, matched
from gankit.data.image_files import warn_of_skipped
from gankit.data.paths import existing_folder, places_of_two
from gankit.data.speech import SpeechData, check_windows
from gankit.errors import DataError

__all__ = ["load_audio"]

_TWO = ("clean", "noisy")
# More broken files than this share are no accident.
_MOST_BROKEN = 0.25
# Samples by which two recordings of one length differ when their rates are not the same.
_ROUNDING = 2


def load_audio(
    path: str | Path,
    *,
    window: int = 16384,
    sample_rate: int = 16000,
    split: str = "train",
) -> SpeechData:
    """Pairs of recordings from the folders ``clean`` and ``noisy``, matched by file name.

    The folder holds ``train``, ``val`` and ``test`` with ``clean`` and ``noisy`` in each, or these
    two with the splits in each, or is one split itself (split ``"test"`` is ``val`` where there is
    no ``test``). Names are compared without the suffix. Files are WAV, FLAC, Ogg or AIFF of any
    rate and number of bits; channels are averaged, and the rate is made ``sample_rate`` by a
    polyphase filter. All recordings are in memory, 16 bits a sample.

    Pairs that cannot be read, or whose recordings are of different lengths, are skipped with a
    warning (GankitWarning).

    Args:
        path: the folder.
        window: samples of a window; windows overlap by half.
        sample_rate: in Hz.
        split: ``"train"``, ``"test"`` or ``"all"``.

    Raises:
        DataError: no such folder or split, a file without its partner, more than a quarter of the
            pairs skipped, or an argument out of range.
        MissingExtra: soundfile, or scipy for files of another rate, is not installed.
    """
    check_windows(window, sample_rate)
    soundfile()
    name = f"audio:{path}"
    folder = existing_folder(path, name, "a folder with clean and noisy")
    pairs: list[tuple[Path, Path]] = []
    others: list[Path] = []
    for place in places_of_two(folder, split, name, _TWO):
        if len(place) == 1:
            raise DataError(f"{name}: {place[0]} lacks the folders clean and noisy")
        listed = [files_below(part, AUDIO_SUFFIXES) for part in place]
        others += [file for _, rest in listed for file in rest]
        pairs += matched(place, [files for files, _ in listed], name, "sound file")
    if not pairs:
        raise DataError(
            f"{name}: no sound files in clean and noisy of {folder} for split {split!r}, expected "
            f"files of type {', '.join(AUDIO_SUFFIXES)}"
        )
    recordings: list[tuple[np.ndarray, np.ndarray]] = []
    errors: list[str] = []
    with ThreadPoolExecutor(thread_name_prefix="gankit-audio") as pool:
        for found in pool.map(lambda pair: _read(pair, sample_rate), pairs):
            if isinstance(found, DataError):
                errors.append(str(found))
            else:
                recordings.append(found)
    if len(errors) > _MOST_BROKEN * len(pairs):
        raise DataError(
            f"{name}: {len(errors)} of {len(pairs)} pairs cannot be used, which is more than a "
            f"quarter: {'; '.join(errors[:3])}{'; ...' if len(errors) > 3 else ''}"
        )
    warn_of_skipped(name, errors, others, "a sound file")
    return SpeechData.from_recordings(recordings, window=window, sample_rate=sample_rate, name=name)


def _read(pair: tuple[Path, Path], sample_rate: int) -> tuple[np.ndarray, np.ndarray] | DataError:
    try:
        clean, noisy = (read_mono(file, sample_rate) for file in pair)
    except DataError as error:
        return error
    if abs(len(clean) - len(noisy)) > _ROUNDING:
        return DataError(
            f"{pair[0]} has {len(clean) / sample_rate:.3f} s and {pair[1]} "
            f"{len(noisy) / sample_rate:.3f} s, expected one length"
        )
    length = min(len(clean), len(noisy))
    return clean[:length], noisy[:length]
