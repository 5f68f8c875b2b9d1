"""The reference generator against the published vectors of Philox4x32-10."""

from __future__ import annotations

import pytest
import torch

from gankit.ops.philox import draw_seed, draws16, philox4x32_10


def as_int64(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


# Known answers of the Random123 library (Salmon et al., SC 2011). The counter's low half is the
# block number: both vectors begin at block 0 or can be reached from there.
def test_all_zero_vector() -> None:
    words = philox4x32_10(torch.tensor([0]), 0, 1)
    assert words.tolist() == [[0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]]


def scalar_philox(key: int, low: int, high: int) -> list[int]:
    """The published algorithm in Python integers."""
    x = [low & 0xFFFFFFFF, low >> 32, high & 0xFFFFFFFF, high >> 32]
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(b >> 32) ^ x[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ x[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return x


def test_scalar_form_matches_the_published_vectors() -> None:
    ones = 2**64 - 1
    assert scalar_philox(ones, ones, ones) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    key, low = 0x299F31D0A4093822, 0x85A308D3243F6A88
    wanted = [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    assert scalar_philox(key, low, 0x0370734413198A2E) == wanted


@pytest.mark.parametrize("key", [0, 1, 2**63 + 12345, 2**64 - 1])
@pytest.mark.parametrize("stream", [0, 7, 2**63 + 5, 2**64 - 1])
def test_tensor_form_matches_the_scalar_form(key: int, stream: int) -> None:
    words = philox4x32_10(torch.tensor([as_int64(key)]), as_int64(stream), 5)
    assert words.tolist() == [scalar_philox(key, block, stream) for block in range(5)]


def test_draws_take_the_low_half_first() -> None:
    seed = torch.tensor([99])
    words = philox4x32_10(seed, 3, 2).reshape(-1).tolist()
    halves = [h for word in words for h in (word & 0xFFFF, word >> 16)]
    for count in (0, 1, 7, 8, 13, 16):
        assert draws16(seed, 3, count).tolist() == halves[:count]


def test_seeds_follow_torch() -> None:
    torch.manual_seed(1)
    a, b = draw_seed(), draw_seed("cpu")
    torch.manual_seed(1)
    assert torch.equal(draw_seed(), a)
    assert a.shape == (1,)
    assert a.dtype == torch.int64
    assert not torch.equal(a, b)
