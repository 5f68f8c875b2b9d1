"""How phases are run: the one place that zeroes, freezes, splits, scales and steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gankit.errors import ConfigError
from gankit.nn import power_iteration
from gankit.training.rehearsal import named_failures, rehearsed
from gankit.training.sharing import alone_in, frozen

if TYPE_CHECKING:
    from gankit.training.step import Step

Scalars = dict[str, Tensor]
# Tensors by field, all of the same first dimension.
Batch = dict[str, Tensor]


class Phase(NamedTuple):
    """One parameter update of a step: its name, which is also a key of its CUDA graphs, and which
    of the step's optimizers makes it."""

    name: str
    optimizer: str


def run_phases(step: Step, phases: Sequence[Phase], parts: list[Batch]) -> Scalars:
    """Train ``step`` on the micro-batches ``parts`` of one batch.

    Each phase zeroes its optimizer's gradients, adds up those of the mean loss over ``parts`` with
    all other parameters frozen, updates, and moves the singular vectors of spectral norms and the
    averages of the networks it has trained.
    Returns the means of what the phases report.
    """
    scalars: Scalars = {}
    _begin(step, phases, parts)
    for phase in phases:
        optimizer = step.optimizers[phase.optimizer]
        optimizer.zero_grad(set_to_none=True)
        scalars |= _gradients(step, phase, parts)
        optimizer.step()
        power_iteration(step.spectral[phase.optimizer])
        step.after_update(phase.name)
        if step.augmentation is not None:
            scalars |= step.augmentation.adapt()
        for trained_by, average in step.moving_averages():
            if trained_by == phase.optimizer:
                average.update()
    return scalars


def dry_gradients(
    step: Step, phases: Sequence[Phase], make_parts: Callable[[], list[Batch]]
) -> None:
    """The gradients of ``phases`` in turn, without updates; then all is put back.

    Raises ConfigError, which names what was being computed, for whatever is raised.
    """
    with ExitStack() as stack:
        stack.enter_context(rehearsed(step, step.generators))
        parts = make_parts()
        stack.enter_context(named_failures(step, _samples(parts)))
        step.check_outputs(dict(parts[0]))
        _begin(step, phases, parts)
        for phase in phases:
            _gradients(step, phase, parts)
        if step.augmentation is not None:
            step.augmentation.check_observed(step)


def _begin(step: Step, phases: Sequence[Phase], parts: list[Batch]) -> None:
    step.phases = tuple(phase.name for phase in phases)
    for part, drawn in zip(parts, _drawn(step, "prepare", parts), strict=True):
        part.update(drawn)
        step.prepare(part)


def _gradients(step: Step, phase: Phase, parts: list[Batch]) -> Scalars:
    # Freezing is what skips the others' weight gradients: autograd's `inputs=` leaves them
    # computed. What two optimizers hold, in a layer that two networks share, learns from both.
    others = alone_in(step.trainable, step.optimizers[phase.optimizer])
    rows = []
    with frozen(others):
        for number, drawn in enumerate(_drawn(step, phase.name, parts)):
            part = parts[number]
            part.update(drawn)
            if step.augmentation is not None:
                step.augmentation.begin(number, len(parts))
            loss, reported = step.phase_loss(phase.name, part)
            _check_loss(loss, step.loss_words(phase.name))
            step.stage = f"the gradient of {step.loss_words(phase.name)}"
            (loss / len(parts) if len(parts) > 1 else loss).backward()
            rows.append(reported)
    if len(rows) == 1:
        return rows[0]
    return {name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]}


def _check_loss(loss: Tensor, what: str) -> None:
    """Raise ConfigError for a loss of many numbers, in place of autograd's own words."""
    if isinstance(loss, Tensor) and loss.numel() != 1:
        raise ConfigError(
            f"{what} has shape {list(loss.shape)}; expected a 0-d tensor, such as a mean over the "
            "batch"
        )


def _drawn(step: Step, phase: str, parts: list[Batch]) -> list[Batch]:
    step.stage = "the noise"
    drawn = step.draw(phase, _samples(parts) * len(parts))
    return split(drawn, len(parts))


def _samples(parts: list[Batch]) -> int:
    return len(next(iter(parts[0].values())))


def split(batch: Batch, parts: int) -> list[Batch]:
    """``batch`` in that many equal parts."""
    if parts == 1 or not batch:
        return [dict(batch) for _ in range(parts)]
    columns = [value.chunk(parts) for value in batch.values()]
    return [dict(zip(batch, row, strict=True)) for row in zip(*columns, strict=True)]
