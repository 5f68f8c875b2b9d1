"""gankit.ops.linear beside F.linear, torch.compile and oneDNN's own call.

Every call is one of a training pass: x, weight and bias require a gradient; oneDNN's call has no
derivative and races forward alone. On a machine where gankit leaves the product to torch the two
differ by the call's own overhead alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.bench.races import Call, Contender, Race, Role, Settings
from gankit.ops import linear

Function = Callable[[Tensor, Tensor, Tensor], Tensor]

DIRECTIONS = ("forward", "both")
# Rows, inputs, outputs: layers of the MLP GAN at its batch, paired and alone, a large one, and
# what is too small for another library than torch's.
SIZES = (
    (60, 1024, 784),
    (60, 512, 256),
    (120, 784, 1024),
    (256, 1024, 512),
    (1024, 4096, 1024),
    (60, 256, 1),
    (8, 64, 64),
)


def races(settings: Settings) -> Iterator[Race]:
    """One race per layer and direction."""
    for sizes in SIZES:
        for direction in DIRECTIONS:
            entry = _Entry(sizes, direction, settings.device)
            group = f"linear {direction} {'x'.join(map(str, sizes))} float32"
            yield Race(group, tuple(_contenders(entry)), settings.device, settings.seconds)


@dataclass(frozen=True)
class _Entry:
    """Makes contenders for one layer and direction."""

    sizes: tuple[int, int, int]
    direction: str
    device: torch.device

    def contender(self, name: str, role: Role, make: Callable[[], Function]) -> Contender:
        return Contender(name, role, functools.partial(self._call, make))

    def _call(self, make: Callable[[], Function]) -> Call:
        rows, inputs, outputs = self.sizes
        torch.manual_seed(0)
        shapes = ((rows, inputs), (outputs, inputs), (outputs,))
        leaves = [torch.randn(s, device=self.device).requires_grad_() for s in shapes]
        grad = torch.randn(rows, outputs, device=self.device)
        function = make()
        _check(function, leaves, grad)
        if self.direction == "forward":
            return lambda: function(*leaves)
        return lambda: torch.autograd.grad(function(*leaves), leaves, grad)


def _contenders(entry: _Entry) -> Iterator[Contender]:
    yield entry.contender("plain eager", "plain", lambda: F.linear)
    yield entry.contender(
        "torch.compile",
        "peer",
        lambda: torch.compile(F.linear, dynamic=False, fullgraph=True),
    )
    alone = entry.direction == "forward" and entry.device.type == "cpu"
    if alone and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        yield entry.contender("oneDNN", "peer", lambda: _onednn)
    yield entry.contender("gankit", "gankit", lambda: linear)
    yield entry.contender(
        "gankit, torch.compile",
        "variant",
        lambda: torch.compile(linear, dynamic=False, fullgraph=True),
    )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x, weight, bias = x.detach(), weight.detach(), bias.detach()
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _check(function: Function, leaves: list[Tensor], grad: Tensor) -> None:
    """Raises AssertionError unless output and gradients are those of a linear layer."""
    results = []
    for f, inputs in (
        (function, leaves),
        (F.linear, [x.detach().double().requires_grad_() for x in leaves]),
    ):
        y = f(*inputs)
        gradients = torch.autograd.grad(y, inputs, grad.to(y.dtype)) if y.requires_grad else ()
        results.append((y, *gradients))
    # A GPU may multiply in TensorFloat-32.
    tolerance = 2e-3 if grad.is_cuda else 1e-5
    for found, wanted in zip(*results, strict=function is not _onednn):
        assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()
