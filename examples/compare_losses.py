"""Every GAN loss on the same MLP and the same real digits, beside plain PyTorch: a table.

``python -m examples.compare_losses`` trains each loss with three seeds, by gankit's step and by a
plain loop, on scikit-learn's 8x8 digits, and prints a Markdown table of what a classifier says of
1000 samples each. It takes minutes. ``--picture FILE`` draws 16 samples of each loss, gankit's
first seed, a row each. ``--losses NAME ...`` and ``--seeds N ...`` do a part; ``--cache FOLDER``
keeps what is done. ``--times`` measures a step of each loss, both ways in turn, and prints that
table alone: under a minute, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rows import save_rows
from gankit import data
from gankit.data import BatchSampler, ImageData
from gankit.losses import gradient_penalty
from gankit.metrics import DigitClassifier
from gankit.models import mlp
from gankit.training import GANStep, gan_adam, generate

SHAPE = (1, 8, 8)
Z_DIM, HIDDEN, DROPOUT, SLOPE = 32, (128, 128), 0.3, 0.2
STEPS, BATCH, LR = 3000, 60, 1e-3
SAMPLES = 1000

Game = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]


def _average(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return a - b.mean(), b - a.mean()


def _ragan(a: Tensor, b: Tensor) -> Tensor:
    up, down = _average(a, b)
    return -F.logsigmoid(up).mean() - F.logsigmoid(-down).mean()


def _ralsgan(a: Tensor, b: Tensor) -> Tensor:
    up, down = _average(a, b)
    return ((up - 1) ** 2).mean() + ((down + 1) ** 2).mean()


def _rahinge(a: Tensor, b: Tensor) -> Tensor:
    up, down = _average(a, b)
    return torch.relu(1 - up).mean() + torch.relu(1 + down).mean()


def _cross_entropies(real: Tensor, fake: Tensor) -> Tensor:
    return -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()


# Each game in plain PyTorch: D's loss of (real, fake) scores, G's of (fake, real).
PLAIN: dict[str, Game] = {
    "minimax": (_cross_entropies, lambda fake, real: F.logsigmoid(-fake).mean()),
    "non-saturating": (_cross_entropies, lambda fake, real: -F.logsigmoid(fake).mean()),
    "wasserstein": (
        lambda real, fake: fake.mean() - real.mean(),
        lambda fake, real: -fake.mean(),
    ),
    "least-squares": (
        lambda real, fake: ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2,
        lambda fake, real: ((fake - 1) ** 2).mean() / 2,
    ),
    "hinge": (
        lambda real, fake: torch.relu(1 - real).mean() + torch.relu(1 + fake).mean(),
        lambda fake, real: -fake.mean(),
    ),
    "relativistic": (
        lambda real, fake: -F.logsigmoid(real - fake).mean(),
        lambda fake, real: -F.logsigmoid(fake - real).mean(),
    ),
    "relativistic-average": (_ragan, _ragan),
    "relativistic-average-least-squares": (_ralsgan, _ralsgan),
    "relativistic-average-hinge": (_rahinge, _rahinge),
}


Step = Callable[[Tensor], object]


def gankit_step(loss: str) -> tuple[nn.Module, Step]:
    """G, and ``GANStep`` with it."""
    G = mlp.Generator(Z_DIM, SHAPE, HIDDEN, SLOPE)
    dropout = 0.0 if loss == "wasserstein" else DROPOUT
    D = mlp.Discriminator(SHAPE, HIDDEN, SLOPE, dropout, output="logit")
    penalty = gradient_penalty if loss == "wasserstein" else None
    return G, GANStep(
        G, D, gan_adam(G.parameters(), LR), gan_adam(D.parameters(), LR), loss, penalty
    )


def pytorch_step(loss: str) -> tuple[nn.Module, Step]:
    """G of torch's own layers, and the body of the textbook's loop."""
    widths = (Z_DIM, *HIDDEN)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
    G = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 64), nn.Tanh(), nn.Unflatten(1, SHAPE))
    widths, layers = (64, *HIDDEN), [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
        layers += [] if loss == "wasserstein" else [nn.Dropout(DROPOUT)]
    D = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 1))
    g_optimizer = torch.optim.Adam(G.parameters(), LR, betas=(0.5, 0.999))
    d_optimizer = torch.optim.Adam(D.parameters(), LR, betas=(0.5, 0.999))
    d_loss, g_loss = PLAIN[loss]

    def step(real: Tensor) -> None:
        fake = G(torch.randn(BATCH, Z_DIM)).detach()
        error = d_loss(D(real), D(fake))
        if loss == "wasserstein":
            error = error + _plain_penalty(D, real, fake)
        d_optimizer.zero_grad()
        error.backward()
        d_optimizer.step()
        error = g_loss(D(G(torch.randn(BATCH, Z_DIM))), D(real))
        g_optimizer.zero_grad()
        error.backward()
        g_optimizer.step()

    G.z_dim = Z_DIM  # type: ignore[assignment]
    return G, step


def _plain_penalty(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    share = torch.rand(len(real), 1, 1, 1)
    between = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
    return 10 * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


def _batches(images: ImageData, seed: int, steps: int) -> list[Tensor]:
    sampler = BatchSampler(len(images), BATCH, generator=torch.Generator().manual_seed(seed))
    return [next(sampler) for _ in range(steps)]


WAYS = {"gankit": gankit_step, "plain PyTorch": pytorch_step}


def train(way: str, loss: str, images: ImageData, seed: int, steps: int) -> nn.Module:
    """G, trained that way."""
    torch.manual_seed(seed)
    G, step = WAYS[way](loss)
    for indices in _batches(images, seed, steps):
        step(images.gather(indices))
    return G


def coverages(
    losses: Sequence[str], seeds: Sequence[int], steps: int, cache: Path | None
) -> list[dict[str, Any]]:
    """One row per loss, way and seed: classes found and median confidence, and 16 samples."""
    images = data.load("digits", image_size=8)
    classifier: DigitClassifier | None = None
    rows = []
    for loss in losses:
        for way in WAYS:
            for seed in seeds:
                path = cache / f"{loss}-{way.split()[0]}-{seed}-{steps}.json" if cache else None
                if path is not None and path.is_file():
                    rows.append(json.loads(path.read_text()))
                    continue
                classifier = classifier or DigitClassifier.fit(
                    data.load("digits", image_size=8, split="all"), seed=0
                )
                samples = generate(train(way, loss, images, seed, steps), SAMPLES, seed=1)
                coverage = classifier(samples)
                row = {
                    "loss": loss,
                    "way": way,
                    "seed": seed,
                    "classes": coverage.classes_found,
                    "confidence": coverage.median_confidence,
                    "samples": samples[:16].tolist(),
                }
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(row))
                rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: per loss and way the classes found with each seed; confidence: median and range."""
    lines = [
        "| loss | classes found: gankit | PyTorch | median confidence: gankit | PyTorch |",
        "|---|---|---|---|---|",
    ]
    for loss in dict.fromkeys(row["loss"] for row in rows):
        cells = {}
        for way in WAYS:
            found = [row for row in rows if (row["loss"], row["way"]) == (loss, way)]
            classes = ", ".join(str(row["classes"]) for row in found)
            values = [row["confidence"] for row in found]
            spread = f"{min(values):.2f} to {max(values):.2f}"
            cells[way] = classes, f"{statistics.median(values):.2f} ({spread})"
        ours, plain = cells["gankit"], cells["plain PyTorch"]
        lines.append(f"| `{loss}` | {ours[0]} | {plain[0]} | {ours[1]} | {plain[1]} |")
    return "\n".join(lines)


