"""The random stream of ``philox.py`` inside Triton kernels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def philox_words(seed, block, stream):  # type: ignore[no-untyped-def]
    """Four uint32 words for every int64 block number of a tensor."""
    low = block.to(tl.uint32)
    high = (block >> 32).to(tl.uint32)
    zero = low * 0
    stream64 = stream.to(tl.int64)
    stream_low = zero + stream64.to(tl.uint32)
    stream_high = zero + (stream64 >> 32).to(tl.uint32)
    return tl.philox(seed, low, high, stream_low, stream_high)


@triton.jit
def element_draws(seed, stream, first_block, BLOCKS: tl.constexpr):  # type: ignore[no-untyped-def]
    """int32 ``[8 * BLOCKS]``: the draws of BLOCKS consecutive blocks, one per element."""
    w0, w1, w2, w3 = philox_words(seed, first_block + tl.arange(0, BLOCKS), stream)
    # join() adds a last dimension of two, so this order flattens to w0, w1, w2, w3.
    words = tl.join(tl.join(w0, w2), tl.join(w1, w3))
    halves = tl.join(words & 0xFFFF, words >> 16)
    return tl.reshape(halves, [8 * BLOCKS]).to(tl.int32)


@triton.jit
def numbered_draws(seed, stream, number):  # type: ignore[no-untyped-def]
    """int32, shaped like the int64 draw numbers."""
    w0, w1, w2, w3 = philox_words(seed, number // 8, stream)
    half = number % 8
    word = tl.where(half < 4, tl.where(half < 2, w0, w1), tl.where(half < 6, w2, w3))
    return tl.where(half % 2 == 0, word & 0xFFFF, word >> 16).to(tl.int32)
