"""Learning rates that follow from the length of a run."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from gankit.errors import ConfigError
from gankit.scalars import is_integer, is_number


class LinearDecay(LRScheduler):
    """Constant at first, then on a straight line to 0 at the end of the run.

    CycleGAN: 100 epochs constant, 100 epochs down (Zhu et al., 2017, arXiv 1703.10593, section 4).
    There the rate falls by epochs; here it does by steps. A run that is resumed for another length
    goes on along the line of that length.

    Args:
        optimizer: whose rates these are.
        total_steps: the length of the run, from 1; ``gankit train`` fills it in.
        constant: the share of the run before the decay, in [0, 1).
        last_epoch: as for torch's schedulers.

    Raises:
        ConfigError: an argument outside what is said here.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        constant: float = 0.5,
        last_epoch: int = -1,
    ) -> None:
        if not is_integer(total_steps) or total_steps < 1:
            raise ConfigError(f"total_steps is {total_steps!r}; allowed are integers from 1")
        if not is_number(constant) or not 0.0 <= constant < 1.0:
            raise ConfigError(f"constant is {constant!r}; allowed are numbers in [0, 1)")
        self.total_steps, self.constant = int(total_steps), float(constant)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rates of the present step, one for each group."""
        start = self.constant * self.total_steps
        done = max(0.0, self.last_epoch - start) / (self.total_steps - start)
        return [rate * max(0.0, 1.0 - done) for rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """What changes in a run: not its length, nor the share before the decay."""
        state = super().state_dict()
        return {k: v for k, v in state.items() if k not in ("total_steps", "constant")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the step of ``state_dict``; the present rates are those of this length."""
        super().load_state_dict(state_dict)
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate
