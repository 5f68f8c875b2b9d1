"""Small runs of several kinds, each trained once for all tests that look at their folders."""

from __future__ import annotations

from pathlib import Path

from gankit import runs

_MLP = {"generator.hidden": [16, 16], "discriminator.hidden": [16, 16], "log_every": 2}
_GRID = {"grid_rows": 2, "grid_columns": 2, "device": "cpu"}
KINDS = {
    "gan": {**_MLP, "steps": 60, "sample_every": 1},
    "cgan": {**_MLP, "steps": 4},
    "vae": {**_MLP, "steps": 4},
    "ae": {**_MLP, "steps": 4},
    "gan-1d": {**_MLP, "steps": 4},
    "gan-2d": {**_MLP, "steps": 4},
    "pix2pix-toy": {"steps": 2, "log_every": 1, "generator.width": 4, "discriminator.width": 4},
    "srgan-toy": {"steps": 2, "log_every": 1},
    "segan-toy": {"steps": 2, "log_every": 1},
    "cyclegan-toy": {"steps": 2, "log_every": 1, "generator.width": 4, "discriminator.width": 4},
}


def train(kind: str, folder: Path) -> None:
    """Train the recipe ``kind`` into ``folder``, for a second."""
    runs.train(kind, folder, **KINDS[kind], **_GRID)
