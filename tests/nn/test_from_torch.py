"""Every module of ``gankit.nn`` is made from torch's layers, and gives them back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gankit.nn as ours

Layers = tuple[nn.Module, ...]


def norm(kind: Any, **settings: Any) -> nn.Module:
    layer: nn.Module = kind(6, 0.8, 0.3, **settings)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


CASES: dict[str, tuple[Any, Layers, tuple[int, ...]]] = {
    "linear": (ours.Linear, (nn.Linear(6, 4, bias=False),), (5, 6)),
    "leaky": (ours.LeakyReLUDropout, (nn.LeakyReLU(0.3).eval(), nn.Dropout(0.4).eval()), (5, 6)),
    "1d": (ours.BatchNormAct1d, (norm(nn.BatchNorm1d), nn.LeakyReLU(0.3)), (5, 6)),
    "2d": (
        ours.BatchNormAct2d,
        (norm(nn.BatchNorm2d, affine=False, track_running_stats=False), nn.Tanh()),
        (3, 6, 4, 4),
    ),
    "instance": (
        ours.InstanceNormAct2d,
        (nn.InstanceNorm2d(6, 0.8, affine=True), nn.LeakyReLU(0.3)),
        (3, 6, 4, 4),
    ),
    "deconv": (
        ours.ConvTransposeAct2d,
        (nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2, dilation=2), nn.ReLU()),
        (3, 6, 4, 4),
    ),
    "deconv bn": (
        ours.ConvTransposeBNAct2d,
        (nn.ConvTranspose2d(2, 6, 4, 2, 1, bias=False), norm(nn.BatchNorm2d), nn.Identity()),
        (3, 2, 4, 4),
    ),
}


def run(layers: Any, x: Tensor) -> list[Tensor]:
    y = x
    for layer in layers:
        y = layer(y)
    parameters = [p for layer in layers for p in layer.parameters()]
    found = [y.detach()]
    if parameters:
        found += torch.autograd.grad(y.square().sum(), parameters)
    return [*found, *(b.clone() for layer in layers for b in layer.buffers())]


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name: str) -> None:
    kind, layers, shape = CASES[name]
    layers = tuple(copy.deepcopy(layer).double() for layer in layers)
    twins = copy.deepcopy(layers)
    made = kind.from_torch(*layers)
    assert type(made) is kind
    assert made.training == layers[-1].training or len(layers) == 1
    theirs = [p for layer in layers for p in layer.parameters()]
    assert all(a is b for a, b in zip(made.parameters(), theirs, strict=True))
    x = torch.randn(shape, dtype=torch.float64)
    expected = run(twins, x)
    for a, b in zip(run((made,), x), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    back = made.to_torch()
    back = (back,) if isinstance(back, nn.Module) else back
    assert [type(m) for m in back] == [type(m) for m in layers]
    assert [repr(m) for m in back] == [repr(m) for m in layers]
    assert [set(vars(m)) for m in back] == [set(vars(m)) for m in layers]
    assert [m.training for m in back] == [m.training for m in layers]
    assert all(
        a is b
        for a, b in zip([p for m in back for p in m.parameters()], theirs, strict=True)
    )  # fmt: skip
    # What is done to one module later does not show in another.
    made.register_forward_hook(lambda *_: None)
    assert not layers[0]._forward_hooks
    with pytest.raises(TypeError, match="without hooks"):
        made.to_torch()


@pytest.mark.parametrize("name", ["BCELoss", "BCEWithLogitsLoss"])
def test_losses_there_and_back(name: str) -> None:
    weight = torch.rand(4)
    loss = getattr(nn, name)(weight, reduction="sum")
    made = getattr(ours, name).from_torch(loss)
    p, t = torch.rand(3, 4), torch.rand(3, 4)
    torch.testing.assert_close(made(p, t), loss(p, t))
    back = made.to_torch()
    assert type(back) is type(loss)
    assert back.reduction == "sum"
    assert back.weight is weight
    smoothing = getattr(ours, name)(label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"expected 0, .* got 0.1"):
        smoothing.to_torch()


def test_what_cannot_be_said_the_other_way_is_refused() -> None:
    class Mine(nn.Linear):
        pass

    with pytest.raises(TypeError, match=r"layer: expected nn.Linear, got Mine"):
        ours.Linear.from_torch(Mine(2, 2))
    with pytest.raises(TypeError, match="without hooks"):
        ours.Linear.from_torch(nn.utils.spectral_norm(nn.Linear(2, 2)))
    with pytest.raises(TypeError, match=r"dropout: expected nn.Dropout, got Dropout2d"):
        ours.LeakyReLUDropout.from_torch(nn.LeakyReLU(), nn.Dropout2d())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"norm: expected nn.BatchNorm1d, got BatchNorm2d"):
        ours.BatchNormAct1d.from_torch(nn.BatchNorm2d(3))
    with pytest.raises(TypeError, match=r"activation: expected nn.ReLU, .* got ELU"):
        ours.BatchNormAct2d.from_torch(nn.BatchNorm2d(3), nn.ELU())
    with pytest.raises(ValueError, match="negative_slope"):
        ours.ConvTransposeAct2d.from_torch(nn.ConvTranspose2d(2, 2, 2), nn.LeakyReLU(-0.1))
    with pytest.raises(ValueError, match="got 2 and None"):
        ours.BatchNormAct2d(3, groups=2).to_torch()
    with pytest.raises(ValueError, match="got track_running_stats=True"):
        ours.InstanceNormAct2d.from_torch(nn.InstanceNorm2d(3, track_running_stats=True))


def test_initialisers_that_go_by_class_names_find_them() -> None:
    def weights_init(m: Any) -> None:
        name = m.__class__.__name__
        if name.find("Conv") != -1 or name.find("Linear") != -1:
            m.weight.data.fill_(2.0)
        elif name.find("BatchNorm") != -1:
            m.weight.data.fill_(3.0)
            m.bias.data.fill_(4.0)

    for kind, layers, _ in CASES.values():
        if isinstance(layers[0], nn.BatchNorm2d):
            continue  # without parameters such initialisers fail on torch's own as well
        made = kind.from_torch(*copy.deepcopy(layers))
        expected = nn.Sequential(*copy.deepcopy(layers))
        for network in (made, expected):
            network.apply(weights_init)
        for a, b in zip(made.parameters(), expected.parameters(), strict=True):
            assert torch.equal(a, b)
