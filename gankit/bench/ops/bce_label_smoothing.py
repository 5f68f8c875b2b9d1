"""gankit.ops.bce_label_smoothing and gan_bce beside eager PyTorch and torch.compile.

Every call is one of a training pass: the logits require a gradient. ``soft target`` has a tensor of
labels that needs no smoothing, which is torch's own case; ``smoothed`` smooths them in the call;
``two halves`` is the discriminator's loss, for which torch needs its labels filled in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import gankit
from gankit.bench.cuda_graphs import captured
from gankit.bench.races import Call, Contender, Race, Role, Settings
from gankit.ops import backends, bce_label_smoothing, gan_bce

Function = Callable[[Tensor, Tensor], Tensor]

DIRECTIONS = ("forward", "backward", "both")
SMOOTHING = 0.1
SIZES: tuple[tuple[int, torch.dtype], ...] = (
    (60, torch.float32),
    (2**14, torch.float32),
    (2**20, torch.float32),
    (2**20, torch.bfloat16),
)
# 256 MB for each tensor: several times any cache.
STREAMING_SIZES: tuple[tuple[int, torch.dtype], ...] = (
    (2**26, torch.float32),
    (2**27, torch.bfloat16),
)
# Forward reads x and t (or both halves); backward writes the gradient of x (or both) besides.
TENSORS_MOVED = {
    "two halves": {"forward": 2, "backward": 4, "both": 6},
    "soft target": {"forward": 2, "backward": 3, "both": 5},
    "smoothed": {"forward": 2, "backward": 3, "both": 5},
}


def races(settings: Settings) -> Iterator[Race]:
    """One race per task, size, dtype and direction."""
    on_cuda = settings.device.type == "cuda"
    for task in TENSORS_MOVED:
        for size, dtype in SIZES + (STREAMING_SIZES if on_cuda else ()):
            for direction in DIRECTIONS:
                entry = _Entry(task, size, dtype, direction, settings.device)
                kind = str(dtype).removeprefix("torch.")
                group = f"bce_label_smoothing {task} {direction} {size} {kind}"
                contenders = tuple(_contenders(entry))
                yield Race(group, contenders, settings.device, settings.seconds)


def plain(task: str, first: Tensor, second: Tensor) -> Tensor:
    """As tutorials have it."""
    loss = F.binary_cross_entropy_with_logits
    if task == "two halves":
        return loss(first, torch.ones_like(first)) + loss(second, torch.zeros_like(second))
    if task == "smoothed":
        return loss(first, second * (1 - SMOOTHING) + SMOOTHING / 2)
    return loss(first, second)


def tuned(task: str, first: Tensor, second: Tensor) -> Tensor:
    """Softplus, which fills in no labels and has fewer steps."""
    if task == "two halves":
        return F.softplus(-first).mean() + F.softplus(second).mean()
    if task == "smoothed":
        second = torch.add(SMOOTHING / 2, second, alpha=1 - SMOOTHING)
    return torch.addcmul(F.softplus(first), first, second, value=-1).mean()


def ours(task: str, first: Tensor, second: Tensor) -> Tensor:
    """One call."""
    if task == "two halves":
        return gan_bce(first, second)
    if task == "smoothed":
        return bce_label_smoothing(first, second, smoothing=SMOOTHING, mode="two-sided")
    return bce_label_smoothing(first, second)


class _Entry:
    """Makes contenders for one task, size, dtype and direction."""

    def __init__(
        self, task: str, size: int, dtype: torch.dtype, direction: str, device: torch.device
    ) -> None:
        self.task, self.size, self.dtype = task, size, dtype
        self.direction, self.device = direction, device

    def contender(
        self,
        name: str,
        role: Role,
        make: Callable[[], Function],
        *,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        graph: bool = False,
    ) -> Contender:
        def build() -> Call:
            call = self._call(make())
            return captured(call) if graph else call

        element_bytes = torch.empty(0, dtype=self.dtype).element_size()
        moved = TENSORS_MOVED[self.task][self.direction] * self.size * element_bytes
        return Contender(name, role, build, context, {"bytes": moved})

    def function(self, of_task: Callable[[str, Tensor, Tensor], Tensor]) -> Function:
        return functools.partial(of_task, self.task)

    def _call(self, function: Function) -> Call:
        torch.manual_seed(0)
        first = torch.randn(self.size, device=self.device).to(self.dtype).requires_grad_()
        leaves = [first]
        if self.task == "two halves":
            second = torch.randn(self.size, device=self.device).to(self.dtype).requires_grad_()
            leaves.append(second)
        else:
            second = torch.rand(self.size, device=self.device).to(self.dtype)
        y = function(first, second)
        tolerance = 1e-5 if self.dtype == torch.float32 else 2e-2
        wanted = plain(self.task, first.detach().double(), second.detach().double())
        torch.testing.assert_close(y.detach().double(), wanted, rtol=tolerance, atol=0)
        if self.direction == "forward":
            return lambda: function(first, second)
        if self.direction == "both":
            return lambda: torch.autograd.grad(function(first, second), leaves)
        return lambda: torch.autograd.grad(y, leaves, retain_graph=True)


def _contenders(entry: _Entry) -> Iterator[Contender]:
    on_cuda = entry.device.type == "cuda"
    yield entry.contender("plain eager", "plain", lambda: entry.function(plain))
    yield entry.contender("tuned eager", "peer", lambda: entry.function(tuned))
    for mode in _modes(entry):
        name = "torch.compile" if mode == "default" else f"torch.compile, {mode}"
        make = functools.partial(_compiled, entry.function(plain), mode)
        yield entry.contender(name, "peer", make, context=_reusable_backward)
    graphs = on_cuda and entry.direction != "backward"
    if graphs:
        make = functools.partial(entry.function, tuned)
        yield entry.contender("tuned eager, CUDA graph", "peer", make, graph=True)
    yield entry.contender("gankit", "gankit", lambda: entry.function(ours))
    if graphs:
        make = functools.partial(entry.function, ours)
        yield entry.contender("gankit, CUDA graph", "variant", make, graph=True)
    if on_cuda:
        yield from _other_backends(entry)


def _other_backends(entry: _Entry) -> Iterator[Contender]:
    in_force = backends.choose(entry.device.type)[0]
    for name in ("native", "triton"):
        if name != in_force and backends.availability(name, entry.device.type).available:
            context = functools.partial(gankit.backend, name)
            yield entry.contender(
                f"gankit, {name}", "variant", lambda: entry.function(ours), context=context
            )


def _modes(entry: _Entry) -> tuple[str, ...]:
    if entry.device.type != "cuda":
        return ("default",)
    if entry.direction == "backward":
        # Its CUDA graphs run backward once per forward, so backward alone is not to be had.
        return ("default", "max-autotune-no-cudagraphs")
    return ("default", "max-autotune", "reduce-overhead")


def _compiled(function: Function, mode: str) -> Function:
    compiled: Function = torch.compile(function, mode=mode, dynamic=False, fullgraph=True)
    if mode in ("default", "max-autotune-no-cudagraphs"):
        return compiled

    def step(first: Tensor, second: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(first, second)

    return step


def _reusable_backward() -> AbstractContextManager[Any]:
    """Lets compiled code run backward again on the same forward, as eager does."""
    import torch._functorch.config as config

    patch: AbstractContextManager[Any] = config.patch(donated_buffer=False)
    return patch
