"""``gankit run``."""

from __future__ import annotations

import argparse
import os
import sys

USAGE = "gankit run [--compare N] [--quiet] SCRIPT [ARGS ...]"
OR_MODULE = "gankit run [--compare N] [--quiet] -m MODULE [ARGS ...]"


def run(arguments: argparse.Namespace) -> int:
    """Run a script accelerated and print what was done, or compare it with how it was."""
    script, module = arguments.script, arguments.module
    if script is None:
        what = "-m needs the name of a module" if module else "which script? Give its path"
        print(f"gankit: error: {what}\nusage: {OR_MODULE if module else USAGE}", file=sys.stderr)
        return 2
    from gankit.run import compare, run_script
    from gankit.training.memory import keep_freed_memory

    if arguments.compare is not None:
        print(compare(script, arguments.arguments, arguments.compare, module=module))
        return 0
    keep_freed_memory()
    code, report = run_script(script, arguments.arguments, module=module)
    # Under torchrun the first process tells it for all.
    if not arguments.quiet and os.environ.get("RANK", "0") == "0":
        print(f"\ngankit run: {script}\n{report}", file=sys.stderr)
    return code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``gankit run``; what follows the script is the script's."""
    parser.usage = f"{USAGE}\n       {OR_MODULE}"
    add = parser.add_argument
    add("--compare", type=int, metavar="N", help="make N steps plain and accelerated, and compare")
    add("--quiet", action="store_true", help="no report at the end")
    add("-m", dest="module", action="store_true", help="SCRIPT is a module, as in python -m")
    add("script", nargs="?", metavar="SCRIPT", help="Python file, or a module with -m")
    add("arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="what the script gets")
