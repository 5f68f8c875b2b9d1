"""A learning rate that is constant and then falls to 0 at the end of the run."""

from __future__ import annotations

import pytest
import torch

from gankit.errors import ConfigError
from gankit.training.schedules import LinearDecay


def sgd(rate: float = 2.0) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], rate)


def rates(scheduler: LinearDecay, optimizer: torch.optim.SGD, steps: int) -> list[float]:
    made = []
    for _ in range(steps):
        made.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return made


def test_half_of_the_run_is_constant_and_the_rest_is_a_line() -> None:
    optimizer = sgd()
    scheduler = LinearDecay(optimizer, 8)
    assert rates(scheduler, optimizer, 10) == [2, 2, 2, 2, 2, 1.5, 1, 0.5, 0, 0]
    optimizer = sgd()
    assert rates(LinearDecay(optimizer, 4, constant=0.0), optimizer, 4) == [2, 1.5, 1, 0.5]


def test_a_run_goes_on_for_its_present_length() -> None:
    optimizer = sgd()
    scheduler = LinearDecay(optimizer, 8)
    rates(scheduler, optimizer, 6)
    other = sgd()
    longer = LinearDecay(other, 16)
    longer.load_state_dict(scheduler.state_dict())
    assert rates(longer, other, 6) == [2, 2, 2, 1.75, 1.5, 1.25]


def test_arguments_outside_their_range_are_one_sentence() -> None:
    for total in (0, 1.5, True):
        with pytest.raises(ConfigError, match=r"total_steps is .*; allowed are integers from 1"):
            LinearDecay(sgd(), total)  # type: ignore[arg-type]
    for share in (1.0, -0.1, "half"):
        with pytest.raises(ConfigError, match=r"constant is .*; allowed are numbers in \[0, 1\)"):
            LinearDecay(sgd(), 8, share)  # type: ignore[arg-type]
