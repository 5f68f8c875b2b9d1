"""What tests of the command line run: a GAN of two small networks, here or in other processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SMALL = """
generator: {class_path: gankit.models.mlp.Generator, init_args: {hidden: [16, 16]}}
discriminator: {class_path: gankit.models.mlp.Discriminator, init_args: {hidden: [16, 16]}}
grid_rows: 2
grid_columns: 2
device: cpu
"""


def environment(**variables: str) -> dict[str, str]:
    """The environment of a child that imports gankit and the tests as this process does."""
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(dict.fromkeys([root, *filter(None, sys.path)]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
