"""Adversarial examples, adversarial training and a backdoor, on real digits: two tables.

``python -m examples.adversarial`` trains a small convolutional classifier on scikit-learn's 8x8
digits, plainly and adversarially, and prints how often each is right on the test images as they
are, under FGSM and under PGD; then how a trigger in 2 % of the training images opens a backdoor,
and what spectral signatures find of them. Minutes on a CPU core. ``--seeds N ...`` says which seeds
(default: 0 1 2); numbers are their medians and ranges.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from gankit import data
from gankit.attacks import (
    accuracy,
    fgsm,
    layer_outputs,
    pgd,
    poison,
    predict,
    spectral_scores,
    stamp,
    train_classifier,
)

RADII = (0.1, 0.2, 0.3)
# The adversarial training's own eps.
EPS = 0.2
TARGET, SHARE = 7, 0.02


def digits(split: str) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], float32 ``[N, 1, 8, 8]``, and their labels."""
    found = data.load("digits", image_size=None, split=split)
    assert found.labels is not None
    return found.images.float() / 255, found.labels


def network(seed: int) -> nn.Sequential:
    """The classifier, with weights that ``seed`` decides."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def robustness(seed: int) -> dict[str, list[float]]:
    """Accuracies, clean and then under FGSM and PGD of each radius, of both classifiers."""
    images, labels = digits("test")
    plain, hardened = network(seed), network(seed)
    train_classifier(plain, *digits("train"), epochs=15, seed=seed)
    random = torch.Generator().manual_seed(seed)
    attack = partial(pgd, eps=EPS, steps=7, seed=random)
    train_classifier(hardened, *digits("train"), epochs=30, attack=attack, seed=seed)
    table = {}
    for name, model in (("plain", plain), ("adversarial", hardened)):
        row = [accuracy(model, images, labels)]
        for eps in RADII:
            attacked = fgsm(model, images, labels, eps), pgd(model, images, labels, eps)
            row += [accuracy(model, moved, labels) for moved in attacked]
        table[name] = row
    return table


def backdoor(seed: int) -> list[float]:
    """Accuracy and success of the trigger; the share found; both after training without these."""
    trigger: Callable[[Tensor], Tensor] = partial(stamp, size=2)
    images, labels = digits("test")
    stamped = trigger(images[labels != TARGET])
    poisoned = poison(*digits("train"), target=TARGET, share=SHARE, trigger=trigger, seed=seed)

    def measured(kept: Tensor) -> tuple[nn.Module, list[float]]:
        model = network(seed)
        train_classifier(model, poisoned.images[kept], poisoned.labels[kept], epochs=15, seed=seed)
        success = float((predict(model, stamped) == TARGET).double().mean())
        return model, [accuracy(model, images, labels), success]

    kept = torch.ones_like(poisoned.chosen)
    model, before = measured(kept)
    scores = spectral_scores(layer_outputs(model, poisoned.images), poisoned.labels)
    for label in range(10):
        members = (poisoned.labels == label).nonzero().flatten()
        worst = scores[members].argsort(descending=True)[: int(1.5 * poisoned.chosen.sum())]
        kept[members[worst]] = False
    found = float((poisoned.chosen & ~kept).sum() / poisoned.chosen.sum())
    return [*before, found, *measured(kept)[1]]


def _cells(rows: Sequence[Sequence[float]]) -> str:
    columns = ([100 * value for value in column] for column in zip(*rows, strict=True))
    return " | ".join(f"{statistics.median(c):.0f} ({min(c):.0f}-{max(c):.0f})" for c in columns)


def main() -> None:
    """Print both tables, of percentages."""
    parser = argparse.ArgumentParser(description="Attacks on a classifier of digits.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    seeds = parser.parse_args().seeds
    found = [robustness(seed) for seed in seeds]
    heads = [f"{name} {eps:g}" for eps in RADII for name in ("FGSM", "PGD")]
    print(f"| training | clean | {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) + 1)}")
    for name in found[0]:
        print(f"| {name} | {_cells([table[name] for table in found])} |", flush=True)
    print("\n| accuracy | trigger works | found | accuracy after | trigger works after |")
    print("|---:|---:|---:|---:|---:|")
    print(f"| {_cells([backdoor(seed) for seed in seeds])} |")


if __name__ == "__main__":
    main()
