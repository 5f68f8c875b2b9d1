"""Checks the gankit that this interpreter has installed: its compiled kernels and its program.

Usage: python tools/check_installed.py
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def main() -> int:
    """Returns 0 where the compiled kernels compute what their definition does."""
    import torch

    import gankit
    from gankit.ops import backend, batch_norm_act

    place = Path(gankit.__file__).resolve().parent
    if place.parent != Path(sysconfig.get_path("platlib")).resolve():
        print(f"check: {place} is not the installed package")
        return 1
    x = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    results = []
    for name in ("native", "reference"):
        with backend(name):
            y = batch_norm_act(x, None, None, training=True, activation="leaky_relu")
            (gradient,) = torch.autograd.grad(y.square().sum(), x)
        results.append((y.detach(), gradient))
    for ours, wanted in zip(*results, strict=True):
        torch.testing.assert_close(ours, wanted)
    program = Path(sysconfig.get_path("scripts"), "gankit")
    said = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    if "train" not in said:
        print(f"check: gankit --help printed {said[:200]!r}")
        return 1
    versions = f"gankit {gankit.__version__} with torch {torch.__version__}"
    print(f"check: {versions}: the kernels and the program work")
    return 0


if __name__ == "__main__":
    sys.exit(main())
