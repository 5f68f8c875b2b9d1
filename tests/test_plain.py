"""Networks of torch's layers that compute the same."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from gankit import nn as gnn
from gankit.models import conditional_mlp, dcgan, mlp, patch, resnet, unet
from gankit.plain import plain_copy


def trained_norms(module: nn.Module) -> nn.Module:
    """Statistics, scales and shifts as after training, not the identity of a fresh norm."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            assert child.running_mean is not None
            assert child.running_var is not None
            nn.init.normal_(child.running_mean)
            nn.init.uniform_(child.running_var, 0.3, 2.0)
            if child.weight is not None:
                nn.init.normal_(child.weight, 1.0, 0.3)
                nn.init.normal_(child.bias)
    return module


def sequential() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(7, 12),
        nn.Identity(),
        nn.BatchNorm1d(12, affine=False),
        gnn.LeakyReLUDropout(0.2, 0.5),
        gnn.Linear(12, 2 * 3 * 3),
        nn.Dropout(0.3),
        nn.Unflatten(1, (2, 3, 3)),
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()),
        gnn.ConvTransposeBNAct2d(3, 4, 4, 2, 1, activation="leaky_relu", negative_slope=0.3),
        gnn.ConvTransposeAct2d(4, 1, 4, 2, 1, activation="tanh"),
    )


@pytest.mark.parametrize(
    ("made", "inputs"),
    [
        (lambda: mlp.Generator(hidden=(16, 8)), (torch.randn(5, 100),)),
        (lambda: dcgan.Generator(9, width=4), (torch.randn(5, 9),)),
        (lambda: dcgan.Generator(9, (3, 32, 32), width=4), (torch.randn(5, 9),)),
        (lambda: dcgan.Discriminator(width=4), (torch.randn(5, 1, 28, 28),)),
        (lambda: conditional_mlp.Generator(4), (torch.randn(5, 100), torch.arange(5) % 4)),
        (lambda: unet.UNetGenerator(3, 2, 16, 4), (torch.randn(2, 3, 32, 16),)),
        (lambda: resnet.ResNetGenerator(width=4, blocks=1), (torch.randn(2, 3, 12, 8),)),
        (
            lambda: resnet.ResNetGenerator(width=4, blocks=1, norm="batch", dropout=0.5),
            (torch.randn(2, 3, 12, 8),),
        ),
        (lambda: patch.PatchDiscriminator(width=4), (torch.randn(2, 3, 24, 32),)),
        (sequential, (torch.randn(5, 7),)),
    ],
    ids=[
        *("mlp", "dcgan", "dcgan-32", "discriminator", "conditional", "unet", "resnet"),
        *("resnet, batch norm", "patch", "sequential"),
    ],
)
@torch.no_grad()
def test_it_computes_the_same_and_holds_torchs_layers_alone(made, inputs) -> None:  # type: ignore
    torch.manual_seed(0)
    network = trained_norms(made())
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = plain_copy(network)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    network.eval()
    torch.testing.assert_close(plain(*inputs), network(*inputs), rtol=0, atol=1e-5)
    kinds = {type(child) for child in plain.modules()}
    assert not any(kind.__module__.startswith("gankit.nn") for kind in kinds)
    assert not any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)
    assert not any(kind in (nn.Dropout, nn.Dropout2d) for kind in kinds)


@torch.no_grad()
def test_what_cannot_be_folded_stays() -> None:
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    hooked = nn.Linear(6, 6)
    hooked.register_forward_hook(lambda module, inputs, output: output + 1)
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6))
    layers = [
        *(nn.BatchNorm1d(6), shared, nn.BatchNorm1d(6), nn.ReLU(), shared),
        *(hooked, nn.BatchNorm1d(6), normed, nn.BatchNorm1d(6)),
        *(nn.Linear(6, 6), nn.BatchNorm1d(6, track_running_stats=False)),
    ]
    network = nn.Sequential(OrderedDict((f"l{n}", layer) for n, layer in enumerate(layers)))
    for norm in (layers[0], layers[2], layers[6], layers[8]):
        trained_norms(norm)
    network.eval()
    x = torch.randn(8, 6)
    plain = plain_copy(network)
    torch.testing.assert_close(plain(x), network(x), rtol=0, atol=1e-5)
    norms = [c for c in plain.modules() if isinstance(c, nn.BatchNorm1d)]
    assert len(norms) == 5


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = gnn.Linear(6, 6)
        self.norm = gnn.BatchNormAct1d(6, activation="leaky_relu")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.first(x)) + self.first.bias


@torch.no_grad()
def test_layers_that_code_of_ones_own_calls_keep_their_names() -> None:
    torch.manual_seed(0)
    network = trained_norms(Residual()).eval()
    x = torch.randn(8, 6)
    plain = plain_copy(network)
    torch.testing.assert_close(plain(x), network(x), rtol=0, atol=1e-5)
    assert type(plain.first) is nn.Linear
