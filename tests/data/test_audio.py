"""Recordings from files, windows of them, and toy:speech."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gankit.data import FieldData, SpeechData, load, load_speech
from gankit.data.audio import load_audio
from gankit.data.audio_files import read_mono
from gankit.errors import DataError, GankitWarning

sf = pytest.importorskip("soundfile")
RATE = 8000


def tone(seconds: float, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write(path: Path, sound: np.ndarray, rate: int = RATE, **settings: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, sound, rate, **settings)


def pair(folder: Path, name: str, sound: np.ndarray, noisy: np.ndarray | None = None) -> None:
    write(folder / "clean" / name, sound)
    write(folder / "noisy" / name, sound / 2 if noisy is None else noisy)


def loaded(path: Path, **settings: Any) -> SpeechData:
    made = load(f"audio:{path}", **{"window": 512, "sample_rate": RATE, **settings})
    assert isinstance(made, SpeechData)
    assert isinstance(made, FieldData)
    return made


@pytest.mark.parametrize(
    ("name", "settings", "within"),
    [
        ("a.wav", {"subtype": "PCM_16"}, 1e-4),
        ("a.wav", {"subtype": "PCM_U8"}, 1e-2),
        ("a.wav", {"subtype": "PCM_24"}, 1e-4),
        ("a.wav", {"subtype": "FLOAT"}, 1e-4),
        ("a.flac", {}, 1e-4),
        ("a.aiff", {}, 1e-4),
    ],
)
def test_files_of_every_kind(
    name: str, settings: dict[str, str], within: float, tmp_path: Path
) -> None:
    sound = tone(0.3)
    write(tmp_path / name, np.stack([sound, np.zeros_like(sound)], 1), **settings)
    made = read_mono(tmp_path / name, RATE)
    assert np.abs(made - sound / 2).max() < within


@pytest.mark.parametrize("rate", [11025, 16000, 44100, 48000])
def test_files_of_any_rate(rate: int, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(0.5, rate), rate)
    made, expected = read_mono(tmp_path / "a.wav", RATE), tone(0.5)
    assert len(made) == len(expected)
    assert np.abs(made - expected)[200:-200].max() < 5e-3


def test_windows_overlap_by_half_and_reach_the_end(tmp_path: Path) -> None:
    first, second = tone(0.2), tone(0.03, frequency=300.0)
    pair(tmp_path, "a.wav", first)
    pair(tmp_path, "b.wav", second)
    data = loaded(tmp_path)
    assert data.fields == {"clean": (1, 512), "noisy": (1, 512)}
    assert data.starts.tolist() == [0, 256, 512, 768, 1024, 1280, 1792]  # of 1,600 and 240 samples
    batch = data.batch(torch.arange(7))
    for number, start in enumerate((0, 256, 512, 768, 1024)):
        expected = torch.from_numpy(first[start : start + 512]).float()
        torch.testing.assert_close(batch["clean"][number, 0], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(batch["noisy"], batch["clean"] / 2, rtol=0, atol=1e-4)
    assert not batch["clean"][5, 0, 320:].any()
    assert not batch["clean"][6, 0, 240:].any()
    assert batch["clean"].dtype == torch.float32
    assert data.to("cpu").batch(torch.tensor([3]))["clean"].shape == (1, 1, 512)


def test_splits_above_and_below_and_other_suffixes(tmp_path: Path) -> None:
    for split, seconds in (("train", 0.2), ("test", 0.1)):
        write(tmp_path / "above" / split / "clean" / "x.wav", tone(seconds))
        write(tmp_path / "above" / split / "noisy" / "x.flac", tone(seconds))
        write(tmp_path / "below" / "clean" / split / "x.wav", tone(seconds, 16000), 16000)
        write(tmp_path / "below" / "noisy" / split / "x.wav", tone(seconds))
    for place in ("above", "below"):
        counts = [len(loaded(tmp_path / place, split=s).clean) for s in ("train", "test", "all")]
        assert counts == [1792, 1024, 2816]


def test_broken_pairs_are_named_and_skipped(tmp_path: Path) -> None:
    for number in range(9):
        pair(tmp_path, f"{number}.wav", tone(0.1))
    (tmp_path / "clean" / "0.wav").write_bytes(b"no sound")
    pair(tmp_path, "1.wav", tone(0.1), tone(0.2))
    (tmp_path / "noisy" / "notes.txt").write_text("about")
    with pytest.warns(GankitWarning) as caught:
        data = loaded(tmp_path)
    (warning,) = caught
    words = str(warning.message)
    assert "skipped 3 files" in words
    assert "0.wav: not a sound file that can be read" in words
    assert "1.wav has 0.100 s and" in words
    assert "notes.txt: not a sound file" in words
    assert len(data) == 7 * 3


@pytest.mark.parametrize("kind", ["empty", "infinite", "cut"])
def test_a_set_of_broken_files_is_refused(kind: str, tmp_path: Path) -> None:
    pair(tmp_path, "a.wav", tone(0.1))
    sound = {"empty": np.zeros(0), "infinite": np.full(900, np.inf), "cut": tone(1.0)}[kind]
    write(tmp_path / "clean" / "b.wav", sound, subtype="FLOAT")
    write(tmp_path / "noisy" / "b.wav", sound, subtype="FLOAT")
    if kind == "cut":
        (tmp_path / "clean" / "b.wav").write_bytes(b"RIFF")
    words = {"empty": "no samples in it", "infinite": "NaN or infinite", "cut": "not a sound file"}
    with pytest.raises(DataError, match=f"1 of 2 pairs cannot be used.*{words[kind]}"):
        loaded(tmp_path)


def test_what_is_no_set_of_recordings_is_one_sentence(tmp_path: Path) -> None:
    def said(path: Path, **settings: Any) -> str:
        with pytest.raises(DataError) as caught:
            loaded(path, **settings)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "does not exist, expected a folder with clean and noisy" in said(tmp_path / "absent")
    (tmp_path / "clean").mkdir()
    assert "has one of the folders clean and noisy" in said(tmp_path)
    (tmp_path / "noisy").mkdir()
    assert "no sound files in clean and noisy" in said(tmp_path)
    pair(tmp_path, "a.wav", tone(0.1))
    assert "no folder test or val" in said(tmp_path, split="test")
    write(tmp_path / "noisy" / "b.wav", tone(0.1))
    assert "1 sound file without a partner" in said(tmp_path)
    (tmp_path / "noisy" / "b.wav").rename(tmp_path / "noisy" / "a.flac")
    assert "have one name, expected one sound file of each" in said(tmp_path)
    for name, value, words in (
        ("sample_rate", 0, "sample_rate must be an integer from 1,000"),
        ("sample_rate", "fast", "sample_rate must be an integer from 1,000"),
        ("window", 15, "window must be an even number of samples from 16"),
        ("image_size", 64, ""),
    ):
        if words:
            assert words in said(tmp_path, **{name: value})
    with pytest.raises(DataError, match="lacks the folders clean and noisy"):
        load_audio(tmp_path / "clean", sample_rate=RATE)


def test_recordings_beyond_full_scale_are_clipped() -> None:
    data = SpeechData.from_recordings([(np.array([2.0, -2.0, 0.5]), np.zeros(3))], window=16)
    values = data.batch(torch.tensor([0]))["clean"][0, 0]
    assert values[:4].tolist() == [32767 / 32768, -1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "the set is empty"),
        ([(np.zeros(3), np.zeros(4))], "recordings 0 have 3 and 4 samples"),
        ([(np.zeros(0), np.zeros(0))], "recordings 0 have 0 and 0 samples"),
        ([(np.array([np.nan]), np.zeros(1))], "NaN or infinite"),
    ],
)
def test_recordings_that_do_not_fit(pairs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        SpeechData.from_recordings(pairs, window=16)


def ratio(data: SpeechData, n: int) -> torch.Tensor:
    """Signal to noise of each recording in dB."""
    clean, noisy = (x.double().view(n, -1) for x in (data.clean, data.noisy))
    return 10 * torch.log10(clean.square().sum(1) / (noisy - clean).square().sum(1))


def pitches(data: SpeechData, n: int) -> list[float]:
    """Semitones above 90 Hz of the strongest period of each recording's first loud syllable."""
    found = []
    for sound in data.clean.double().view(n, -1):
        start = int((sound.abs() > 0.3 * sound.abs().max()).nonzero()[0])
        piece = sound[start : start + 600]
        spectrum = torch.fft.rfft(piece, 4096).abs().square()
        period = torch.fft.irfft(spectrum)[20:90]
        found.append(12 * np.log2(RATE / (20 + int(period.argmax())) / 90))
    return found


