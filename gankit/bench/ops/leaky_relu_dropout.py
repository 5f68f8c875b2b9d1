"""gankit.ops.leaky_relu_dropout beside eager PyTorch and torch.compile.

Every call is one of a training pass: x requires a gradient, so what backward needs is saved.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

import gankit
from gankit.bench.cuda_graphs import captured
from gankit.bench.ops import peers_leaky_relu_dropout as peers
from gankit.bench.races import Call, Contender, Race, Role, Settings
from gankit.ops import backends, leaky_relu_dropout

Function = Callable[[Tensor], Tensor]
Shape = tuple[int, ...]

DIRECTIONS = ("forward", "backward", "both")
LARGEST = (1024, 4096)
CASES: tuple[tuple[Shape, torch.dtype], ...] = (
    ((8,), torch.float32),
    ((60, 1024), torch.float32),
    ((128, 1024), torch.float32),
    (LARGEST, torch.float32),
    (LARGEST, torch.bfloat16),
    (LARGEST, torch.float16),
)
# 256 MB: several times any cache, so that the device's memory is what limits.
STREAMING_CASES: tuple[tuple[Shape, torch.dtype], ...] = (
    ((16384, 4096), torch.float32),
    ((32768, 4096), torch.bfloat16),
    ((32768, 4096), torch.float16),
)
TENSORS_MOVED = {"forward": 2, "backward": 3, "both": 5}


def races(settings: Settings) -> Iterator[Race]:
    """One race per shape, dtype and direction."""
    on_cuda = settings.device.type == "cuda"
    for shape, dtype in CASES + (STREAMING_CASES if on_cuda else ()):
        kind = str(dtype).removeprefix("torch.")
        for direction in DIRECTIONS:
            entry = _Entry(shape, dtype, direction, settings.device)
            contenders = tuple(_contenders(entry, (shape, dtype) in STREAMING_CASES))
            group = f"leaky_relu_dropout {direction} {'x'.join(map(str, shape))} {kind}"
            yield Race(group, contenders, settings.device, settings.seconds)


class _Entry:
    """Makes contenders for one shape, dtype and direction."""

    def __init__(
        self, shape: Shape, dtype: torch.dtype, direction: str, device: torch.device
    ) -> None:
        self.shape, self.dtype, self.direction, self.device = shape, dtype, direction, device
        self.element_bytes = torch.empty(0, dtype=dtype).element_size()

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

        moved = TENSORS_MOVED[self.direction] * self._bytes()
        return Contender(name, role, build, context, {"bytes": moved})

    def copy(self) -> Contender:
        """A plain copy of a buffer of x's size: the bandwidth to compare with."""

        def build() -> Call:
            source = torch.randn(self.shape, device=self.device).to(self.dtype)
            target = torch.empty_like(source)
            return functools.partial(target.copy_, source)

        return Contender("copy", "copy", build, info={"bytes": 2 * self._bytes()})

    def _bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.element_bytes

    def _call(self, function: Function) -> Call:
        torch.manual_seed(0)
        x = torch.randn(self.shape, device=self.device).to(self.dtype).requires_grad_()
        grad = torch.randn(self.shape, device=self.device).to(self.dtype)
        y = function(x)
        peers.check(y, x)
        if self.direction == "forward":
            return lambda: function(x)
        if self.direction == "both":
            return lambda: torch.autograd.grad(function(x), x, grad)
        return lambda: torch.autograd.grad(y, x, grad, retain_graph=True)


def _contenders(entry: _Entry, streaming: bool) -> Iterator[Contender]:
    on_cuda = entry.device.type == "cuda"
    yield entry.contender("plain eager", "plain", lambda: peers.plain)
    yield entry.contender("tuned eager", "peer", lambda: peers.swapped)
    if not on_cuda:
        yield entry.contender("tuned eager, packed draws", "peer", lambda: peers.packed_draws)
    for mode in _modes(entry):
        name = "torch.compile" if mode == "default" else f"torch.compile, {mode}"
        make = functools.partial(_compiled, mode)
        yield entry.contender(name, "peer", make, context=_reusable_backward)
    graphs = on_cuda and entry.direction != "backward"
    if graphs:
        yield entry.contender("tuned eager, CUDA graph", "peer", lambda: peers.swapped, graph=True)
    yield entry.contender("gankit", "gankit", lambda: leaky_relu_dropout)
    if graphs:
        yield entry.contender(
            "gankit, CUDA graph", "variant", lambda: leaky_relu_dropout, graph=True
        )
    if on_cuda:
        yield from _other_backends(entry)
        # In a network the layers share one draw of the seed per pass.
        yield entry.contender("gankit, seed given", "variant", lambda: _with_seed(entry.device))
    if streaming:
        yield entry.copy()


def _other_backends(entry: _Entry) -> Iterator[Contender]:
    in_force = backends.choose(entry.device.type)[0]
    for name in ("native", "triton"):
        if name != in_force and backends.availability(name, entry.device.type).available:
            context = functools.partial(gankit.backend, name)
            yield entry.contender(
                f"gankit, {name}", "variant", lambda: leaky_relu_dropout, context=context
            )


def _with_seed(device: torch.device) -> Function:
    seed = torch.tensor([20], device=device)
    return lambda x: leaky_relu_dropout(x, seed=seed)


def _modes(entry: _Entry) -> tuple[str, ...]:
    if entry.device.type != "cuda":
        return ("default",)
    if entry.direction == "backward":
        # Its CUDA graphs run backward once per forward, so backward alone is not to be had.
        return ("default", "max-autotune-no-cudagraphs")
    return ("default", "max-autotune", "reduce-overhead")


def _compiled(mode: str) -> Function:
    compiled: Function = torch.compile(peers.plain, mode=mode, dynamic=False, fullgraph=True)
    if mode in ("default", "max-autotune-no-cudagraphs"):
        return compiled

    def step(x: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(x)

    return step


def _reusable_backward() -> AbstractContextManager[Any]:
    """Lets compiled code run backward again on the same forward, as eager does."""
    import torch._functorch.config as config

    patch: AbstractContextManager[Any] = config.patch(donated_buffer=False)
    return patch
