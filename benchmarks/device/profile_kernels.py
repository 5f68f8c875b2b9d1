"""Launch four kernels whose speed users feel, at sizes no cache holds, for a profiler to look at.

``ncu --kernel-name-base demangled --kernel-name regex:gankit:: python -m
benchmarks.device.profile_kernels [--device cuda] [--images 512]``
"""

from __future__ import annotations

import argparse

import torch

from gankit import ops
from gankit.ops import backends


def launch(device: torch.device, images: int) -> list[str]:
    """Forward and backward of each, once; returns their names."""
    x = torch.randn(images, 128, 32, 32, device=device, requires_grad=True)
    scale, shift = (torch.ones(128, device=device, requires_grad=True) for _ in range(2))
    scores = torch.randn(2, 2**16 * images, 1, device=device, requires_grad=True)
    gradient = torch.randn(images, 3, 256, 256, device=device, requires_grad=True)
    outputs = {
        "leaky_relu_dropout": ops.leaky_relu_dropout(x, 0.2, 0.3),
        "batch_norm_act": ops.batch_norm_act(
            x, None, None, scale, shift, training=True, activation="relu"
        ),
        "gan_bce": ops.gan_bce(scores[0], scores[1]),
        "grad_norm_penalty": ops.grad_norm_penalty(gradient),
    }
    for y in outputs.values():
        y.sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return list(outputs)


def main() -> None:
    """Prints what was launched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--images", type=int, default=512)
    chosen = parser.parse_args()
    with backends.backend("native"):
        print("launched", ", ".join(launch(torch.device(chosen.device), chosen.images)))


if __name__ == "__main__":
    main()
