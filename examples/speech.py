"""The spectrograms of docs/recipes.md: ``python -m examples.speech runs/segan-toy segan.png``.

Recordings of ``toy:speech`` that the run has not heard, noisy, enhanced by it, and clean, one per
row. With ``--sounds FOLDER`` they are also written as WAV files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

import gankit
from gankit.data import load_speech
from gankit.data.audio_files import soundfile
from gankit.enhancer import LoadedEnhancer
from gankit.errors import ConfigError
from gankit.training.enhancement import spectrograms
from gankit.training.pictures import save_grid


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the picture; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m examples.speech", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run of segan")
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("--n", type=int, default=2, help="recordings (default: 2)")
    parser.add_argument("--sounds", type=Path, metavar="FOLDER", help="also write WAV files here")
    given = parser.parse_args(argv)
    enhancer = gankit.load(given.run)
    if not isinstance(enhancer, LoadedEnhancer):
        raise ConfigError(f"{given.run} is no run of segan")
    rate = enhancer.sample_rate
    test = load_speech(window=enhancer.window, sample_rate=rate, n=given.n, split="test")
    sounds = {
        name: getattr(test, name).view(given.n, -1).float() / 32768 for name in ("noisy", "clean")
    }
    sounds["enhanced"] = enhancer.enhance(sounds["noisy"], seed=0)
    order = ("noisy", "enhanced", "clean")
    panels = [spectrograms(sounds[name][:, None]) for name in order]
    save_grid(given.out, panels, columns=1, captions=order, scale=1)
    with Image.open(given.out) as picture:  # sixteen greys are half of the bytes
        few = picture.convert("L").quantize(16)
    few.save(given.out, optimize=True)
    if given.sounds is not None:
        given.sounds.mkdir(parents=True, exist_ok=True)
        for name in order:
            for number, sound in enumerate(sounds[name]):
                path = given.sounds / f"{number}_{name}.wav"
                soundfile().write(path, sound.clamp(-1, 1).numpy(), rate)
    print(f"{given.n} recordings are in {given.out}")
    return 0


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    raise SystemExit(main())
