"""``gankit export``."""

from __future__ import annotations

import argparse

from gankit.export_check import BATCHES
from gankit.exporting import export as write


def export(arguments: argparse.Namespace) -> int:
    """Write the generator of a run in the format asked for."""
    checked = ""
    if arguments.format != "safetensors":
        sizes = ", ".join(map(str, BATCHES))
        checked = f", and computes what the run does: compared at batches of {sizes}"
    path = write(
        arguments.run,
        arguments.format,
        arguments.out,
        direction=arguments.direction,
        trust=arguments.trust,
    )
    print(f"the generator is in {path}{checked}")
    return 0
