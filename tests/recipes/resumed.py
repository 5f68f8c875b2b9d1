"""A run in one go and the same in two, from the command line."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit.cli import main


def assert_resumes_exactly(
    name: str, config: str, *, first: int, last: int, quiet: bool = True
) -> dict[str, Tensor]:
    """Train the recipe into the folders ``straight`` and ``halves``, the latter with a stop.

    Args:
        name: of the recipe.
        config: file of settings.
        first, last: steps at the stop and at the end.
        quiet: whether the run in one go prints nothing.

    Returns:
        The weights of all networks at the end, as in the step's state: equal to the bit.
    """
    start = ["train", name, "--config", config]
    silent = ["--quiet"] if quiet else []
    assert main([*start, "--steps", str(last), "--out", "straight", *silent]) == 0
    assert main([*start, "--steps", str(first), "--out", "halves", "--quiet"]) == 0
    again = ["train", name, "--out", "halves", "--resume", "--steps", str(last), "--quiet"]
    assert main(again) == 0
    straight, halves = _weights("straight"), _weights("halves")
    assert straight.keys() == halves.keys()
    assert all(torch.equal(straight[key], halves[key]) for key in straight)
    return straight


def _weights(run: str) -> dict[str, Tensor]:
    state = torch.load(f"{run}/checkpoint.pt", weights_only=True)
    return {k: v for k, v in state["gan_step"].items() if k != "_extra_state"}
