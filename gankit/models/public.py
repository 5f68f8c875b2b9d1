"""What all the released files of pix2pix and CycleGAN have in common."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def without_leftovers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same entries without ``module.`` and without running statistics of instance norms.

    An instance norm of these files has no weight; a batch norm has one, and keeps its statistics.
    """
    entries = {key.removeprefix("module."): value for key, value in state.items()}
    kept = {}
    for key, value in entries.items():
        place, _, name = key.rpartition(".")
        if name not in _RUNNING or f"{place}.weight" in entries:
            kept[key] = value
    return kept
