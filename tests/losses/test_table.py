"""The table of docs/losses.md says what the losses compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gankit.errors import ConfigError
from gankit.losses import resolve

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
ROWS = {
    cells[0].strip("`"): [float(cell) for cell in cells[1:5]]
    for cells in (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and "gankit." not in line
    )
}
SURE = {"least-squares": (1.0, 0.0), "relativistic-average-least-squares": (0.5, -0.5)}


def numbers(name: str, real_score: float, fake_score: float) -> tuple[float, float, float]:
    """D's loss, G's loss, and G's slope along equal changes of all generated images' scores."""
    game = resolve(name, from_logits=True)
    real = torch.full((3, 1), real_score, dtype=torch.float64)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    fake: Tensor = torch.full((3, 1), fake_score, dtype=torch.float64) + shift
    g_loss = game.generator(fake, real) if game.relativistic else game.generator(fake)
    (slope,) = torch.autograd.grad(g_loss, shift)
    return game.discriminator(real, fake.detach()).item(), g_loss.item(), slope.item()


def test_the_table_has_every_loss() -> None:
    with pytest.raises(ConfigError) as refused:
        resolve("none", from_logits=True)
    names = str(refused.value).split("allowed are ")[1].split(", and an")[0]
    assert set(ROWS) == set(names.split(", "))
    for name in ROWS:
        assert resolve(name, from_logits=True).name == name


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_what_the_loss_computes(name: str) -> None:
    half = 0.5 if name == "least-squares" else 0.0
    undecided = numbers(name, half, half)
    sure = numbers(name, *SURE.get(name, (20.0, -20.0)))
    assert [*undecided, sure[2]] == pytest.approx(ROWS[name], abs=6e-4)
