"""Philox4x32-10 on tensors, the random stream that all backends share (see ``csrc/common``).

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import torch

DRAWS_PER_BLOCK = 8

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox4x32_10(seed: torch.Tensor, stream: int, blocks: int) -> torch.Tensor:
    """Blocks 0 to ``blocks`` - 1 of a stream.

    Args:
        seed: int64, one element: the 64-bit key.
        stream: the upper half of the counter, modulo 2**64.
        blocks: how many; block i has counter (i low, i high, stream low, stream high).

    Returns:
        int64 ``[blocks, 4]`` on the seed's device, each a 32-bit word.
    """
    # Words live in int64: a product wraps modulo 2**64, and masking the shifted bits undoes the
    # sign, so both halves of a product of two 32-bit words come out exactly.
    index = torch.arange(blocks, dtype=torch.int64, device=seed.device)
    key = seed.reshape(()).to(torch.int64)
    x0, x1 = index & _WORD, (index >> 32) & _WORD
    x2 = torch.full_like(index, stream & _WORD)
    x3 = torch.full_like(index, (stream >> 32) & _WORD)
    k0, k1 = key & _WORD, (key >> 32) & _WORD
    for _ in range(10):
        p0, p1 = x0 * _MULTIPLIERS[0], x2 * _MULTIPLIERS[1]
        x0, x1, x2, x3 = (
            ((p1 >> 32) & _WORD) ^ x1 ^ k0,
            p1 & _WORD,
            ((p0 >> 32) & _WORD) ^ x3 ^ k1,
            p0 & _WORD,
        )
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return torch.stack((x0, x1, x2, x3), dim=1)


def draws16(seed: torch.Tensor, stream: int, count: int) -> torch.Tensor:
    """The first ``count`` 16-bit draws of a stream: int64 ``[count]`` in [0, 65535].

    Draw i is half i % 2 (low half first) of word (i // 2) % 4 of block i // 8.
    """
    blocks = -(-count // DRAWS_PER_BLOCK)
    words = philox4x32_10(seed, stream, blocks)
    halves = torch.stack((words & 0xFFFF, words >> 16), dim=2)
    return halves.reshape(-1)[:count]


def draw_seed(device: torch.device | str | None = None) -> torch.Tensor:
    """A fresh key: int64 ``[1]`` on ``device``, from that device's default generator.

    It follows ``torch.manual_seed`` and can be drawn inside a CUDA graph. One key serves all layers
    of a pass when each takes its own ``stream``.
    """
    return torch.randint(-(2**63), 2**63 - 1, (1,), dtype=torch.int64, device=device)


def as_stream(stream: int) -> int:
    """The number of a stream, 0 to 2**64 - 1, as the int64 with its bits, which the ops take."""
    if not isinstance(stream, int):
        if not hasattr(stream, "__index__"):  # as NumPy's integers have
            raise TypeError(f"stream: expected an int, got {type(stream).__name__}")
        stream = int(stream)
    if not -(2**63) <= stream < 2**64:
        raise ValueError(f"stream: expected a 64-bit number, got {stream}")
    return stream - 2**64 if stream >= 2**63 else stream
