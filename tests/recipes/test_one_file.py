"""The GAN in one file of CONTRIBUTING, as somebody adds it who has read that page alone."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch

from gankit import gans, recipes
from gankit.cli import main

PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
FILE = PAGE.read_text().split("```python\n# gankit/gans/two_critics.py\n")[1].split("```")[0]
SMALL = (
    "generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [16]}}\n"
    "discriminator: {class_path: gankit.models.mlp.Discriminator, "
    "init_args: {hidden: [16], output: logit}}\n"
    "image_size: 8\ngrid_rows: 2\ngrid_columns: 2\ndevice: cpu\nema: 0.9\naccumulate: 2\n"
)


def test_it_is_short() -> None:
    assert len(FILE.splitlines()) < 60


@pytest.mark.parametrize("inside", [True, False])
def test_it_is_trained_resumed_and_sampled(
    inside: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("small.yaml").write_text(SMALL)
    Path("two_critics.py").write_text(FILE)
    if inside:  # as if the file lay in gankit/gans
        monkeypatch.setattr(gans, "__path__", [*gans.__path__, str(tmp_path)])
        start, again = ["train", "two-critics"], ["train", "two-critics", "--resume"]
    else:
        start = ["train", "gan", "--set", "step=two_critics.TwoCritics"]
        again = ["train", "gan", "--resume", "--trust"]
    gans.recipes.cache_clear()
    gans.steps.cache_clear()
    try:
        assert ("two-critics" in recipes.names()) is inside
        start += ["--config", "small.yaml", "--set", "real_label=0.9", "--quiet"]
        assert main([*start, "--steps", "9", "--out", "straight"]) == 0
        assert main([*start, "--steps", "4", "--out", "halves"]) == 0
        assert main([*again, "--steps", "9", "--out", "halves", "--quiet"]) == 0
        straight, halves = (
            torch.load(f"{run}/checkpoint.pt", weights_only=True)["gan_step"]
            for run in ("straight", "halves")
        )
        assert {name.split(".")[0] for name in straight} >= {"G", "D1", "D2", "averages"}
        tensors = [name for name, value in straight.items() if isinstance(value, torch.Tensor)]
        assert all(torch.equal(straight[name], halves[name]) for name in tensors)
        with open("straight/metrics.csv", newline="") as file:
            assert {"d_loss", "g_loss"} <= next(csv.DictReader(file)).keys()
        assert main(["sample", "straight", "--n", "4"]) == 0
        assert Path("grid.png").is_file()
        assert main([*start, "--set", "reel_label=1", "--out", "new"]) == 2
        assert "unknown setting reel_label; did you mean real_label?" in capsys.readouterr().err
    finally:
        gans.recipes.cache_clear()
        gans.steps.cache_clear()
        for name in ("two_critics", "gankit.gans.two_critics"):
            sys.modules.pop(name, None)
