"""R3GAN and the unrolled GAN from the command line: trained, resumed, sampled, exported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from gankit import load
from gankit.cli import main
from tests.recipes.resumed import assert_resumes_exactly

_R3GAN = "init_args: {width: 16, blocks: 1, n_classes: null}"
SMALL = {
    "r3gan": f"""data: {{class_path: toy:stacked, init_args: {{n: 200}}}}
image_size: 8
generator: {{class_path: gankit.models.r3gan.Generator, {_R3GAN}}}
discriminator: {{class_path: gankit.models.r3gan.Discriminator, {_R3GAN}}}
batch_size: 4
""",
    "unrolled": """generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [8]}}
batch_size: 8
""",
}


@pytest.mark.parametrize("name", SMALL)
def test_a_run_resumes_exactly_and_is_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    more = "grid_rows: 2\ngrid_columns: 2\ndevice: cpu\n"
    Path("small.yaml").write_text(SMALL[name] + more)
    weights = assert_resumes_exactly(name, "small.yaml", first=2, last=5)
    assert all(bool(w.isfinite().all()) for w in weights.values() if w.is_floating_point())
    assert main(["sample", "halves", "--n", "4", "--out", "samples.png"]) == 0
    with Image.open("samples.png") as picture:
        assert min(picture.size) >= 16
    assert main(["export", "halves", "--format", "safetensors"]) == 0
    G = load("halves")
    points = G.sample(3, seed=0)
    assert points.shape == (3, *((1, 1, 2) if name == "unrolled" else (3, 8, 8)))
    assert torch.equal(points, G.sample(3, seed=0))
