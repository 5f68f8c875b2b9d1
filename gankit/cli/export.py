"""``gankit export``."""

from __future__ import annotations

import argparse

from gankit.exporting import export as write


def export(arguments: argparse.Namespace) -> int:
    """Write the generator of a run in the format asked for."""
    path = write(arguments.run, arguments.format, arguments.out, trust=arguments.trust)
    print(f"the generator is in {path}")
    return 0
