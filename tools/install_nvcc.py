"""Installs NVIDIA's compiler from pip where the machine has none, so that CI compiles CUDA code.

Usage: python tools/install_nvcc.py   (into the environment of this interpreter)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "build_backend"))

from gankit_build.environment import find_torch
from gankit_build.toolchain import find_nvcc


def main() -> int:
    """Does nothing when there is an nvcc that fits, or when torch or the system has no CUDA."""
    torch = find_torch()
    if sys.platform != "linux" or torch is None or torch.cuda is None:
        return 0
    nvcc, reason = find_nvcc(torch, os.environ)
    if nvcc is not None:
        return 0
    print(f"{reason}: installing nvidia-cuda-nvcc {torch.cuda} from pip")
    # nvcc does not hold its own parts to its version, and parts of two versions do not work.
    packages = [f"nvidia-{name}=={torch.cuda}.*" for name in ("cuda-nvcc", "cuda-crt", "nvvm")]
    command = [sys.executable, "-m", "pip", "install", "-qq", *packages, "nvidia-cuda-cccl"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
