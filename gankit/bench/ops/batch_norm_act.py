"""gankit.ops.batch_norm_act beside eager PyTorch and torch.compile, in training.

The floor is memory: forward reads x twice and writes y, backward reads the gradient and x twice and
writes dL/dx. `bytes` counts that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import gankit
from gankit.bench.cuda_graphs import captured
from gankit.bench.races import Call, Contender, Race, Role, Settings
from gankit.ops import backends, batch_norm_act

Function = Callable[..., Tensor]
Shape = tuple[int, ...]

DIRECTIONS = ("forward", "backward")
TENSORS_MOVED = {"forward": 3, "backward": 5}


class Case(NamedTuple):
    """One shape, activation, layout and dtype; a scale and a shift for all samples, or for each."""

    shape: Shape
    activation: str = "relu"
    channels_last: bool = False
    dtype: torch.dtype = torch.float32
    per_sample: bool = False


CASES = (
    Case((8, 8)),
    Case((60, 112, 14, 14)),
    Case((60, 112, 14, 14), channels_last=True),
    Case((60, 112, 14, 14), dtype=torch.bfloat16),
    Case((60, 224, 7, 7)),
    Case((120, 224, 7, 7), "leaky_relu", channels_last=True),
    Case((60, 112, 14, 14), "tanh"),
    Case((128, 128, 32, 32)),
    # Conditional batch norm, as in the generators of SAGAN and BigGAN.
    Case((64, 256, 4, 4), per_sample=True),
    Case((64, 256, 16, 16), per_sample=True),
    Case((64, 256, 16, 16), channels_last=True, per_sample=True),
    Case((64, 128, 32, 32), per_sample=True),
    Case((32, 64, 64, 64), per_sample=True),
)
STREAMING_CASES = (Case((64, 256, 64, 64)), Case((64, 256, 64, 64), channels_last=True))


def races(settings: Settings) -> Iterator[Race]:
    """One race per case and direction."""
    on_cuda = settings.device.type == "cuda"
    for case in CASES + (STREAMING_CASES if on_cuda else ()):
        layout = " channels_last" if case.channels_last else ""
        kind = str(case.dtype).removeprefix("torch.")
        for direction in DIRECTIONS:
            entry = _Entry(case, direction, settings.device)
            shape = "x".join(map(str, case.shape))
            each = " per sample" if case.per_sample else ""
            group = f"batch_norm_act {direction} {case.activation}{each} {shape}{layout} {kind}"
            yield Race(group, tuple(_contenders(entry)), settings.device, settings.seconds)


def pair(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, activation: str
) -> Tensor:
    """Norm and activation as every network has them; between them a scale and shift per sample."""
    if weight.dim() == 1:
        z = F.batch_norm(x, mean, var, weight, bias, True)
    else:
        xhat = F.batch_norm(x, mean, var, None, None, True)
        z = xhat * weight[..., None, None] + bias[..., None, None]
    if activation == "relu":
        return F.relu(z)
    return torch.tanh(z) if activation == "tanh" else F.leaky_relu(z, 0.2)


def overwriting(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, activation: str
) -> Tensor:
    """The activation in place, and one product and sum: the fewest bytes that eager can move."""
    if weight.dim() == 1:
        z = F.batch_norm(x, mean, var, weight, bias, True)
    else:
        xhat = F.batch_norm(x, mean, var, None, None, True)
        z = torch.addcmul(bias[..., None, None], xhat, weight[..., None, None])
    if activation == "relu":
        return F.relu_(z)
    return torch.tanh_(z) if activation == "tanh" else F.leaky_relu_(z, 0.2)


def fused(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, activation: str
) -> Tensor:
    """Batch norm with given statistics, then ``activation``, as the compiler may fuse them."""
    return batch_norm_act(x, mean, var, weight, bias, True, activation=activation)


class _Entry:
    """Makes contenders for one case and direction."""

    def __init__(self, case: Case, direction: str, device: torch.device) -> None:
        self.case, self.direction, self.device = case, direction, device

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

        size = torch.Size(self.case.shape).numel() * self.case.dtype.itemsize
        info = {"bytes": TENSORS_MOVED[self.direction] * size}
        return Contender(name, role, build, context, info)

    def _call(self, function: Function) -> Call:
        torch.manual_seed(0)
        x, grad = (self._random() for _ in range(2))
        channels = self.case.shape[1]
        mean = torch.zeros(channels, device=self.device)
        var = torch.ones(channels, device=self.device)
        size = self.case.shape[:2] if self.case.per_sample else (channels,)
        weight = torch.rand(size, device=self.device) + 0.5
        bias = torch.randn(size, device=self.device)
        leaves = [t.requires_grad_() for t in (x, weight, bias)]
        arguments = (x, mean, var, weight, bias, self.case.activation)
        y = function(*arguments)
        with torch.no_grad():
            tolerance = 1e-4 if self.case.dtype == torch.float32 else 5e-2
            torch.testing.assert_close(y, pair(*arguments), rtol=tolerance, atol=tolerance)
        if self.direction == "forward":
            return lambda: function(*arguments)
        # A forward of its own, because the running statistics that it saved have moved on.
        y = function(*arguments)
        return lambda: torch.autograd.grad(y, leaves, grad, retain_graph=True)

    def _random(self) -> Tensor:
        x = torch.randn(self.case.shape, device=self.device).to(self.case.dtype)
        return x.contiguous(memory_format=torch.channels_last) if self.case.channels_last else x


def _contenders(entry: _Entry) -> Iterator[Contender]:
    on_cuda = entry.device.type == "cuda"
    yield entry.contender("plain eager", "plain", lambda: pair)
    yield entry.contender("tuned eager", "peer", lambda: overwriting)
    yield entry.contender("torch.compile", "peer", _compiled, context=_reusable_backward)
    graphs = on_cuda and entry.direction == "forward"
    if graphs:
        yield entry.contender("tuned eager, CUDA graph", "peer", lambda: overwriting, graph=True)
    yield entry.contender("gankit", "gankit", lambda: fused)
    if graphs:
        yield entry.contender("gankit, CUDA graph", "variant", lambda: fused, graph=True)
    in_force = backends.choose(entry.device.type)[0]
    for name in ("native", "triton") if on_cuda else ():
        if name != in_force and backends.availability(name, "cuda").available:
            context = functools.partial(gankit.backend, name)
            yield entry.contender(f"gankit, {name}", "variant", lambda: fused, context=context)


def _compiled() -> Function:
    compiled: Function = torch.compile(pair, dynamic=False, fullgraph=True)
    return compiled


def _reusable_backward() -> AbstractContextManager[Any]:
    """Lets compiled code run backward again on the same forward, as eager does."""
    import torch._functorch.config as config

    patch: AbstractContextManager[Any] = config.patch(donated_buffer=False)
    return patch
