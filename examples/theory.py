"""The theory of GANs in numbers that can be checked: one dimension, integrals on a grid.

``python -m examples.theory`` prints each number of docs/theory.md, under a minute on a CPU core;
``--picture FILE`` draws its picture.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.atomic import atomic_write
from gankit.data.toy import TOYS
from gankit.losses import (
    bce_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)

# Densities below are all but zero outside; float64 integrals by the trapezoidal rule.
GRID = torch.linspace(-4, 4, 8001, dtype=torch.float64)
# Real data and a generator's samples of the first two sections.
REAL, FAKE = (0.25, 0.3), (-0.25, 0.4)
HUMPS = TOYS["bimodal"]


def normal(mean: float | Tensor, std: float | Tensor, x: Tensor = GRID) -> Tensor:
    """The density of N(mean, std^2) at ``x``."""
    return torch.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def uniform(low: float, high: float, x: Tensor = GRID) -> Tensor:
    """The density of U[low, high], with half its height at the ends, as integrals on a grid ask."""
    # Grid points are those of the ends but for rounding.
    ends = ((x - low).abs() < 1e-9) | ((x - high).abs() < 1e-9)
    inside = torch.where(ends, 0.5, ((x > low) & (x < high)).double())
    return inside / torch.trapezoid(inside, x)


def two_humps(x: Tensor = GRID) -> Tensor:
    """The density of ``toy:bimodal``."""
    return sum((normal(c[0], HUMPS.std[0], x) for c in HUMPS.centres), torch.zeros_like(x)) / 2


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats, of densities on ``GRID``."""
    tiny = torch.finfo(p.dtype).tiny
    ratio = p.clamp_min(tiny).log() - q.clamp_min(tiny).log()
    return torch.trapezoid(torch.where(p > 0, p * ratio, torch.zeros_like(p)), GRID)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """JS(p, q) in nats: 0 for equal densities, log 2 for those that nowhere overlap."""
    middle = (p + q) / 2
    return (kl(p, middle) + kl(q, middle)) / 2


def optimal(p: Tensor, q: Tensor) -> Tensor:
    """D* = p / (p + q), which maximizes the value for a fixed generator; 1/2 where both vanish."""
    total = p + q
    return torch.where(total > 0, p / total.clamp_min(1e-300), torch.full_like(p, 0.5))


