"""How fast the device's memory copies: the ceiling of every streaming kernel.

``python -m benchmarks.bandwidth [--device cpu|cuda] [--megabytes N ...]`` copies buffers of 256 MB
and more, far over any cache, and counts bytes read and bytes written.
"""

from __future__ import annotations

import argparse
import functools
import statistics

import torch

from gankit.bench.environment import device_name
from gankit.bench.races import synchronize, time_calls

MEGABYTES = (256, 512, 1024)
ROUNDS = 21


def measure(device: torch.device, megabytes: int) -> list[float]:
    """Bytes per second, read and written, of each of ``ROUNDS`` copies, sorted."""
    count = megabytes * 2**20 // 4
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)
    copy = functools.partial(target.copy_, source)
    copy()
    synchronize(device)
    moved = 2 * megabytes * 2**20
    return sorted(moved / time_calls(copy, 1, device) for _ in range(ROUNDS))


def main() -> None:
    """Prints one line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, choices=("cpu", "cuda"))
    parser.add_argument("--megabytes", type=int, nargs="+", default=MEGABYTES)
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    print(f"copies on {device_name(device)}, GB/s, bytes read and written")
    for megabytes in chosen.megabytes:
        rates = [rate / 1e9 for rate in measure(device, megabytes)]
        print(
            f"{megabytes:>5} MB buffers: median {statistics.median(rates):,.0f}, "
            f"least {rates[0]:,.0f}, most {rates[-1]:,.0f}"
        )


if __name__ == "__main__":
    main()
