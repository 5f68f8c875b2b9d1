"""Batches read by threads before they are due, where nothing is left to decode.

A process that hands over an image costs more than reading it does, and reading waits for the disk
outside Python's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

__all__ = ["ReadAhead"]


class ReadAhead(Iterator[Any]):
    """What ``read`` makes of each of ``batches``, in their order.

    Args:
        read: called in several threads at once.
        batches: without end.
        threads: how many read.
        ahead: batches that each of them has ready, at least 1.
    """

    def __init__(
        self, read: Callable[[Any], Any], batches: Iterator[Any], threads: int, ahead: int
    ) -> None:
        self._read, self._batches, self._ahead = read, batches, threads * ahead
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="gankit-read")
        self._due: deque[Future[Any]] = deque()

    def __next__(self) -> Any:
        while len(self._due) < self._ahead:
            self._due.append(self._pool.submit(self._read, next(self._batches)))
        return self._due.popleft().result()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)
        self._due.clear()
