"""``gankit report``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from gankit.cli.streams import say
from gankit.errors import ConfigError
from gankit.runs.page import write_report
from gankit.runs.record import read_record
from gankit.runs.runfiles import REPORT

_LOG = logging.getLogger(__name__)


def report(arguments: argparse.Namespace) -> int:
    """Write the page of a run, also of one that is going on; what it names is not imported."""
    folder = Path(arguments.run)
    out = folder / REPORT if arguments.out is None else Path(arguments.out)
    if arguments.out is not None and (out.suffix.lower() not in (".html", ".htm") or out.is_dir()):
        raise ConfigError(f"--out is {arguments.out!r}; allowed is FILE.html")
    record = read_record(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_report(record, out, say=_LOG.warning)
    say(f"the page is in {out}")
    return 0
