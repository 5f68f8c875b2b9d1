"""Sound at another sample rate, whole or in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import gcd

import numpy as np

from gankit.errors import MissingExtra

__all__ = ["resampled", "resampled_blocks"]

_LEAST_BLOCK = 16384  # samples that are filtered at a time
_BETA = 5.0  # of the Kaiser window, as scipy's own filters have


def resampled(signal: np.ndarray, old: int, new: int) -> np.ndarray:
    """``signal`` ``[..., T]`` of ``old`` Hz at ``new`` Hz, ``[..., ceil(T new / old)]``.

    A polyphase filter without a shift in time (``scipy.signal.resample_poly``).

    Raises:
        MissingExtra: the rates differ, and scipy is not installed.
    """
    if old == new:
        return signal
    up, down = new // gcd(old, new), old // gcd(old, new)
    return _filtered(signal, up, down, _taps(up, down))


def resampled_blocks(blocks: Iterable[np.ndarray], old: int, new: int) -> Iterator[np.ndarray]:
    """The same of sound that comes in blocks ``[C, T]``, in bounded memory.

    All blocks together are what ``resampled`` makes of the whole, up to rounding.
    """
    if old == new:
        yield from blocks
        return
    up, down = new // gcd(old, new), old // gcd(old, new)
    taps = _taps(up, down)
    # Samples on either side that the filter reaches, and of a block, in multiples of ``down``.
    context = -(-(len(taps) // (2 * up) + 1) // down) * down
    step = -(-_LEAST_BLOCK // down) * down
    kept: np.ndarray | None = None
    total = done = 0
    for block in blocks:
        kept = np.zeros((len(block), context)) if kept is None else kept
        kept = np.concatenate([kept, block], 1)
        total += block.shape[1]
        while kept.shape[1] >= step + 2 * context:
            made = _filtered(kept[:, : step + 2 * context], up, down, taps)
            yield made[:, context * up // down :][:, : step * up // down]
            kept, done = kept[:, step:], done + step
    if kept is not None and total > done:
        rest = np.pad(kept, ((0, 0), (0, context)))
        made = _filtered(rest, up, down, taps)[:, context * up // down :]
        yield made[:, : -(-total * up // down) - done * up // down]


def _taps(up: int, down: int) -> np.ndarray:
    try:
        from scipy.signal import firwin
    except ImportError as error:
        raise MissingExtra("scipy", "audio") from error
    most = max(up, down)
    taps: np.ndarray = firwin(20 * most + 1, 1.0 / most, window=("kaiser", _BETA))
    return taps


def _filtered(signal: np.ndarray, up: int, down: int, taps: np.ndarray) -> np.ndarray:
    from scipy.signal import resample_poly

    made: np.ndarray = resample_poly(signal, up, down, axis=-1, window=taps)
    return made
