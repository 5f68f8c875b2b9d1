"""``gankit evaluate``."""

from __future__ import annotations

import argparse

from gankit.cli.streams import warnings_as_sentences
from gankit.json_text import json_text
from gankit.runs.evaluating import evaluate as evaluated


def evaluate(arguments: argparse.Namespace) -> int:
    """Print what the images of a run, or of a folder, are worth."""
    options = {name: value for name, value in vars(arguments).items() if name not in _OTHERS}
    metrics = None if arguments.metrics is None else _names(arguments.metrics)
    with warnings_as_sentences():
        result = evaluated(arguments.path, metrics=metrics, **options)
    print(json_text(result.as_dict(), indent=1) if arguments.json else result)
    return 0


_OTHERS = ("command", "path", "metrics", "json")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
