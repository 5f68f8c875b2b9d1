"""``toy:speech``: voices that are computed, not downloaded, and the same in noise.

A voice is a sum of harmonics whose pitch glides from syllable to syllable, each with the formants
of a vowel, and pauses in between. The noise is white, pink, or a babble of other voices of the set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gankit.data.speech import SpeechData, check_windows
from gankit.errors import DataError, shortened
from gankit.scalars import is_integer, is_number

__all__ = ["NOISES", "load_speech"]

NOISES = ("white", "pink", "babble")
_SEEDS = {"train": (0,), "test": (1,), "all": (0, 1)}
_SECONDS = 2.0
# Pitches in Hz: semitones above the lowest, of which training has the even ones.
_LOWEST, _SEMITONES = 90.0, 18
_HIGHEST = 4000.0  # frequency of a harmonic
# Center and bandwidth of three formants in Hz: a, e, i, o, u of an adult.
_VOWELS = (
    ((730, 90), (1090, 110), (2440, 170)),
    ((530, 80), (1840, 100), (2480, 160)),
    ((270, 60), (2290, 100), (3010, 170)),
    ((570, 80), (840, 100), (2410, 160)),
    ((300, 60), (870, 90), (2240, 160)),
)
_SYLLABLE, _PAUSE = (0.12, 0.3), (0.08, 0.25)  # seconds
_PAUSES = 0.3  # the share of syllables with one behind them
_FADE = 0.015
_LEVEL = (-20.0, -14.0)  # of the voice, dB below full scale
_SILENCE = 0.25  # seconds behind each recording, without noise
_BABBLE = 5  # voices


def load_speech(
    *,
    window: int = 16384,
    sample_rate: int = 16000,
    n: int = 200,
    noises: Sequence[str] = NOISES,
    snr: Sequence[float] = (0.0, 15.0),
    split: str = "train",
) -> SpeechData:
    """``toy:speech``: two seconds of a voice each, clean and in noise of a random kind and level.

    A quarter of a second of silence follows each.

    Args:
        window: samples of a window.
        sample_rate: in Hz.
        n: number of recordings, at least 1.
        noises: the kinds of noise, of ``"white"``, ``"pink"`` and ``"babble"``.
        snr: the least and the largest ratio of voice to noise, in dB.
        split: ``"test"`` gives other pitches, in between those of ``"train"``, and other noise,
            ``"all"`` both.

    Raises:
        DataError: an argument out of range.
    """
    check_windows(window, sample_rate)
    if not is_integer(n) or n < 1:
        raise DataError(f"n must be at least 1, got {n}")
    if isinstance(noises, str) or not noises or not set(noises) <= set(NOISES):
        raise DataError(f"noises must be some of {', '.join(NOISES)}, got {shortened(noises)}")
    if len(snr) != 2 or not all(map(is_number, snr)) or not -100 <= snr[0] <= snr[1] <= 100:
        raise DataError(
            f"snr must be two numbers of dB in order, from -100 to 100, got {shortened(snr)}"
        )
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for seed in _SEEDS[split]:
        random = np.random.default_rng(seed)
        voices = [_voice(sample_rate, seed, random) for _ in range(n)]
        for number, voice in enumerate(voices):
            noise = _noise(noises[int(random.integers(len(noises)))], voices, number, random)
            noisy = voice + noise * (
                _rms(voice) / _rms(noise) * _gain(-random.uniform(snr[0], snr[1]))
            )
            peak = max(1.0, np.abs(noisy).max() / 0.99)
            silence = (0, round(_SILENCE * sample_rate))
            pairs.append((np.pad(voice / peak, silence), np.pad(noisy / peak, silence)))
    return SpeechData.from_recordings(
        pairs, window=window, sample_rate=sample_rate, name="toy:speech"
    )


def _voice(rate: int, parity: int, random: np.random.Generator) -> np.ndarray:
    """One recording of a voice whose semitone is even or odd."""
    length = round(_SECONDS * rate)
    semitone = 2 * random.integers(_SEMITONES // 2) + parity + random.uniform(-0.25, 0.25)
    base = _LOWEST * 2 ** (semitone / 12)
    signal = np.zeros(length)
    place, glide, phase = round(random.uniform(0.0, 0.2) * rate), 0.0, 0.0
    while place < length:
        span = round(random.uniform(*_SYLLABLE) * rate)
        target = random.uniform(-3.0, 3.0)
        pitch = base * 2 ** (np.linspace(glide, target, span) / 12)
        angles = phase + np.cumsum(pitch) * (2 * np.pi / rate)
        syllable = _syllable(angles, pitch.mean(), rate, random)[: length - place]
        signal[place : place + span] += syllable
        glide, phase = target, angles[-1]
        place += span
        if random.random() < _PAUSES:
            place += round(random.uniform(*_PAUSE) * rate)
    return signal * (_gain(random.uniform(*_LEVEL)) / _rms(signal))


def _syllable(
    angles: np.ndarray, pitch: float, rate: int, random: np.random.Generator
) -> np.ndarray:
    """Harmonics of a fundamental with the phase ``angles``, as loud as a vowel has them."""
    count = max(1, int(min(_HIGHEST, 0.45 * rate) / pitch))
    frequencies = pitch * np.arange(1, count + 1)
    formants = np.array(_VOWELS[random.integers(len(_VOWELS))], dtype=float)
    formants[:, 0] *= random.uniform(0.9, 1.1)
    away = (frequencies[:, None] - formants[:, 0]) / formants[:, 1]
    loudness = (1 / (1 + away**2)).sum(1) ** 0.5 / np.sqrt(np.arange(1, count + 1)) + 0.003
    # Clenshaw's recurrence for a sum of cosines: one cosine in place of one for each harmonic.
    twice = 2 * np.cos(angles)
    last, before = np.zeros_like(angles), np.zeros_like(angles)
    following = np.empty_like(angles)
    for amplitude in loudness[::-1]:
        np.multiply(twice, last, out=following)
        following -= before
        following += amplitude
        last, before, following = following, last, before
    signal = twice / 2 * last - before
    fade = np.minimum(1, np.arange(1, len(angles) + 1) / (_FADE * rate))
    return signal * np.sin(np.pi / 2 * np.minimum(fade, fade[::-1])) ** 2


def _noise(
    kind: str, voices: list[np.ndarray], own: int, random: np.random.Generator
) -> np.ndarray:
    length = len(voices[own])
    if kind == "babble":
        others = (own + 1 + random.integers(max(1, len(voices) - 1), size=_BABBLE)) % len(voices)
        shifts = random.integers(length, size=_BABBLE)
        return sum(
            (np.roll(voices[i], s) for i, s in zip(others, shifts, strict=True)), np.zeros(length)
        )
    white = random.standard_normal(length)
    if kind == "white":
        return white
    spectrum = np.fft.rfft(white)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return np.fft.irfft(spectrum, length)


def _rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.square(signal).mean())) + 1e-12


def _gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))
