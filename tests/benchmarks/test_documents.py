"""The numbers of the documents are those of the committed reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gankit.bench.results import Group, ratio, read_groups, seconds

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TWO_THREADS = RESULTS / "amd-epyc-2-cores-2-threads" / "report.md"
ONE_THREAD = RESULTS / "amd-epyc-2-cores-1-thread"
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")

# Each row of the first table, in order, and the task of the report.
TASKS = (
    ("MLP GAN step, batch 60", "MLP step, batch 60"),
    ("the same in bf16", "MLP step, batch 60, bf16"),
    ("DCGAN step, batch 60", "DCGAN step, batch 60"),
    ("the same in bf16", "DCGAN step, batch 60, bf16"),
    (
        "WGAN-GP, MLP: five critic steps and one of G, batch 60",
        "WGAN-GP iteration, MLP, batch 60",
    ),
    (
        "gradient penalty and its gradients, MLP, batch 64",
        "gradient_penalty MLP 784-1024-512-256-1 batch 64",
    ),
    ("linear layer 60x1024x784, forward", "linear forward 60x1024x784 float32"),
    ("LeakyReLU + dropout forward, 60x1024", "leaky_relu_dropout forward 60x1024 float32"),
    ("the same, forward and backward, 8 elements", "leaky_relu_dropout both 8 float32"),
    (
        "batch norm + ReLU forward, 60x112x14x14",
        "batch_norm_act forward relu 60x112x14x14 float32",
    ),
    ("its backward", "batch_norm_act backward relu 60x112x14x14 float32"),
    ("its backward at 60x224x7x7", "batch_norm_act backward relu 60x224x7x7 float32"),
    (
        "BCE with smoothed labels, 2^20 logits, forward and backward",
        "bce_label_smoothing smoothed both 1048576 float32",
    ),
    (
        "its backward alone (`torch.compile` stores the slope in forward)",
        "bce_label_smoothing smoothed backward 1048576 float32",
    ),
    (
        "transposed convolution to 1 channel, forward, channels last",
        "conv_transpose2d forward 14x14 to 28x28, 1 channel channels_last",
    ),
)


def rows_after(text: str, header: str) -> list[list[str]]:
    """The cells of the table whose header begins so."""
    lines = text.split(f"\n{header}", 1)[1].splitlines()[2:]
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def number(cell: str) -> tuple[float, float]:
    """Seconds, and half a unit of the last digit that is shown."""
    match = re.match(r"([\d.]+) (s|ms|µs)\b", cell)
    assert match, cell
    size = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}[match[2]]
    digits = len(match[1].partition(".")[2])
    return float(match[1]) * size, 0.5 * 10**-digits * size


def test_the_table_of_tasks_is_that_of_the_report() -> None:
    report = {row[0]: row[1:4] for row in rows_after(TWO_THREADS.read_text(), "| task |")}
    rows = rows_after(PAGE, "| task |")
    assert [row[0] for row in rows] == [label for label, _ in TASKS]
    for row, (_, task) in zip(rows, TASKS, strict=True):
        for shown, measured in zip(row[1:], report[task], strict=True):
            (value, half), (true, more) = number(shown), number(measured)
            assert abs(value - true) <= (half + more) * 1.001, (task, shown, measured)


RECIPES = ("biggan-digits", "sagan-toy", "progan-digits", "r3gan")


def group_of(recipe: str) -> tuple[Group, dict[str, object]]:
    run = json.loads((ONE_THREAD / f"{recipe}.json").read_text())
    (group,) = read_groups([run])
    return group, run["machine_info"]["gankit"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_steps_of_recipes_are_those_of_the_committed_runs(recipe: str) -> None:
    rows = {row[0].split()[0].strip("`,"): row for row in rows_after(PAGE, "| recipe |")}
    assert set(rows) == set(RECIPES)
    group, about = group_of(recipe)
    plain, ours = group.only("plain"), group.only("gankit")
    tuned = next(entry for entry in group.entries if entry.contender == "tuned eager")
    assert plain is not None
    assert ours is not None
    times = [seconds(entry.median) for entry in (plain, tuned, ours)]
    assert rows[recipe][1:6] == [*times, ratio(plain, ours), ratio(group.best_peer, ours)]
    assert group.name.endswith(rows[recipe][0].split(", ")[1])
    assert (about["threads"], about["time"]) == (1, "CPU time")


@pytest.mark.parametrize("page", ["README.md", "README.ko.md", "docs/performance.md"])
def test_the_gain_of_scripts_is_that_of_their_table(page: str) -> None:
    text = (ROOT / "docs" / "accelerate.md").read_text(encoding="utf-8")
    table = text.split("<!-- scripts: begin -->")[1].split("<!-- scripts: end -->")[0]
    ratios = [float(found) for found in re.findall(r"\| ([\d.]+)x \|", table)]
    assert len(ratios) == 10
    words = rf"{min(ratios):.2f}( to |~){max(ratios):.2f}"
    assert re.search(words, (ROOT / page).read_text(encoding="utf-8"))
    mean = re.search(r"Geometric mean ([\d.]+)x", table)
    assert mean
    assert page != "docs/performance.md" or f"{mean[1]} in the geometric mean" in PAGE
