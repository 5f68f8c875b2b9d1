"""DCGAN beside the fully connected GAN after equally many steps on real digits: a table.

``python -m examples.compare_networks`` trains the recipes ``gan`` and ``dcgan`` and prints what two
classifiers say of 1,000 samples each: the plain one, and the strict one that is unsure of what
shows no digit. The times are of the training itself; read them on a machine that does nothing
else. It takes minutes. ``--seeds N ...`` and ``--steps N`` do less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from gankit import data, recipes
from gankit.metrics import DigitClassifier
from gankit.runs.build import build_trainer
from gankit.training import generate

RECIPES = ("gan", "dcgan")
STEPS, SAMPLES = 500, 1000


def rows(seeds: Sequence[int], steps: int) -> list[str]:
    """A line of Markdown per recipe: classes with each seed, medians over the seeds."""
    images = data.load("digits", split="all")
    classifiers = [
        DigitClassifier.fit(images, seed=0, outlier_exposure=strict) for strict in (False, True)
    ]
    lines = []
    for name in RECIPES:
        spent, coverages = [], []
        for seed in seeds:
            trainer = build_trainer(recipes.get(name).config.updated(device="cpu", seed=seed))
            trainer.fit(steps=1)
            begin = time.perf_counter()
            trainer.fit(steps=steps)
            spent.append((time.perf_counter() - begin) / max(1, steps - 1) * 1e3)
            samples = generate(trainer.gan_step.inference(), SAMPLES, seed=0)
            coverages.append([classifier(samples) for classifier in classifiers])
        cells = [f"`{name}`"]
        for number in range(len(classifiers)):
            seen = [coverage[number] for coverage in coverages]
            cells.append(", ".join(str(coverage.classes_found) for coverage in seen))
            cells.append(f"{statistics.median(v.median_confidence for v in seen):.2f}")
        lines.append("| " + " | ".join([*cells, f"{statistics.median(spent):.0f}"]) + " |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, classify the samples, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N")
    chosen = parser.parse_args(arguments)
    print("| recipe | classes found | confidence | strict: classes | confidence | ms a step |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows(chosen.seeds, chosen.steps)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
