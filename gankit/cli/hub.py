"""``gankit hub``."""

from __future__ import annotations

import argparse
import json

from gankit import recipes
from gankit.hub import names, resolve
from gankit.model_folder import CARD, CONFIG, WEIGHTS


def hub(arguments: argparse.Namespace) -> int:
    """List the models that gankit brings along, or print the card of one."""
    if arguments.name is not None:
        text = (resolve(f"hub:{arguments.name.removeprefix('hub:')}") / CARD).read_text("utf-8")
        print(text.split("---\n", 2)[2].strip())
        return 0
    width = max(map(len, names()))
    for name in names():
        folder = resolve(f"hub:{name}")
        run = json.loads((folder / CONFIG).read_bytes())["run"]
        size = (folder / WEIGHTS).stat().st_size / 1000
        print(f"hub:{name:{width}}  {size:5.0f} kB  {recipes.get(run['recipe']).summary}")
    return 0
