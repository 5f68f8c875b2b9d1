"""Independent streams of random numbers out of one seed."""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, purpose: str) -> int:
    """A seed in [0, 2^63) that ``seed`` and ``purpose`` decide.

    Two generators with the same seed give the same numbers, and ``seed + 1`` is another run's seed:
    whatever draws beside the stream of ``seed`` itself takes one of these.
    """
    digest = hashlib.sha256(f"{purpose}: {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream(seed: int, purpose: str) -> torch.Generator:
    """A generator on the CPU with that seed."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose))


def drawn_seed(generator: torch.Generator) -> int:
    """A seed in [0, 2^63) drawn from ``generator``."""
    return int(torch.randint(2**63 - 1, (), generator=generator))
