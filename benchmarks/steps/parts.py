"""The parts of a training step, timed beside the whole: its products and its optimizers alone.

One step is recorded operation by operation; a part then repeats its operations on the tensors they
had. What a step takes beyond its parts is everything else: activations, normalisation, losses,
draws, Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.steps.racing import Step
from gankit.bench.races import Call, Contender
from gankit.ops import linear

# What an exact step cannot do without, by the name of the operation.
PRODUCTS = (
    "mm", "addmm", "bmm", "baddbmm", "linear", "_linear_pointwise", "_linear_packed", "convolution",
    "convolution_overrideable", "convolution_backward", "convolution_backward_overrideable",
    "_convolution_transpose_pointwise", "_convolution_pointwise",
)  # fmt: skip
OPTIMIZERS = ("_fused_adam_", "_fused_adamw_", "_fused_sgd_")
PARTS = {"its products alone": PRODUCTS, "its optimizers alone": OPTIMIZERS}


class _Recorder(TorchDispatchMode):
    """Keeps every operation of the given names with its arguments."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in self.names:
            self.calls.append((func, args, kwargs))
        return func(*args, **kwargs)


def _as_the_step_runs_it(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # While a mode records, gankit.ops.linear leaves the choice of library to torch.
    if func is torch.ops.aten.mm.default:
        x, transposed = args
        return linear, (x, transposed.t()), {}
    if func is torch.ops.aten.addmm.default and not kwargs:
        bias, x, transposed = args
        return linear, (x, transposed.t(), bias), {}
    return func, args, kwargs


def part_contenders(
    make: Callable[[], Step], batch: tuple[int, ...], device: torch.device, calls: int = 1
) -> Iterator[Contender]:
    """The parts of what ``make`` builds, as contenders of its race.

    Args:
        make: the step to take apart; on CUDA one that runs without a graph.
        batch: shape of the real images.
        device: where the step runs.
        calls: steps in one turn of the race.
    """

    def build(names: tuple[str, ...]) -> Call:
        torch.manual_seed(0)
        step, real = make(), torch.rand(batch, device=device).mul_(2).sub_(1)
        step(real)
        with _Recorder(names) as recorder:
            for _ in range(calls):
                step(real)
        if not recorder.calls:
            raise RuntimeError(f"the step ran none of {', '.join(names)}")
        # Recorded views of weights that an optimizer has since changed may be viewed again without
        # gradients alone.
        with torch.no_grad():
            recorded = [_as_the_step_runs_it(*call) for call in recorder.calls]

        @torch.no_grad()
        def repeat() -> None:
            for func, args, kwargs in recorded:
                func(*args, **kwargs)

        return repeat

    for name, names in PARTS.items():
        yield Contender(name, "part", lambda names=names: build(names))  # type: ignore[misc]