def value(D: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """V = E_p log D + E_q log(1 - D), Goodfellow et al., 2014, equation 1."""
    tiny = 1e-300
    logs = p * D.clamp_min(tiny).log() + q * (1 - D).clamp_min(tiny).log()
    return torch.trapezoid(logs, GRID)


def trained_discriminator(seed: int, steps: int = 1500) -> tuple[nn.Module, float]:
    """A D trained on samples of ``REAL`` and ``FAKE``, and its loss on 100,000 fresh ones."""
    torch.manual_seed(seed)
    D = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    adam = torch.optim.Adam(D.parameters(), lr=1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    random = torch.Generator().manual_seed(seed)

    def loss(n: int) -> Tensor:
        real, fake = (m + s * torch.randn(n, 1, generator=random) for m, s in (REAL, FAKE))
        return bce_discriminator_loss(D(real), D(fake), from_logits=True)

    for _ in range(steps):
        adam.zero_grad()
        loss(512).backward()
        adam.step()
        rate.step()
    with torch.no_grad():
        return D, float(loss(100_000))


def discriminator_error(D: nn.Module) -> float:
    """The mean of |D - D*| over real and generated points, half of each."""
    p, q = normal(*REAL), normal(*FAKE)
    with torch.no_grad():
        found = D(GRID.float()[:, None]).sigmoid().double()[:, 0]
    return float(torch.trapezoid((p + q) / 2 * (found - optimal(p, q)).abs(), GRID))


def fitted_normal(
    target: Tensor, distance: Any, start: tuple[float, float], steps: int = 1500
) -> tuple[float, float, float]:
    """Mean, deviation and ``distance(target, q)`` of the normal q that lowers it from ``start``."""
    mean = torch.tensor(start[0], dtype=torch.float64, requires_grad=True)
    log_std = torch.tensor(math.log(start[1]), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([mean, log_std], lr=0.02)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad()
        distance(target, normal(mean, log_std.exp())).backward()
        adam.step()
        rate.step()
    with torch.no_grad():
        std = log_std.exp()
        return float(mean), float(std), float(distance(target, normal(mean, std)))


def generator_slopes(distance: float) -> tuple[float, float]:
    """|d loss / d mean| of a G that draws N(distance, 1) for real N(0, 1), D being optimal.

    Of the minimax and of the non-saturating loss.
    """
    found = []
    # Quantiles of N(0, 1) stand for samples, without their noise. Far away the minimax slope comes
    # from the tail alone, so there are many.
    n = 1_000_000
    noise = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    for loss in (minimax_generator_loss, non_saturating_generator_loss):
        mean = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
        x = mean + noise
        # log p - log q, the logit of D*, which does not follow G.
        logit = (-(x**2) + (x - distance) ** 2) / 2
        (slope,) = torch.autograd.grad(loss(logit[:, None], from_logits=True), mean)
        found.append(abs(float(slope)))
    return found[0], found[1]


def parallel_lines(theta: float) -> tuple[float, float, float, float]:
    """JS and Wasserstein distance of U on two lines ``theta`` apart, and their slopes in ``theta``.

    Arjovsky et al., 2017, arXiv 1701.07875, example 1. Lines are strips 0.01 wide, since a grid has
    no lines; across them lies all that differs. The slopes are central differences.
    """
    width, h = 0.01, 0.002

    def distances(at: float) -> tuple[float, float]:
        p, q = (uniform(round(a, 3), round(a + width, 3)) for a in (0.0, at))
        between = torch.cumulative_trapezoid(p - q, GRID).abs()
        return float(jensen_shannon(p, q)), float(between.sum() * (GRID[1] - GRID[0]))

    (js, w), before, after = distances(theta), distances(theta - h), distances(theta + h)
    return js, w, (after[0] - before[0]) / (2 * h), (after[1] - before[1]) / (2 * h)


def main() -> None:
    """Print the numbers, and draw the picture if asked."""
    parser = argparse.ArgumentParser(description="The theory of GANs in numbers.")
    parser.add_argument("--picture", metavar="FILE", help="a PNG")
    arguments = parser.parse_args()
    p, q = normal(*REAL), normal(*FAKE)
    js = float(jensen_shannon(p, q))
    D, loss = trained_discriminator(0)
    print(f"optimal D: value {float(value(optimal(p, q), p, q)):.4f} = -log 4 + 2 * {js:.4f}")
    print(f"p = q: value {float(value(optimal(p, p), p, p)):.6f}, -log 4 = {-math.log(4):.6f}")
    print(f"trained D: mean |D - D*| {discriminator_error(D):.4f}")
    print(f"Jensen-Shannon: {js:.4f}, by the trained D's loss {math.log(2) - loss / 2:.4f}")
    mean, std, floor = fitted_normal(uniform(-1, 1), jensen_shannon, (0.5, 0.2))
    print(f"normal G, uniform data: best N({mean:.3f}, {std:.3f}), JS {floor:.4f}")
    for distance in (0.5, 1.0, 2.0, 4.0, 8.0):
        minimax, other = generator_slopes(distance)
        print(f"means {distance:g} apart: minimax {minimax:.2g}, non-saturating {other:.2g}")
    for theta in (0.05, 0.5, 2.0):
        found = parallel_lines(theta)
        print(
            "lines {:g} apart: JS {:.4f}, W {:.4f}, slopes {:.2g} and {:.3g}".format(theta, *found)
        )
    names = {"KL(p || q)": kl, "KL(q || p)": lambda p, q: kl(q, p), "JS": jensen_shannon}
    for name, distance_of in names.items():
        mean, std, _ = fitted_normal(two_humps(), distance_of, (0.3, 0.3))
        print(f"two humps, one normal by {name}: N({mean:.3f}, {std:.3f})")
    if arguments.picture:
        draw(Path(arguments.picture), D)


def draw(path: Path, D: nn.Module) -> None:
    """D beside the optimal one, the floor, the slopes, and one normal for two humps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), dpi=75, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes: Any = figure.subplots(2, 2)
    p, q, x = normal(*REAL), normal(*FAKE), GRID
    first, floor, slopes, humps = axes.flatten()
    with torch.no_grad():
        found = D(x.float()[:, None]).sigmoid()[:, 0]
    first.set_title("the optimal D and a trained one")
    for label, y, style in (
        ("p, real", p, "C0:"),
        ("q, generated", q, "C1:"),
        ("p / (p + q)", optimal(p, q), "C2"),
        ("trained D", found, "k--"),
    ):
        first.plot(x.tolist(), y.tolist(), style, label=label)
    target = uniform(-1, 1)
    mean, std, js = fitted_normal(target, jensen_shannon, (0.5, 0.2))
    floor.set_title(f"the nearest normal distribution to U[-1, 1]: JS {js:.3f}")
    floor.plot(x.tolist(), target.tolist(), "C0", label="real")
    floor.plot(x.tolist(), normal(mean, std).tolist(), "C1", label="best normal G")
    far = torch.linspace(0.1, 8, 40).tolist()
    found_slopes = [generator_slopes(distance) for distance in far]
    slopes.set_title("slope of G's loss, D optimal")
    for number, label in enumerate(("minimax", "non-saturating")):
        slopes.semilogy(far, [s[number] for s in found_slopes], label=label)
    slopes.set_xlabel("distance of the means")
    humps.set_title("one normal distribution for two humps")
    humps.plot(x.tolist(), two_humps().tolist(), "k:", label="real")
    for label, distance_of in (("KL(p || q)", kl), ("KL(q || p)", lambda p, q: kl(q, p))):
        mean, std, _ = fitted_normal(two_humps(), distance_of, (0.3, 0.3))
        humps.plot(x.tolist(), normal(mean, std).tolist(), label=f"least {label}")
    for each, limit in ((first, 1.6), (floor, 2.0), (humps, 1.2)):
        each.set_xlim(-limit, limit)
    for each in axes.flatten():
        each.legend()
    with atomic_write(path) as file:
        canvas.print_png(file)


if __name__ == "__main__":
    main()
