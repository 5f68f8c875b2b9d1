"""Pairs of clean and noisy speech, cut into overlapping windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gankit.data.sampler import BatchSampler
from gankit.errors import DataError
from gankit.scalars import is_integer

__all__ = ["SpeechData", "check_windows"]

_FULL_SCALE = 32768
_LEAST_WINDOW, _MOST_WINDOW = 16, 2**22
_RATES = (1000, 384_000)


@dataclass(frozen=True, eq=False)
class SpeechData:
    """Recordings of speech and the same with noise, of which a sample is a window.

    Args:
        clean: all recordings one after the other, int16 ``[T]``.
        noisy: the same moments with noise, int16 ``[T]`` on the same device.
        starts: int64 ``[N]``, where each window begins.
        window: samples of a window.
        sample_rate: in Hz.
        name: what messages call the set.

    Raises:
        DataError: wrong types, shapes or devices, no windows, or windows that leave ``clean``.
    """

    clean: Tensor
    noisy: Tensor
    starts: Tensor
    window: int = 16384
    sample_rate: int = 16000
    name: str = "speech"

    def __post_init__(self) -> None:
        check_windows(self.window, self.sample_rate)
        clean, noisy, starts = self.clean, self.noisy, self.starts
        if clean.dtype != torch.int16 or noisy.dtype != torch.int16 or clean.dim() != 1:
            raise DataError(
                f"{self.name}: clean and noisy must be int16 [T], got {clean.dtype} "
                f"{list(clean.shape)} and {noisy.dtype} {list(noisy.shape)}"
            )
        if clean.shape != noisy.shape or len({clean.device, noisy.device, starts.device}) > 1:
            raise DataError(
                f"{self.name}: clean, noisy and starts must be on one device, and clean and noisy "
                f"of one length, got {list(clean.shape)} on {clean.device} and "
                f"{list(noisy.shape)} on {noisy.device}"
            )
        if starts.dtype != torch.int64 or starts.dim() != 1 or not len(starts):
            raise DataError(
                f"{self.name}: starts must be int64 [N] of at least one window, got "
                f"{starts.dtype} {list(starts.shape)}"
            )
        if int(starts.min()) < 0 or int(starts.max()) + self.window > len(clean):
            raise DataError(f"{self.name}: a window of {self.window} samples leaves the recordings")

    @classmethod
    def from_recordings(
        cls,
        pairs: Iterable[tuple[np.ndarray, np.ndarray]],
        *,
        window: int = 16384,
        sample_rate: int = 16000,
        name: str = "speech",
    ) -> SpeechData:
        """The set of clean and noisy recordings, floats ``[T]`` in [-1, 1], pair by pair.

        Windows overlap by half. A recording is continued by silence to the end of its last window.
        Values are rounded to 16 bits; those beyond full scale are clipped.

        Raises:
            DataError: no pair, recordings that are empty or not finite, or two of one pair of
                different lengths.
        """
        check_windows(window, sample_rate)
        hop, begin = window // 2, 0
        parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        starts: list[int] = []
        for number, pair in enumerate(pairs):
            lengths = [len(x) for x in pair]
            if lengths[0] != lengths[1] or not lengths[0] or pair[0].ndim != 1 != pair[1].ndim:
                raise DataError(
                    f"{name}: recordings {number} have {lengths[0]} and {lengths[1]} samples; "
                    "expected two of one length, of one channel each"
                )
            count = max(1, -(-(lengths[0] - window) // hop) + 1)
            starts += range(begin, begin + count * hop, hop)
            whole = window + (count - 1) * hop
            begin += whole
            for kept, signal in zip(parts, pair, strict=True):
                if not np.isfinite(signal).all():
                    raise DataError(f"{name}: a recording has NaN or infinite samples")
                kept.append(np.pad(_to_int16(signal), (0, whole - len(signal))))
        if not starts:
            raise DataError(f"{name}: the set is empty, at least one pair of recordings is needed")
        clean, noisy = (torch.from_numpy(np.concatenate(kept)) for kept in parts)
        return cls(clean, noisy, torch.tensor(starts), window, sample_rate, name)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def fields(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample of ``clean`` and of ``noisy``, ``(1, window)``."""
        return {"clean": (1, self.window), "noisy": (1, self.window)}

    @property
    def device(self) -> torch.device:
        """Where the recordings live."""
        return self.clean.device

    def to(self, device: str | torch.device) -> SpeechData:
        """The same set on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("clean", "noisy", "starts")}
        return dataclasses.replace(self, **moved)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The windows at ``indices`` (int64 ``[B]``, any device).

        ``clean`` and ``noisy`` are float32 ``[B, 1, window]`` in [-1, 1).
        """
        begins = self.starts.index_select(0, indices.to(self.device, non_blocking=True))
        places = begins[:, None, None] + torch.arange(self.window, device=self.device)
        return {
            "clean": self.clean[places].float() / _FULL_SCALE,
            "noisy": self.noisy[places].float() / _FULL_SCALE,
        }

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> BatchSampler:
        """A ``BatchSampler`` over the windows; arguments and errors are those of that class."""
        return BatchSampler(len(self), batch_size, generator=generator, replacement=replacement)


def check_windows(window: int, sample_rate: int) -> None:
    """Raise DataError unless there can be windows of that length at that rate."""
    if not is_integer(window) or not _LEAST_WINDOW <= window <= _MOST_WINDOW or window % 2:
        raise DataError(
            f"window must be an even number of samples from {_LEAST_WINDOW} to {_MOST_WINDOW:,}, "
            f"got {window!r}"
        )
    if not is_integer(sample_rate) or not _RATES[0] <= sample_rate <= _RATES[1]:
        raise DataError(
            f"sample_rate must be an integer from {_RATES[0]:,} to {_RATES[1]:,} Hz, got "
            f"{sample_rate!r}"
        )


def _to_int16(signal: np.ndarray) -> np.ndarray:
    scaled = np.rint(signal * float(_FULL_SCALE))
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
