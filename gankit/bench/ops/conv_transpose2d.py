"""gankit.ops.conv_transpose2d beside eager PyTorch, torch.compile and a product with F.fold.

Every call is one of a training pass: x and the weight require a gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gankit.bench.ops import peers_conv_transpose2d as peers
from gankit.bench.races import Call, Contender, Race, Role, Settings
from gankit.ops import conv_transpose2d

Function = Callable[[Tensor, Tensor], Tensor]

DIRECTIONS = ("forward", "both")


@dataclass(frozen=True)
class Case:
    """A layer: input, output channels, kernel, stride, padding, activation."""

    name: str
    shape: tuple[int, int, int, int]
    channels: int
    kernel: int
    stride: int
    padding: int
    activation: str


CASES = (
    Case("1x1 to 7x7", (60, 100, 1, 1), 224, 7, 1, 0, "none"),
    Case("14x14 to 28x28, 1 channel", (60, 112, 14, 14), 1, 4, 2, 1, "tanh"),
    Case("32x32 to 64x64, 3 channels", (64, 64, 32, 32), 3, 4, 2, 1, "tanh"),
    Case("64x64 to 128x128, 3 channels", (32, 64, 64, 64), 3, 4, 2, 1, "tanh"),
)


def races(settings: Settings) -> Iterator[Race]:
    """One race per layer, memory layout and direction."""
    for case in CASES:
        for channels_last in (False, True):
            for direction in DIRECTIONS:
                layout = "channels_last" if channels_last else "contiguous"
                entry = _Entry(case, channels_last, direction, settings.device)
                group = f"conv_transpose2d {direction} {case.name} {layout}"
                yield Race(group, tuple(_contenders(entry)), settings.device, settings.seconds)


@dataclass(frozen=True)
class _Entry:
    """Makes contenders for one layer, layout and direction."""

    case: Case
    channels_last: bool
    direction: str
    device: torch.device

    def contender(
        self,
        name: str,
        role: Role,
        make: Callable[[], Function],
        *,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Contender:
        return Contender(name, role, lambda: self._call(make()), context)

    def settings(self) -> dict[str, Any]:
        case = self.case
        return {"stride": case.stride, "padding": case.padding, "activation": case.activation}

    def _call(self, function: Function) -> Call:
        case = self.case
        torch.manual_seed(0)
        x = torch.randn(case.shape, device=self.device)
        weight = torch.randn(case.shape[1], case.channels, case.kernel, case.kernel) * 0.05
        weight = weight.to(self.device)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
            weight = weight.contiguous(memory_format=torch.channels_last)
        x.requires_grad_()
        weight.requires_grad_()
        y = function(x, weight)
        peers.check(y, x, weight, **self.settings())
        grad = torch.randn_like(y)
        if self.direction == "forward":
            return lambda: function(x, weight)
        return lambda: torch.autograd.grad(function(x, weight), (x, weight), grad)


def _contenders(entry: _Entry) -> Iterator[Contender]:
    settings = entry.settings()
    plain: Function = functools.partial(peers.plain, **settings)
    yield entry.contender("plain eager", "plain", lambda: plain)
    product = peers.one_product if entry.case.shape[2:] == (1, 1) else peers.product_and_fold
    yield entry.contender("tuned eager", "peer", lambda: functools.partial(product, **settings))
    yield entry.contender(
        "torch.compile",
        "peer",
        lambda: torch.compile(plain, dynamic=False, fullgraph=True),
    )
    yield entry.contender(
        "gankit", "gankit", lambda: functools.partial(conv_transpose2d, **settings)
    )
