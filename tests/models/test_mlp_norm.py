"""Batch norm in the fully connected networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.models.mlp import Discriminator, Generator
from gankit.training import GANStep, gan_adam
from gankit.training.pairing import examine

SHAPE = (1, 2, 3)


def plain_generator() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2)),
        *(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.LeakyReLU(0.2)),
        *(nn.Linear(5, 6), nn.Tanh()),
    )


def plain_discriminator() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Dropout(0.0)),
        *(nn.Linear(8, 1), nn.Identity()),
    )


@pytest.mark.parametrize("training", [True, False])
def test_the_networks_are_those_of_plain_layers(training: bool) -> None:
    torch.manual_seed(0)
    G = Generator(4, SHAPE, hidden=(8, 5), norm="batch")
    D = Discriminator(SHAPE, hidden=(8,), dropout=0.0, output="logit", norm="batch")
    for ours, plain, x in (
        (G, plain_generator(), torch.randn(9, 4)),
        (D, plain_discriminator(), torch.randn(9, 6)),
    ):
        plain.load_state_dict(ours.main.state_dict(), strict=True)
        ours.train(training)
        plain.train(training)
        expected: Tensor = plain(x)
        torch.testing.assert_close(ours(x).flatten(1), expected)
        for (name, a), b in zip(ours.main.named_buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(a, b, msg=name)


def test_one_pass_of_d_takes_each_half_by_itself() -> None:
    torch.manual_seed(0)
    G = Generator(4, SHAPE, hidden=(8,), norm="batch")
    D = Discriminator(SHAPE, hidden=(8,), dropout=0.0, output="logit", norm="batch")
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()))
    assert step.paired
    real, fake = torch.randn(6, *SHAPE), 3 + torch.randn(6, *SHAPE)
    with examine(D).halves():
        both = D(torch.cat([real, fake]))
    torch.testing.assert_close(both, torch.cat([D(real), D(fake)]))
    assert not torch.allclose(both, D(torch.cat([real, fake])), atol=1e-3)


def test_an_unknown_norm_is_named() -> None:
    with pytest.raises(ConfigError, match="norm must be 'none' or 'batch', got 'layer'"):
        Generator(norm="layer")
    with pytest.raises(ConfigError, match="norm must be 'none' or 'batch', got 'layer'"):
        Discriminator(norm="layer")
