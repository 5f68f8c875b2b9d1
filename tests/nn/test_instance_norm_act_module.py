"""InstanceNormAct2d as a drop-in for torch's instance norm and activation."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import gankit
from gankit.nn import InstanceNormAct2d

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.3),
    "tanh": nn.Tanh(),
    "none": nn.Identity(),
}


def pair(activation: str, affine: bool) -> tuple[nn.Sequential, InstanceNormAct2d]:
    plain = nn.Sequential(nn.InstanceNorm2d(3, 1e-3, affine=affine), ACTIVATIONS[activation])
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    ours = InstanceNormAct2d(3, 1e-3, affine=affine, activation=activation, negative_slope=0.3)
    ours.load_state_dict(plain[0].state_dict())
    return plain.double(), ours.double()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_pair_and_so_are_two_derivatives(
    activation: str, affine: bool, training: bool
) -> None:
    torch.manual_seed(0)
    plain, ours = pair(activation, affine)
    base = torch.randn(4, 3, 5, 6, dtype=torch.float64) * 3 + 1
    results = []
    for module in (plain.train(training), ours.train(training)):
        x = base.clone().requires_grad_()
        y = module(x)
        (slope,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        wanted = [x, *module.parameters()]
        results.append([y, slope, *torch.autograd.grad(slope.square().sum(), wanted)])
    for theirs, own in zip(*results, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-9)


def test_one_sample_without_a_batch_no_sample_and_channels_last() -> None:
    torch.manual_seed(0)
    plain, ours = pair("leaky_relu", affine=True)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x[0]), plain(x[0]))
    assert ours(x[:0]).shape == (0, 3, 4, 5)
    turned = ours(x.contiguous(memory_format=torch.channels_last))
    assert turned.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(turned, plain(x))


def test_a_sample_does_not_see_the_others() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 5)
    norm = InstanceNormAct2d(4)
    torch.testing.assert_close(norm(x), torch.cat([norm(one) for one in x.split(1)]))


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(copy_of: object) -> None:
    module = InstanceNormAct2d(3, affine=True, activation="leaky_relu", negative_slope=0.1)
    twin = copy_of(module)  # type: ignore[operator]
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(twin(x), module(x))
    assert repr(twin) == repr(module)
    assert repr(twin).endswith(", activation='leaky_relu', negative_slope=0.1)")


def test_errors_name_what_came() -> None:
    with pytest.raises(ValueError, match=r"expected 3 channels.* \(2, 4, 5, 5\)"):
        InstanceNormAct2d(3)(torch.ones(2, 4, 5, 5))
    with pytest.raises(ValueError, match=r"more than 1 pixel, got shape \(2, 3, 1, 1\)"):
        InstanceNormAct2d(3)(torch.ones(2, 3, 1, 1))
    with pytest.raises(ValueError, match="3D or 4D"):
        InstanceNormAct2d(3)(torch.ones(2, 3))
    for change in ({"activation": "elu"}, {"negative_slope": float("nan")}, {"eps": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(change))}: expected"):
            InstanceNormAct2d(3, **change)  # type: ignore[arg-type]


def test_a_plain_copy_and_an_exported_graph_have_torchs_layers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), InstanceNormAct2d(3, affine=True)).eval()
    x = torch.randn(4, 2, 6, 6)
    plain = gankit.plain_copy(net)
    assert not any(type(m).__module__.startswith("gankit") for m in plain.modules())
    torch.testing.assert_close(plain(x), net(x), rtol=1e-5, atol=1e-5)
    graph = torch.export.export(net, (x,))
    assert "gankit" not in str(graph.graph)
    torch.testing.assert_close(graph.module()(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiles_whole() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), InstanceNormAct2d(3))
    twin = copy.deepcopy(net)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 2, 6, 6)
    for module in (compiled, twin):
        module(x).square().sum().backward()
    torch.testing.assert_close(net[0].weight.grad, twin[0].weight.grad)
