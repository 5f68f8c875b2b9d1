"""``gankit train``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gankit import recipes
from gankit.cli.streams import say, warnings_as_sentences
from gankit.errors import ConfigError
from gankit.runs.resuming import go_on
from gankit.runs.settings import changed, configured, read_yaml, written
from gankit.runs.training import Run, Say, check_extras, silent, start
from gankit.training.config import RunConfig
from gankit.training.distributed import joined
from gankit.training.memory import keep_freed_memory

FLAGS = ("data", "data_root", "epochs", "steps", "batch_size", "lr", "z_dim", "device", "seed")


def train(arguments: argparse.Namespace) -> int:
    """Run or resume a training. Everything is checked before anything is written."""
    check_extras()
    if arguments.out == "":
        raise ConfigError("--out is ''; allowed is a folder")
    keep_freed_memory()
    flags = {name: getattr(arguments, name) for name in FLAGS}
    given = [(name, value) for name, value in flags.items() if value is not None]
    with joined() as (rank, _), warnings_as_sentences(silent=rank > 0):
        quiet = arguments.quiet or rank > 0
        tell: Say = silent if quiet else say
        given += written(arguments.set)
        run = (_resume if arguments.resume else _start)(arguments, given, tell, not quiet)
    tell(f"the run is in {run.folder}")
    return 0


def _start(
    arguments: argparse.Namespace, given: list[tuple[str, Any]], tell: Say, progress: bool
) -> Run:
    if arguments.trust:
        raise ConfigError(
            "--trust is for --resume: what --config, --set and --data name is built without it"
        )
    config = _new_config(arguments, given)
    return start(
        config,
        Path(arguments.out or Path("runs", config.recipe)),
        overwrite=arguments.overwrite,
        progress=progress,
        say=tell,
        given=dict(given),
    )


def _resume(
    arguments: argparse.Namespace, given: list[tuple[str, Any]], tell: Say, progress: bool
) -> Run:
    if arguments.config is not None:
        raise ConfigError("--resume continues with the run's own settings; leave out --config")
    if arguments.out is None and arguments.recipe is None:
        raise ConfigError("--resume needs RECIPE or --out DIR to find the run")
    return go_on(
        Path(arguments.out or Path("runs", recipes.get(arguments.recipe).name)),
        given,
        "--set",
        recipe=arguments.recipe,
        trust=arguments.trust,
        progress=progress,
        say=tell,
    )


def _new_config(arguments: argparse.Namespace, given: list[tuple[str, Any]]) -> RunConfig:
    """Defaults of the recipe, over them the config file, over that the flags, which get --set."""
    of_file = read_yaml(arguments.config) if arguments.config is not None else {}
    name = arguments.recipe or of_file.get("recipe")
    if name is None:
        raise ConfigError(
            f"which recipe? Give one of {', '.join(recipes.names())}, or --config FILE"
        )
    config = recipes.get(name).config
    if of_file.get("recipe", name) != name:
        raise ConfigError(
            f"RECIPE is {name!r}, but {arguments.config} is for {of_file['recipe']!r}"
        )
    config = changed(configured(config, of_file, str(arguments.config)), given, "--set")
    if config.recipe != name:
        raise ConfigError(
            f"--set gives recipe {config.recipe!r} to a run of {name!r}; its settings come with "
            f"its name: gankit train {config.recipe}"
        )
    return config
