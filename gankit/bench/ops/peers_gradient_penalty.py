"""Gradient penalties without gankit, the critics they are measured on, and the floor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit.ops import linear


def textbook(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """As the public WGAN-GP scripts have it."""
    e = torch.rand(real.shape[0], *[1] * (real.dim() - 1), device=real.device)
    x = (e * real + (1 - e) * fake).requires_grad_(True)
    scores = critic(x)
    grad = torch.autograd.grad(
        scores, x, torch.ones_like(scores), create_graph=True, retain_graph=True
    )[0]
    return 10 * ((grad.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


def tuned(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """What an expert writes: one pass to mix, the sum in place of a tensor of ones."""
    e = torch.rand(real.shape[0], *[1] * (real.dim() - 1), device=real.device)
    x = torch.lerp(fake, real, e).requires_grad_(True)
    (grad,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return 10 * (torch.linalg.vector_norm(grad.flatten(1), dim=1) - 1).square().mean()


class ResidualBlock(nn.Module):
    """As in the ResNet critic of the WGAN-GP code, without normalization."""

    def __init__(self, width: int, down: bool) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(width, width, 1)
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(self.main(x)) + self.shortcut(self.pool(x))
        return y


def residual_critic(width: int) -> nn.Sequential:
    """3x32x32 to a score: four residual blocks, two of which halve the size."""
    blocks = [ResidualBlock(width, down) for down in (True, True, False, False)]
    first = nn.Conv2d(3, width, 3, padding=1)
    pooled = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(first, *blocks, *pooled, nn.Linear(width, 1))


def critics() -> dict[str, tuple[nn.Sequential, tuple[int, ...]]]:
    """Name: critic and the shape of one sample."""
    layers: list[nn.Module] = []
    for inside, outside in ((784, 1024), (1024, 512), (512, 256)):
        layers += [nn.Linear(inside, outside), nn.LeakyReLU(0.2)]
    convolutions = nn.Sequential(
        nn.Conv2d(1, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(128 * 49, 1),
    )
    return {
        "MLP 784-1024-512-256-1": (nn.Sequential(*layers, nn.Linear(256, 1)), (784,)),
        "conv 28x28": (convolutions, (1, 28, 28)),
        "ResNet 32x32": (residual_critic(64), (3, 32, 32)),
    }


def four_products(critic: nn.Module, batch: int, device: torch.device) -> Callable[[], object]:
    """The matrix products of the analytic path alone: forward, down, up, weight.

    By the faster library, which is gankit's choice: a floor of slower products would be none.
    """
    sets = [
        (
            torch.randn(batch, m.in_features, device=device),
            torch.randn(batch, m.out_features, device=device),
            torch.randn(m.out_features, m.in_features, device=device),
        )
        for m in critic.modules()
        if isinstance(m, nn.Linear)
    ]

    def call() -> None:
        for below, above, weight in sets:
            linear(below, weight)
            linear(above, weight.t())
            linear(below, weight)
            linear(above.t(), below.t())

    return call


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """The most memory that one call holds at once beyond what was there before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        call()
    held = most = 0
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