def test_toy_speech_has_the_ratios_that_it_is_asked_for() -> None:
    data = load_speech(window=512, sample_rate=RATE, n=12, snr=(0.0, 15.0))
    found = ratio(data, 12)
    assert -0.01 < float(found.min()) < 5
    assert 10 < float(found.max()) < 15.01
    quiet = ratio(load_speech(window=512, sample_rate=RATE, n=4, noises=["pink"], snr=(3, 3)), 4)
    torch.testing.assert_close(quiet, torch.full_like(quiet, 3.0), rtol=0, atol=0.02)


def test_toy_speech_of_the_test_has_other_voices_and_is_drawn_again_the_same() -> None:
    settings: dict[str, Any] = {"window": 512, "sample_rate": RATE, "n": 5}
    train, again = (load("toy:speech", **settings) for _ in range(2))
    test, whole = (load("toy:speech", split=split, **settings) for split in ("test", "all"))
    assert torch.equal(train.noisy, again.noisy)
    assert not torch.equal(train.clean, test.clean)
    assert torch.equal(whole.clean, torch.cat([train.clean, test.clean]))
    # Silence behind each recording, in the noisy one too.
    assert not train.noisy.view(5, -1)[:, -RATE // 4 :].any()
    assert min(pitches(train, 5)) > -4
    assert max(pitches(train, 5)) < 23


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"noises": "white"}, "noises must be some of white, pink, babble"),
        ({"noises": ["brown"]}, "noises must be some of"),
        ({"snr": [3]}, "snr must be two numbers"),
        ({"snr": [5, 1]}, "snr must be two numbers"),
        ({"snr": ["a", "b"]}, "snr must be two numbers"),
        ({"window": 7}, "window must be an even number"),
    ],
)
def test_toy_speech_out_of_range(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words), warnings.catch_warnings():
        load("toy:speech", **settings)