def times(losses: Sequence[str], rounds: int, steps: int) -> str:
    """Markdown: milliseconds per step, median of ``rounds`` turns of ``steps`` that alternate."""
    images = data.load("digits", image_size=8)
    lines = ["| loss | gankit, ms | PyTorch, ms | ratio (range) |", "|---|---|---|---|"]
    for loss in losses:
        torch.manual_seed(0)
        steppers = {way: WAYS[way](loss)[1] for way in WAYS}
        batches = [images.gather(indices) for indices in _batches(images, 0, steps)]
        spent: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(rounds + 1):
            for way, step in steppers.items():
                begin = time.perf_counter()
                for real in batches:
                    step(real)
                if turn:  # the first turn is the warm-up
                    spent[way].append((time.perf_counter() - begin) / steps * 1e3)
        ours, plain = (statistics.median(values) for values in spent.values())
        ratios = [b / a for a, b in zip(*spent.values(), strict=True)]
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        lines.append(
            f"| `{loss}` | {ours:.2f} | {plain:.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, classify the samples, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--losses", nargs="+", choices=[*PLAIN], default=[*PLAIN], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N")
    parser.add_argument("--cache", type=Path, metavar="FOLDER")
    parser.add_argument("--picture", type=Path, metavar="FILE")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--rounds", type=int, default=25, metavar="N")
    chosen = parser.parse_args(arguments)
    if chosen.times:
        print(times(chosen.losses, chosen.rounds, min(chosen.steps, 40)))
        return 0
    rows = coverages(chosen.losses, chosen.seeds, chosen.steps, chosen.cache)
    print(table(rows))
    if chosen.picture is not None:
        first = [r for r in rows if r["way"] == "gankit" and r["seed"] == chosen.seeds[0]]
        panels = {row["loss"]: torch.tensor(row["samples"]) for row in first}
        save_rows(chosen.picture, panels, scale=5)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
