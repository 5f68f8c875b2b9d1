"""Mode collapse on a ring of eight modes, and five ways that are said to cure it.

``python -m examples.mode_collapse`` trains the same small networks with the same optimizers in each
of the ways of docs/mode-collapse.md and prints its table: the modes found, and what
``gankit.training.Diagnostics`` says. Minutes on a CPU core; ``--seeds``, ``--ways`` and ``--steps``
do a part, ``--picture FILE`` draws the points of the first seed.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gankit import data
from gankit.atomic import atomic_write
from gankit.data.toy import TOYS
from gankit.gans.unrolled import UnrolledGANStep
from gankit.losses import gradient_penalty
from gankit.metrics import ModeCount, count_modes
from gankit.models import mlp
from gankit.nn import MinibatchStdDev
from gankit.training import Diagnostics, GANStep, Trainer, gan_adam, generate

SHAPE, Z_DIM, G_HIDDEN, WIDTH = (1, 1, 2), 64, (128, 128), 64
BATCH, STEPS = 128, 1000  # updates of G
# A G that learns four times as fast as D runs from mode to mode.
G_LR, D_LR, BETAS = 2e-3, 5e-4, (0.5, 0.999)
# A point is near a mode within a sixth of the way to the next one.
RADIUS, SAMPLES = 0.1, 2500
_R1_AND_R2 = partial(gradient_penalty, weight=0.05, mode="zero-centred", at="both")

WAYS: dict[str, dict[str, Any]] = {
    "non-saturating": {},
    "unrolled": {"unrolled": 5},
    "minibatch stddev": {},
    "WGAN-GP": {
        "loss": "wasserstein",
        "penalty": partial(gradient_penalty, weight=0.1),
        "n_critic": 3,
    },
    "relativistic": {"loss": "relativistic"},
    "relativistic, R1 + R2": {"loss": "relativistic", "penalty": _R1_AND_R2},
}


class Result(NamedTuple):
    """A run's points ``[N, 1, 1, 2]``, their modes, and the warnings with their steps."""

    points: Tensor
    modes: ModeCount
    said: list[tuple[int, str]]


def discriminator(way: str) -> nn.Module:
    """The same two hidden layers in each way; ``minibatch stddev`` has one number more behind."""
    if way != "minibatch stddev":
        return mlp.Discriminator(SHAPE, (WIDTH, WIDTH), dropout=0.0, output="logit")
    hidden = [nn.Linear(2, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2)]
    seen = [nn.Unflatten(1, (WIDTH, 1, 1)), MinibatchStdDev(), nn.Flatten()]
    return nn.Sequential(nn.Flatten(), *hidden, *seen, nn.Linear(WIDTH + 1, 1))


def step_of(way: str, seed: int) -> GANStep:
    """The training step of ``way``, its networks drawn with ``seed``."""
    torch.manual_seed(seed)
    G, D = mlp.Generator(Z_DIM, SHAPE, G_HIDDEN), discriminator(way)
    optimizers = gan_adam(G.parameters(), G_LR, BETAS), gan_adam(D.parameters(), D_LR, BETAS)
    kind = UnrolledGANStep if way == "unrolled" else GANStep
    return kind(G, D, *optimizers, from_logits=True, **WAYS[way])


def run(way: str, seed: int, steps: int = STEPS) -> Result:
    """``steps`` updates of G on ``toy:ring``, watched by ``Diagnostics``."""
    step, ring, watch = step_of(way, seed), data.load_toy("ring"), Diagnostics(every=1, after=200)
    sampler = ring.sampler(BATCH, generator=torch.Generator().manual_seed(seed))
    trainer = Trainer(step, ring, sampler, callbacks=[watch], log_every=20 * step.n_critic)
    trainer.fit(steps=steps * step.n_critic)
    points = generate(step.G, SAMPLES, seed=1)
    modes = count_modes(points, torch.tensor(TOYS["ring"].centres), RADIUS)
    return Result(points, modes, watch.said)


def row(way: str, results: list[Result]) -> str:
    """A row of the table: modes and share near them per seed, and the kinds of warnings."""
    found = ", ".join(str(result.modes.found) for result in results)
    near = ", ".join(f"{result.modes.near:.0%}" for result in results)
    kinds = sorted({text.split(":")[0] for result in results for _, text in result.said})
    return f"| {way} | {found} | {near} | {', '.join(kinds) or 'nothing'} |"


def draw(path: Path, results: Mapping[str, Result]) -> None:
    """The points of each way over the real ones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = (len(results) + 1) // 2
    figure = Figure(figsize=(3 * columns, 6.2), dpi=70, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    real = data.load_toy("ring").normalized()[:500].flatten(1)
    every: Any = figure.subplots(2, columns, squeeze=False)
    for axes in every.flatten()[len(results) :]:
        axes.set_axis_off()
    for axes, (way, result) in zip(every.flatten(), results.items(), strict=False):
        axes.scatter(*real.T.tolist(), s=12, color="tab:blue")
        axes.scatter(*result.points[:600].flatten(1).T.tolist(), s=2, color="tab:orange")
        axes.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"{way}: {result.modes.found} of 8")
    with atomic_write(path) as file:
        canvas.print_png(file)


def main(given: Sequence[str] | None = None) -> None:
    """Train, print the table and the first warnings, and draw."""
    parser = argparse.ArgumentParser(description="Mode collapse, and what cures it.")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS, help="updates of G")
    parser.add_argument("--picture", metavar="FILE", help="a PNG")
    arguments = parser.parse_args(given)
    first = {}
    print("| | modes of 8 | near a mode | Diagnostics |\n|---|---|---|---|")
    for way in arguments.ways:
        results = [run(way, seed, arguments.steps) for seed in arguments.seeds]
        first[way] = results[0]
        print(row(way, results), flush=True)
    for way, result in first.items():
        for step, sentence in result.said[:2]:
            print(f"{way}, step {step}: {sentence}")
    if arguments.picture:
        draw(Path(arguments.picture), first)


if __name__ == "__main__":
    # What is said stands in the table.
    logging.getLogger("gankit").setLevel(logging.ERROR)
    main()
