"""A CUDA graph's stand-in on the CPU: a tape of operations that runs again on the same tensors.

Like a graph it keeps every Python number that it met, and writes where the capture wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gankit.training import graph
from gankit.training.phases import Scalars


class Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.entries.append((func, args, kwargs, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.entries:
            given = {
                leaf.untyped_storage().data_ptr()
                for leaf in tree_leaves((args, kwargs))
                if isinstance(leaf, Tensor)
            }
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                # Views and in-place results are where they were.
                fresh = isinstance(new, Tensor) and new.untyped_storage().data_ptr() not in given
                if fresh and old is not new:
                    old.copy_(new)


class TapeRecorder:
    """Records for ``graph.Graphs``; counts, and raises where ``fails`` says something."""

    def __init__(self, modules: Any, optimizers: Any, fails: str = "") -> None:
        self.state = (modules, optimizers)
        self.fails = fails
        self.captured = self.replayed = 0

    def warm_up(self, run: Callable[[], object]) -> None:
        for _ in range(graph.WARM_UPS):
            run()

    def capture(self, run: Callable[[], Scalars]) -> Any:
        self.captured += 1
        if self.fails:
            raise RuntimeError(self.fails)
        tape = Tape()
        with graph.put_back(*self.state), tape:  # a capture runs nothing
            results = run()

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay, results
