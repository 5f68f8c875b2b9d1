"""Sound through a network window by window, without a seam, and how windows are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gankit.nn.inference import eval_mode
from gankit.training.seeds import stream

__all__ = ["enhance_blocks", "enhance_windows", "pre_emphasis", "spectrograms"]

# Loudness of a spectrogram's darkest and brightest value, dB below full scale.
_FLOOR, _TOP = -90.0, -20.0
# Samples that the inverse filter takes in one product.
_CHUNK = 512


def pre_emphasis(windows: Tensor, coefficient: float) -> Tensor:
    """``y[t] = x[t] - coefficient x[t-1]`` of windows ``[..., L]`` cut out of longer sound.

    What was in front of a window is taken to have been its first value.
    """
    before = torch.cat([windows[..., :1], windows[..., :-1]], -1)
    return windows - coefficient * before


@torch.no_grad()
def enhance_windows(
    network: nn.Module, windows: Tensor, *, seed: int | torch.Generator, batch: int = 16
) -> Tensor:
    """What ``network``, in eval mode, makes of windows ``[N, 1, L]`` with pre-emphasis.

    A network with a method ``z_shape`` is given noise ``[N, *z_shape(L)]``, which ``seed`` decides,
    or a generator on the CPU, window by window. The result has the dtype and the device of
    ``windows``.
    """
    like = next(network.parameters(), windows)
    random = seed if isinstance(seed, torch.Generator) else stream(seed, "enhancement")
    shape: Any = getattr(network, "z_shape", None)
    results = []
    with eval_mode(network):
        for part in windows.split(batch):
            inputs = [part.to(like.device, like.dtype)]
            if shape is not None:
                noise = [torch.randn(shape(part.shape[2]), generator=random) for _ in part]
                inputs.append(torch.stack(noise).to(like.device, like.dtype))
            results.append(network(*inputs).to(windows.device, windows.dtype))
    return torch.cat(results)


def enhance_blocks(
    network: nn.Module,
    blocks: Iterable[Tensor],
    *,
    window: int,
    coefficient: float = 0.0,
    seed: int = 0,
    batch: int = 16,
) -> Iterator[Tensor]:
    """Sound of any length in blocks ``[C, T]``, float64 on the CPU, through ``network``.

    The sound gets its pre-emphasis as a whole. Windows overlap by half, are weighted by the squares
    of a sine and added, so that the weights of each sample have the sum 1; then the filter is
    undone. What comes out has the length of what came in, in blocks of other lengths, and depends
    neither on the lengths of the blocks nor on ``batch``. Memory holds ``batch`` windows. Stretches
    of zeros of a window or longer are not asked of the network: silence stays silent.

    Args:
        network: takes windows ``[N, 1, window]`` (and z, see :func:`enhance_windows`).
        blocks: of one number C of channels, which go through it one by one.
        window: samples of a window, an even number.
        coefficient: of the pre-emphasis, from 0, below 1.
        seed: decides the noise.
        batch: how many windows the network takes at a time.
    """
    random = stream(seed, "enhancement")
    emphasized = _windows(_pre_emphasized(blocks, coefficient), window)
    enhanced = _in_batches(network, emphasized, random, batch)
    yield from _de_emphasized(_overlap_added(enhanced, window), coefficient)


def _pre_emphasized(blocks: Iterable[Tensor], coefficient: float) -> Iterator[Tensor]:
    last: Tensor | None = None
    for block in blocks:
        if not block.shape[1]:
            continue
        last = torch.zeros_like(block[:, :1]) if last is None else last
        yield block - coefficient * torch.cat([last, block[:, :-1]], 1)
        last = block[:, -1:]


def _windows(blocks: Iterable[Tensor], window: int) -> Iterator[tuple[Tensor, int]]:
    """Windows ``[C, window]`` that overlap by half, each with how many samples end its first half.

    The first one begins half a window before the sound, the last one with the sound's end in it.
    """
    hop = window // 2
    kept: Tensor | None = None
    total = done = 0
    for block in blocks:
        kept = block.new_zeros(len(block), hop) if kept is None else kept
        kept = torch.cat([kept, block], 1)
        total += block.shape[1]
        while kept.shape[1] >= window:
            yield kept[:, :window], (hop if done else 0)
            kept, done = kept[:, hop:], done + hop
    if kept is None:
        return
    # ``done - hop`` samples are complete, and each window completes a half more.
    while True:
        left = total - max(0, done - hop)
        piece = torch.nn.functional.pad(kept[:, :window], (0, max(0, window - kept.shape[1])))
        yield piece, (min(hop, left) if done else 0)
        kept, done = kept[:, hop:], done + hop
        if done - hop >= total:
            return


def _in_batches(
    network: nn.Module,
    windows: Iterable[tuple[Tensor, int]],
    random: torch.Generator,
    batch: int,
) -> Iterator[tuple[Tensor, int]]:
    waiting: list[tuple[Tensor, int]] = []
    for each in windows:
        waiting.append(each)
        if len(waiting) * len(each[0]) >= batch:
            yield from _enhanced(network, waiting, random, batch)
            waiting = []
    yield from _enhanced(network, waiting, random, batch)


def _enhanced(
    network: nn.Module, windows: list[tuple[Tensor, int]], random: torch.Generator, batch: int
) -> Iterator[tuple[Tensor, int]]:
    if not windows:
        return
    rows = torch.cat([window for window, _ in windows])
    heard = rows.any(1)
    results = torch.zeros_like(rows)
    if bool(heard.any()):
        made = enhance_windows(network, rows[heard][:, None], seed=random, batch=batch)
        results[heard] = made[:, 0]
    channels = len(windows[0][0])
    for result, (_, ends) in zip(results.split(channels), windows, strict=True):
        yield result, ends


def _overlap_added(windows: Iterable[tuple[Tensor, int]], window: int) -> Iterator[Tensor]:
    hop = window // 2
    place = (torch.arange(window, dtype=torch.float64) + 0.5) * (math.pi / window)
    weights = place.sin().square()
    weights[hop:] = 1 - weights[:hop]  # the sum is 1 to the last bit
    left: Tensor | None = None
    for enhanced, ends in windows:
        weighted = enhanced * weights
        if left is not None:
            yield (left + weighted[:, :hop])[:, :ends]
        left = weighted[:, hop:]


def _de_emphasized(blocks: Iterable[Tensor], coefficient: float) -> Iterator[Tensor]:
    """``y[t] = x[t] + coefficient y[t-1]``."""
    powers = coefficient ** torch.arange(_CHUNK + 1, dtype=torch.float64)
    steps = torch.arange(_CHUNK)
    response = torch.tril(powers[(steps[:, None] - steps).clamp(min=0)])
    last: Tensor | None = None
    for block in blocks:
        parts = []
        for chunk in block.split(_CHUNK, 1):
            n = chunk.shape[1]
            y = chunk @ response[:n, :n].T
            if last is not None:
                y = y + last * powers[1 : n + 1]
            if n:
                last = y[:, -1:]
            parts.append(y)
        yield torch.cat(parts, 1)


def spectrograms(windows: Tensor) -> Tensor:
    """Sound ``[N, 1, L]`` as pictures ``[N, 1, F, T]`` in [-1, 1]: loudness, high pitches on top.

    -1 is 90 dB below full scale or less, 1 is 20 dB below it or more.
    """
    length = windows.shape[2]
    size = min(512, max(16, 2 ** (length.bit_length() - 3)))
    hann = torch.hann_window(size)
    bins = torch.stft(
        windows[:, 0],
        size,
        max(1, length // 128),
        window=hann,
        pad_mode="constant",
        return_complex=True,
    )
    loudness = 20 * torch.log10(bins.abs() / (hann.sum() / 2) + 1e-12)
    drawn = (loudness - _FLOOR) / (_TOP - _FLOOR) * 2 - 1
    return drawn.clamp(-1, 1).flip(1)[:, None]
