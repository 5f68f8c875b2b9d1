"""``gankit compare``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from gankit.cli.streams import say
from gankit.errors import ConfigError
from gankit.json_text import json_text
from gankit.runs.comparison import as_dict, as_table
from gankit.runs.comparison import compare as compared
from gankit.runs.comparison_picture import draw

_LOG = logging.getLogger(__name__)


def compare(arguments: argparse.Namespace) -> int:
    """Print a table of two or more runs, and draw their samples and curves."""
    out = Path(arguments.out)
    if out.suffix.lower() != ".png" or out.is_dir():
        raise ConfigError(f"--out is {arguments.out!r}; allowed is FILE.png")
    folders = [Path(run) for run in arguments.runs]
    comparison = compared(folders, seed=arguments.seed, trust=arguments.trust)
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(comparison, out)
    for note in comparison.notes:
        _LOG.warning("%s", note)
    if arguments.json:
        say(json_text({**as_dict(comparison), "picture": str(out)}, indent=2))
    else:
        say(as_table(comparison))
        say(f"the picture is in {out}")
    return 0
