"""Work beside the training that the processes of a run share, such as its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gankit.errors import GankitError
from gankit.training.distributed import world

__all__ = ["Share"]

T = TypeVar("T")


class Share:
    """This process's share of what all do together; in a run of one process, all of it.

    What is said below happens in every process at the same time. A GankitError in one of them is
    raised in all, those of the lowest rank first; another error ends its process, and so the run.

    Args:
        patience: how long a process waits for the others. NCCL would wait on a GPU, which training
            needs, so this is a group of its own, of gloo.
    """

    def __init__(self, patience: timedelta | None = None) -> None:
        self.rank, self.size = world()
        self._group: Any = None
        if self.size > 1:
            self._group = dist.new_group(timeout=patience, backend="gloo")

    def numbers(self, count: int) -> range:
        """Which of ``count`` pieces of work are this process's: every ``size``-th."""
        return range(self.rank, count, self.size)

    def gathered(self, count: int, work: Callable[[range], list[T]]) -> list[T]:
        """``count`` pieces of work in their order in rank 0, and an empty list elsewhere.

        Args:
            count: of all pieces.
            work: from the numbers of pieces to what they give.
        """
        own = self._agreed(lambda: work(self.numbers(count)))
        if self._group is None:
            return own
        parts: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(own, parts, 0, self._group)
        if parts is None:
            return []
        return [parts[number % self.size][number // self.size] for number in range(count)]

    def of_first(self, work: Callable[[], T]) -> T:
        """What rank 0 alone computes, in every process."""
        found: list[Any] = [self._agreed(lambda: work() if self.rank == 0 else None)]
        if self._group is not None:
            dist.broadcast_object_list(found, 0, self._group)
        given: T = found[0]
        return given

    def one_by_one(self, work: Callable[[], T]) -> T:
        """``work`` in every process, in rank 0 first: the others find what it has left on disk."""
        if self._group is None:
            return work()
        own: list[T] = []
        for first in (True, False):
            if first is (self.rank == 0):
                self._agreed(lambda: own.append(work()))
            else:
                self._agreed(lambda: None)
        return own[0]

    def same_weights(self, network: nn.Module) -> None:
        """Give ``network`` rank 0's weights and buffers."""
        if self._group is None:
            return
        state = self.of_first(lambda: {k: v.cpu() for k, v in network.state_dict().items()})
        network.load_state_dict(state)

    @contextmanager
    def buffers_of_first(self, module: nn.Module) -> Iterator[None]:
        """Within it ``module`` has rank 0's buffers, and afterwards its own again.

        Batch norms that are not synchronised have statistics of their own in each process, and a
        checkpoint has rank 0's.
        """
        if self._group is None:
            yield
            return
        own = [buffer.clone() for buffer in module.buffers()]
        _fill(module, self.of_first(lambda: [buffer.cpu() for buffer in own]))
        try:
            yield
        finally:
            _fill(module, own)

    def close(self) -> None:
        """Leave the group, where the run's own is there still."""
        if self._group is not None and world()[1] > 1:
            dist.destroy_process_group(self._group)
        self._group = None

    def _agreed(self, work: Callable[[], T]) -> T:
        """``work()``, once it has succeeded in every process."""
        if self._group is None:
            return work()
        found: list[T] = []
        error: GankitError | None = None
        try:
            found.append(work())
        except GankitError as caught:
            error = caught
        errors: list[Any] = [None] * self.size
        dist.all_gather_object(errors, error, self._group)
        for each in errors:
            if each is not None:
                raise each
        return found[0]


@torch.no_grad()
def _fill(module: nn.Module, values: list[Tensor]) -> None:
    for buffer, value in zip(module.buffers(), values, strict=True):
        buffer.copy_(value)
