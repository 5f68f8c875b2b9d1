"""A step that is taken back: what fails in it is said before a run begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn

from gankit.errors import ConfigError, GankitError
from gankit.training.checkpoint import rng_kept
from gankit.training.modules import state_kept


class Staged(Protocol):
    """A step that says, in ``stage``, what it is about to compute."""

    stage: str

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...


@contextmanager
def rehearsed(module: nn.Module, generators: tuple[torch.Generator, ...] = ()) -> Iterator[None]:
    """Put back what a step in the block does to ``module``, but not to optimizers.

    And all random states: torch's, Python's, NumPy's, and those of ``generators``.
    """
    before = [generator.get_state() for generator in generators]
    try:
        with state_kept(module), rng_kept():
            yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)


@contextmanager
def named_failures(step: Staged, samples: int) -> Iterator[None]:
    """Turn what is raised inside the block into a ConfigError that names the stage of ``step``.

    ``samples`` is the number of them in a micro-batch.
    """
    try:
        yield
    except GankitError as error:
        # A network that refuses its input says what it takes; a loss may need several images.
        if samples > 1 or step.stage.startswith("the forward of "):
            raise
        raise ConfigError(f"{error}; {_ONE_IMAGE}") from error
    except Exception as error:
        network = step.networks.get(step.stage.removeprefix("the forward of "))
        owner = "" if network is None else f" ({type(network).__name__})"
        many = "a batch of images" if samples > 1 else "one image"
        hint = f"; {_ONE_IMAGE}" if samples == 1 else ""
        raise ConfigError(
            f"{step.stage}{owner} fails on {many}: {' '.join(str(error).split())} "
            f"({type(error).__name__}){hint}"
        ) from error


_ONE_IMAGE = (
    "each part of a batch has one image, too few for batch norm and whatever else compares images: "
    "take a larger batch_size, a smaller accumulate or fewer processes"
)
