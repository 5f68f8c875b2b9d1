"""``accelerate(model, trace=True)``: forwards that read settings, and what they are taken for."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, tanh
from torch.nn.functional import leaky_relu

import gankit
from gankit.acceleration.run import served
from gankit.acceleration.trace import is_traced

pytestmark = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")
HALF = 0.5


class Base(nn.Module):
    """Two layers, and settings of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4)
        self.upsample, self.channels, self.mode = True, 4, "nearest"
        self.act, self.skip, self.factor = F.relu, nn.Conv2d(3, 4, 1), 2.0
        self.absent: nn.Module | None = None
        self.register_buffer("scale", torch.ones(4, 1, 1))

    def h(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class TorchTanh(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.bn(self.conv(x)))


class TorchSigmoid(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv2(torch.tanh(self.bn(self.conv(x)))))


class Methods(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.bn(self.conv(x)).tanh()
        return self.bn2(self.conv2(h)).relu().sigmoid().clamp(0.1, 0.9)


class Functional(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(self.conv2(F.tanh(self.bn(self.conv(x)))))


class ByName(Base):
    def forward(self, x: Tensor) -> Tensor:
        return tanh(self.conv2(leaky_relu(self.bn(self.conv(x)), 0.2)))


class InPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn(self.conv(x))) * 2
        return torch.relu_(self.conv2(y).clamp_(-0.5, 0.5)) / math.sqrt(2) + self.skip(x).tanh_()


class Shapes(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.cat([self.h(x), x], 1)
        h = F.interpolate(h, scale_factor=2)
        rows, columns = h.shape[2:]
        return torch.flatten(h.view(x.size(0), -1, columns), 1) + rows + x.shape[0]


class Noise(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.h(x)
        return h + 0.1 * torch.randn_like(h) + torch.rand_like(h)


class MadeHere(Base):
    def forward(self, x: Tensor) -> Tensor:
        return nn.Tanh()(self.conv2(nn.LeakyReLU(0.2)(self.bn(self.conv(x)))))


class Buffers(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.h(x) * (self.scale * 2)


class Settings(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.bn(self.conv(x)))
        return F.interpolate(h, scale_factor=2, mode=self.mode).view(-1, self.channels, 2)


class Optional(Base):
    def forward(self, x: Tensor, y: Tensor | None = None, times: int = 1) -> Tensor:
        h = self.h(x) * times
        return h if y is None else h + y


class AsksArguments(Base):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.h(x)
        if y is not None:
            h = h + y
        return h


class Residual(Base):
    def _residual(self, x: Tensor) -> Tensor:
        h = self.act(self.bn(self.conv(x)))
        h = F.interpolate(h, scale_factor=2, mode=self.mode) if self.upsample else h
        return self.conv2(self.act(self.bn2(h)))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.skip is not None:
            x = self.skip(x)
        if self.absent:
            x = self.absent(x)
        return F.interpolate(x, scale_factor=2) if self.upsample else x

    def forward(self, x: Tensor) -> Tensor:
        return self._residual(x) + self._shortcut(x)


TAKEN = (
    *(TorchTanh, TorchSigmoid, Methods, Functional, ByName, InPlace, Shapes, MadeHere, Buffers),
    *(Settings, Noise, Optional, AsksArguments, Residual),
)


def check(ours: nn.Module, plain: nn.Module, *args: Tensor | int | None, **kwargs: int) -> None:
    """The same outputs and gradients."""
    outputs = []
    for network in (ours, plain):
        torch.manual_seed(1)
        outputs.append(network(*args, **kwargs))
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-10)
    gradients = [
        torch.autograd.grad(y.square().sum(), list(n.parameters()), allow_unused=True)
        for y, n in zip(outputs, (ours, plain), strict=True)
    ]
    for a, b in zip(*gradients, strict=True):
        assert (a is None) is (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


def images(n: int = 3) -> Tensor:
    return torch.randn(n, 3, 5, 5, dtype=torch.float64)


@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("training", [True, False])
def test_what_a_record_holds_for_is_taken(kind: type[Base], training: bool) -> None:
    torch.manual_seed(0)
    plain = kind().double()
    ours = copy.deepcopy(plain)
    report = gankit.accelerate(ours, trace=True)
    assert report.counts
    assert is_traced(ours)
    assert vars(ours).keys() == vars(plain).keys()
    more = [torch.randn(4, 1, 1, dtype=torch.float64)] if kind is AsksArguments else []
    for n in (3, 2):
        for network in (ours, plain):
            network.train(training)
        check(ours, plain, images(n), *more)
    check(copy.deepcopy(ours), plain, images(), *more)
    gankit.restore(ours)
    assert type(ours) is kind


@pytest.mark.parametrize("kind", [Optional, Residual])
def test_compile_without_a_break(kind: type[Base]) -> None:
    plain = kind().double()
    ours = copy.deepcopy(plain)
    assert gankit.accelerate(ours, trace=True).counts
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    x = images()
    torch.testing.assert_close(compiled(x), plain(x))
    for network in (ours, plain):
        network.act = torch.tanh
    torch.testing.assert_close(compiled(x), plain(x))


def changes(network: Residual | Settings) -> list[tuple[str, object]]:
    return [
        ("upsample", False),
        ("channels", 2),
        ("mode", "nearest-exact"),
        ("act", torch.tanh),
        ("skip", None),
        ("skip", nn.Conv2d(3, 4, 1).double()),
        ("absent", nn.Conv2d(4, 4, 1).double()),
        ("conv2", nn.Conv2d(4, 4, 1).double()),
        ("bn", nn.Identity()),
    ]


@pytest.mark.parametrize("kind", [Residual, Settings, Buffers])
def test_settings_that_change_later_are_seen(kind: type[Base]) -> None:
    torch.manual_seed(0)
    plain = kind().double()
    ours = copy.deepcopy(plain)
    assert gankit.accelerate(ours, trace=True).counts
    for name, value in changes(plain):
        before = [getattr(network, name) for network in (ours, plain)]
        for network in (ours, plain):
            setattr(network, name, copy.deepcopy(value))
        if name == "skip" and value is None:
            x = torch.randn(3, 3, 5, 5, dtype=torch.float64)
            found = []
            for network in (ours, plain):
                try:
                    found.append(network(x))
                except RuntimeError as error:
                    found.append(str(error))
            assert type(found[0]) is type(found[1])
        else:
            check(ours, plain, images())
        for network, was in zip((ours, plain), before, strict=True):
            setattr(network, name, was)
    for network in (ours, plain):
        network.scale.mul_(3)
    check(ours, plain, images())


def test_arguments_that_are_given_are_seen() -> None:
    torch.manual_seed(0)
    plain = Optional().double()
    ours = copy.deepcopy(plain)
    assert gankit.accelerate(ours, trace=True).counts
    y = torch.randn(4, 1, 1, dtype=torch.float64)
    for args in ((), (y,), (None,), (y, 3), (None, 3)):
        check(ours, plain, images(), *args)
    check(ours, plain, images(), times=2)
    plain, more = AsksArguments().double(), AsksArguments().double()
    more.load_state_dict(plain.state_dict())
    assert gankit.accelerate(more, trace=True).counts
    for other in (y, None, 2, y):
        check(more, plain, images(), other)
    program = torch.export.export(ours.eval(), (images(),))
    assert "gankit" not in str(program.graph)
    graph = torch.fx.symbolic_trace(ours, concrete_args={"y": None, "times": 1})
    assert "gankit" not in str(graph.code)


class Gives(nn.Module):
    def forward(self, x: Tensor) -> Tensor | None:
        return x if x.shape[0] > 1 else None


class AsksLayers(Base):
    def __init__(self) -> None:
        super().__init__()
        self.gives = Gives()

    def forward(self, x: Tensor) -> Tensor:
        y = self.gives(x)
        return self.h(x) if y is None else -self.h(x)


class NamesItself(Base):
    def forward(self, x: Tensor) -> Tensor:
        me = self
        return self.h(x) * me.channels


class HandsOnTorch(Base):
    def forward(self, x: Tensor) -> Tensor:
        t = torch
        return self.h(x) + t.randn(1)


class ReadsGlobalInMethod(Base):
    def g(self, x: Tensor) -> Tensor:
        return self.h(x) * HALF

    def forward(self, x: Tensor) -> Tensor:
        return self.g(x)


class BranchesOnBuffer(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = self.h(x)
        return h if self.scale.sum() > 0 else -h


class BranchesOnInner(Base):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.last = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        h = self.h(x)
        return self.inner.last(h) if self.inner.last else h


class MakesLayer(Base):
    def forward(self, x: Tensor) -> Tensor:
        return nn.Conv2d(4, 4, 1)(self.h(x))


class MakesNorm(Base):
    def forward(self, x: Tensor) -> Tensor:
        return nn.BatchNorm2d(4)(self.h(x))


class Defaults(Base):
    def forward(self, x: Tensor, scales: tuple[float, ...] = (1.0,)) -> Tensor:
        return self.h(x) * scales[0]


class Property(Base):
    @property
    def width(self) -> int:
        return int(torch.randint(9, (1,)))

    def forward(self, x: Tensor) -> Tensor:
        return self.h(x) * self.width


class WritesGlobal(Base):
    def forward(self, x: Tensor) -> Tensor:
        global LAST
        LAST = self.h(x)
        return LAST


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (AsksLayers, "whether something is None"),
        (NamesItself, "'channels'"),
        (HandsOnTorch, "'torch'"),
        (ReadsGlobalInMethod, "'HALF'"),
        (BranchesOnBuffer, "branches on a tensor"),
        (BranchesOnInner, "'last'"),
        (MakesLayer, "cannot trace"),
        (MakesNorm, "cannot trace"),
        (Defaults, "optional"),
        (Property, "'width'"),
        (WritesGlobal, "writes"),
    ],
)
def test_what_a_record_would_freeze_is_left_alone(kind: type[Base], reason: str) -> None:
    network = kind()
    members = set(vars(network))
    report = gankit.accelerate(network, trace=True)
    assert not is_traced(network)
    assert set(vars(network)) == members
    assert not report.counts
    assert reason in report.rows[0].reason
