"""``gankit export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from gankit.errors import ConfigError
from gankit.export_check import BATCHES
from gankit.exporting import export as write


def export(arguments: argparse.Namespace) -> int:
    """Write the generator of a run in the format asked for."""
    if arguments.license is not None and arguments.format != "hub":
        raise ConfigError(f"--license is for --format hub, and --format is {arguments.format}")
    if arguments.format == "space":
        return _space(arguments)
    if arguments.format == "hub":
        return _hub(arguments)
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


def _space(arguments: argparse.Namespace) -> int:
    from gankit.demo import write_space

    if arguments.trust:
        raise ConfigError(
            "--trust is for code that is not gankit's, which a Space would lack; allowed are runs "
            "of gankit's own networks"
        )
    if arguments.out is None:
        raise ConfigError("--format space writes a folder; add --out FOLDER")
    folder = write_space(arguments.run, Path(arguments.out), direction=arguments.direction)
    print(f"the Space is in {folder}: python {folder / 'app.py'} shows it here")
    return 0


def _hub(arguments: argparse.Namespace) -> int:
    from gankit.sharing import write_model

    if arguments.out is None:
        raise ConfigError("--format hub writes a folder; add --out FOLDER")
    if arguments.direction is not None:
        raise ConfigError("--format hub writes both directions; allowed is no --direction")
    out, license = arguments.out, arguments.license
    folder = write_model(arguments.run, out, license=license, trust=arguments.trust)
    print(f"the generator and its card are in {folder}: gankit.load({str(folder)!r}) loads it")
    return 0
