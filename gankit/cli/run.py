"""``gankit run``."""

from __future__ import annotations

import argparse
import sys


def run(arguments: argparse.Namespace) -> int:
    """Run a script accelerated and print what was done, or compare it with how it was."""
    from gankit.run import compare, run_script

    if arguments.compare is not None:
        print(compare(arguments.script, arguments.arguments, arguments.compare))
        return 0
    code, report = run_script(arguments.script, arguments.arguments)
    if not arguments.quiet:
        print(f"\ngankit run: {arguments.script}\n{report}", file=sys.stderr)
    return code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``gankit run``; what follows the script is the script's."""
    add = parser.add_argument
    add("--compare", type=int, metavar="N", help="make N steps plain and accelerated, and compare")
    add("--quiet", action="store_true", help="no report at the end")
    add("script", metavar="SCRIPT", help="Python file")
    add("arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="what the script gets")
