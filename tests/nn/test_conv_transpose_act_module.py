from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gankit.nn import ConvTransposeAct2d

ACTIVATIONS = {
    "none": nn.Identity(),
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.3),
    "tanh": nn.Tanh(),
}


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("out_channels", [1, 8])
@pytest.mark.parametrize("bias", [False, True])
def test_is_the_pair_of_modules(activation: str, out_channels: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.ConvTranspose2d(6, out_channels, 4, 2, 1, bias=bias)
    torch.manual_seed(0)
    ours = ConvTransposeAct2d(
        6, out_channels, 4, 2, 1, bias=bias, activation=activation, negative_slope=0.3
    )
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in plain.state_dict().items())
    assert list(plain.state_dict()) == list(ours.state_dict())
    x = torch.randn(3, 6, 5, 7)
    for size in (None, [11, 15]):
        expected = ACTIVATIONS[activation](plain(x, size))
        torch.testing.assert_close(ours(x, size), expected, rtol=1e-5, atol=1e-6)
    ours.load_state_dict(plain.state_dict(), strict=True)
    twin = copy.deepcopy(ours)
    ours(x).square().sum().backward()
    ACTIVATIONS[activation](plain(x)).square().sum().backward()
    for found, wanted in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-4, atol=1e-4)
    assert torch.equal(twin(x), ours(x))


def test_settings_are_checked_and_shown() -> None:
    with pytest.raises(ValueError, match=r"activation: expected one of .* got 'gelu'"):
        ConvTransposeAct2d(3, 1, 4, activation="gelu")
    with pytest.raises(ValueError, match=r"negative_slope: .* got -1"):
        ConvTransposeAct2d(3, 1, 4, negative_slope=-1.0)
    shown = repr(ConvTransposeAct2d(3, 1, 4, activation="leaky_relu"))
    assert "activation='leaky_relu', negative_slope=0.2" in shown
