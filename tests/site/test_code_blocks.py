"""Every code block of the pages that a newcomer reads first runs, from top to bottom."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.site.code_blocks import ROOT, blocks, commands, run_page

PAGES = ("README.md", "docs/quickstart.md", "docs/tutorial.md", "docs/layers.md")
SCRIPT = """
import torch
from torch import nn

D = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(8, 1))
optimizer = torch.optim.Adam(D.parameters())
for _ in range(2):
    optimizer.zero_grad()
    D(torch.randn(16, 4)).mean().backward()
    optimizer.step()
"""


@pytest.fixture
def a_newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what the pages take for given: pictures and a training script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path / "data"))
    # A classifier that has seen little: `gankit evaluate` fits one.
    monkeypatch.setattr("gankit.metrics.digit_classifier._STEPS", 5)
    Path("train.py").write_text(SCRIPT)
    Path("my_pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 10, 3), dtype=np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(f"my_pictures/{number}.png")


@pytest.mark.usefixtures("a_newcomer")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    if "gankit evaluate" in text:
        pytest.importorskip("torch_fidelity")
    assert run_page(text) >= 2


@pytest.mark.usefixtures("a_newcomer")
@pytest.mark.parametrize(
    "block",
    [
        "    gankit train gna --out runs/x\n",
        "    make demos\n",
        "    pip install '.[trian]'\n",
        "    rm -r runs\n",
        "```python\nassert False\n```\n",
    ],
)
def test_a_wrong_block_is_found(block: str) -> None:
    with pytest.raises(AssertionError):
        run_page(f"Words.\n\n{block}\nWords.\n")


def test_blocks_are_found_in_their_order() -> None:
    page = (
        "A\n\n    gankit doctor   # what\n    gankit recipes \\\n        gan\n\n"
        "B\n\n```python\nx = 1\n```\n"
    )
    shell, python = blocks(page)
    assert commands(shell) == [["gankit", "doctor"], ["gankit", "recipes", "gan"]]
    assert (python.language, python.text, python.line) == ("python", "x = 1\n", 9)
