"""The table of examples/compare_quality.py: both ways train, from the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples import compare_quality
from gankit.runs.build import build_trainer

pytest.importorskip("torch_fidelity")


@pytest.mark.parametrize("recipe", compare_quality.RECIPES)
def test_plain_networks_compute_what_the_recipes_do(recipe: str) -> None:
    config = compare_quality._config(recipe, 8, steps=1, batch_size=4)
    ours = build_trainer(config).gan_step
    G, step = compare_quality._plain(recipe, ours, 8)
    z = torch.randn(4, 100)
    with torch.no_grad():
        torch.testing.assert_close(G(z).flatten(), ours.networks["G"](z).flatten())
    before = [p.clone() for p in G.parameters()]
    for _ in range(5):
        step(torch.zeros(4, 1, 28, 28))
    assert all(not torch.equal(a, b) for a, b in zip(before, G.parameters(), strict=True))


def test_the_table_says_median_and_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 3)
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "data"))
    cache = tmp_path / "cache"
    few = ["--recipes", "gan", "--seeds", "0", "1", "--steps", "1", "--cache", str(cache)]
    assert compare_quality.main(few) == 0
    first = capsys.readouterr().out
    assert [line.split("|")[1:3] for line in first.splitlines()[3:]] == [
        [" `gan` ", " gankit "],
        [" `gan` ", " plain PyTorch "],
    ]
    assert " to " in first
    assert len(list(cache.iterdir())) == 4
    monkeypatch.setattr(compare_quality, "train", None)  # all is in the cache
    assert compare_quality.main(few) == 0
    assert capsys.readouterr().out == first
