"""``accelerate(model, trace=True)``: layers called by attribute."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gankit
from gankit.acceleration.run import served

pytestmark = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")
SCALE = 2.0


class Attributes(nn.Module):
    """In the public style; a skip, two activations as functions, a view by the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8 * 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.bn1(self.conv1(x)), 0.2)
        y = F.relu(self.bn2(self.conv2(h))) + h
        y += h
        return self.fc(self.drop(F.leaky_relu(y, negative_slope=0.1)).view(x.size(0), -1))


@pytest.mark.filterwarnings("ignore")
def test_a_traced_module_computes_the_same_and_comes_back() -> None:
    torch.manual_seed(0)
    plain = Attributes().double()
    plain.drop.p = 0.0
    ours = copy.deepcopy(plain)
    keys, members = list(ours.state_dict()), set(vars(ours))
    report = gankit.accelerate(ours, trace=True)
    assert [row.layers for row in report.rows if row.fused == "batch_norm_act"] == [
        ("BatchNorm2d", "LeakyReLU"),
        ("BatchNorm2d", "ReLU"),
    ]
    assert len(report.counts) == 1
    assert type(ours) is not Attributes
    assert isinstance(ours, Attributes)
    assert type(ours).__name__ == "Attributes"
    assert list(ours.state_dict()) == keys
    assert set(vars(ours)) == members
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for mode in (True, False):
        for network in (ours, plain):
            network.train(mode)
        a, b = (
            torch.autograd.grad(n(x).square().sum(), list(n.parameters())) for n in (ours, plain)
        )
        for p, q in zip(a, b, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-9)
        for p, q in zip(ours.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(p, q)
    twin = copy.deepcopy(ours)
    assert type(twin) is type(ours)
    twin.fc.weight.data.zero_()
    assert ours(x).abs().sum() > twin(x).abs().sum()
    loaded = pickle.loads(pickle.dumps(ours))
    assert type(loaded) is Attributes
    torch.testing.assert_close(loaded(x), ours(x))
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), plain(x))
    ours.eval(), plain.eval()
    scripted, traced = torch.jit.script(ours), torch.jit.trace(ours, x)
    graph = torch.fx.symbolic_trace(ours)
    for module in (scripted, traced, graph, torch.export.export(ours, (x,)).module()):
        torch.testing.assert_close(module(x), plain(x))
    # By its ops' names: the graph also tells the files that it comes from.
    assert "gankit::" not in str(scripted.inlined_graph)
    assert "gankit" not in str(graph.code)
    gankit.restore(ours)
    assert type(ours) is Attributes


def test_hooks_and_modes_count_after_tracing() -> None:
    ours = Attributes()
    gankit.accelerate(ours, trace=True)
    x = torch.randn(4, 3, 8, 8)
    assert not torch.equal(ours(x), ours(x))
    ours.eval()
    assert torch.equal(ours(x), ours(x))
    seen: list[int] = []
    ours.bn1.register_forward_hook(lambda *_: seen.append(1))
    ours(x)
    assert seen == [1]


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.bn = nn.BatchNorm1d(4)
        self.flag = True
        self.factor = 2.0


class Branches(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn(self.fc(x)))
        return y if x.sum() > 0 else -y


class Reads(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x))) * self.factor


class ReadsMode(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(F.relu(self.bn(self.fc(x))), 0.5, self.training)


class ReadsGlobal(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x))) * SCALE


class Prints(Base):
    def forward(self, x: Tensor) -> Tensor:
        print(x.shape)
        return F.relu(self.bn(self.fc(x)))


class ReadsSetting(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x))) * torch.is_grad_enabled()


class SwitchesMode(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.bn.eval()
        return F.relu(self.bn(self.fc(x)))


class WritesItem(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn(self.fc(x)))
        self.__dict__["last"] = y
        return y


class ReadsLayer(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x))) * self.fc.out_features


class Draws(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x))) + torch.randn(4)


class MakesTensor(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x))) + torch.Tensor([1.0])


class Collects(Base):
    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x)))


class Comprehends(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.relu(self.bn(self.fc(v))) for v in (x, x)])


class Untraceable(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x))) * torch.full((1,), len(x))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Branches, "branches"),
        (Reads, "'factor'"),
        (ReadsMode, "'training'"),
        (ReadsGlobal, "'SCALE'"),
        (Prints, "'print'"),
        (ReadsSetting, "'is_grad_enabled'"),
        (SwitchesMode, "'eval'"),
        (WritesItem, "attributes or items"),
        (ReadsLayer, "'out_features'"),
        (Draws, "'randn'"),
        (MakesTensor, "'Tensor'"),
        (Collects, "optional"),
        (Comprehends, ""),
        (Untraceable, ""),
    ],
)
def test_what_a_recording_would_freeze_is_left_alone(kind: type[Base], reason: str) -> None:
    network = kind()
    members = set(vars(network))
    report = gankit.accelerate(network, trace=True)
    assert type(network) is kind
    assert set(vars(network)) == members
    assert not report.counts
    assert reason in report.rows[0].reason
    assert report.rows[0].reason


class InPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn(self.fc(x)))
        first = y
        y += x
        x *= 2
        return first * y


def test_what_is_changed_in_place_stays_so() -> None:
    network = InPlace()
    twin = copy.deepcopy(network)
    assert gankit.accelerate(network, trace=True).counts
    x = torch.randn(5, 4)
    given, other = x.clone(), x.clone()
    torch.testing.assert_close(network(given), twin(other))
    assert torch.equal(given, 2 * x)
    assert torch.equal(other, 2 * x)
