"""A step that is taken back: what fails in it is said before a run begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn

from gankit.errors import ConfigError, GankitError
from gankit.training.checkpoint import rng_kept
from gankit.training.modules import state_kept


class Named(Protocol):
    """A loss."""

    @property
    def name(self) -> str: ...


class Rehearsing(Protocol):
    """A step that says, in ``stage``, what it is about to compute."""

    G: nn.Module
    D: nn.Module
    calls: int
    stage: str

    @property
    def loss(self) -> Named: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def describe(step: Rehearsing) -> str:
    """The text of ``repr(step)``: what it trains on one line, and then its notes."""
    networks = ", ".join(f"{name}={type(getattr(step, name)).__name__}" for name in ("G", "D"))
    first = f"{type(step).__name__}({networks}, loss={step.loss.name!r}, calls={step.calls})"
    return "\n  ".join([first, *step.notes])


@contextmanager
def rehearsed(networks: Sequence[nn.Module], noise: object = None) -> Iterator[None]:
    """Put back what a step in the block does to ``networks``, but not to their optimizers.

    And all random states: torch's, Python's, NumPy's, and that of ``noise`` if it has a generator.
    """
    random = getattr(noise, "generator", None)
    random = random if isinstance(random, torch.Generator) else None
    before = None if random is None else random.get_state()
    try:
        with state_kept(*networks), rng_kept():
            yield
    finally:
        if random is not None and before is not None:
            random.set_state(before)


@contextmanager
def dry_run(step: Rehearsing, images: int) -> Iterator[None]:
    """Turn what is raised inside the block into a ConfigError that names the stage of ``step``.

    ``images`` is the number of them in a part of the batch.
    """
    try:
        yield
    except GankitError as error:
        if images > 1:
            raise
        raise ConfigError(f"{error}; {_ONE_IMAGE}") from error
    except Exception as error:
        network = {"the forward of G": step.G, "the forward of D": step.D}.get(step.stage)
        owner = "" if network is None else f" ({type(network).__name__})"
        many = "a batch of images" if images > 1 else "one image"
        hint = f"; {_ONE_IMAGE}" if images == 1 else ""
        raise ConfigError(
            f"{step.stage}{owner} fails on {many}: {' '.join(str(error).split())} "
            f"({type(error).__name__}){hint}"
        ) from error


_ONE_IMAGE = (
    "each part of a batch has one image, too few for batch norm and whatever else compares images: "
    "take a larger batch_size, a smaller accumulate or fewer processes"
)
