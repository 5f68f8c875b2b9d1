"""The encoder, and the discriminator that is an autoencoder."""

from __future__ import annotations

import pytest
import torch

from gankit.errors import ConfigError, DataError
from gankit.models.autoencoder import Discriminator, Encoder

SHAPE = (1, 3, 4)


def test_codes_have_one_or_two_numbers_per_dimension() -> None:
    x = torch.randn(5, *SHAPE)
    assert Encoder(3, SHAPE, hidden=(8, 6))(x).shape == (5, 3)
    assert Encoder(3, SHAPE, hidden=(8,), variational=True)(x).shape == (5, 6)
    assert isinstance(Encoder(3, SHAPE, hidden=(8,)).main[-1], torch.nn.Linear)


def test_a_code_may_be_negative_and_large() -> None:
    torch.manual_seed(0)
    codes = Encoder(4, SHAPE, hidden=(8,))(100 * torch.randn(50, *SHAPE))
    assert codes.min() < -2
    assert codes.max() > 2


@pytest.mark.parametrize("error", ["squared", "absolute"])
def test_the_energy_is_the_error_of_what_comes_back(error: str) -> None:
    torch.manual_seed(0)
    D = Discriminator(SHAPE, hidden=(8, 6), code=2, error=error).double()
    x = torch.rand(5, *SHAPE, dtype=torch.float64) * 2 - 1
    gap = D.reconstruct(x) - x
    assert gap.shape == x.shape
    errors = gap**2 if error == "squared" else gap.abs()
    torch.testing.assert_close(D(x), errors.mean(dim=(1, 2, 3)).unsqueeze(1))
    widths = [layer.out_features for layer in D.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [8, 6, 2, 6, 8, 12]


def test_energy_falls_where_the_autoencoder_learns() -> None:
    torch.manual_seed(0)
    D = Discriminator(SHAPE, hidden=(16,), code=2)
    known = torch.rand(4, *SHAPE) * 1.6 - 0.8
    other = torch.rand(4, *SHAPE) * 1.6 - 0.8
    optimizer = torch.optim.Adam(D.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        D(known).mean().backward()
        optimizer.step()
    assert D(known).mean() < 0.2 * D(other).mean()


def test_wrong_settings_and_shapes_are_named() -> None:
    with pytest.raises(ConfigError, match="error must be 'squared' or 'absolute', got 'cubed'"):
        Discriminator(SHAPE, error="cubed")
    with pytest.raises(ConfigError, match="z_dim must be at least 1, got 0"):
        Encoder(0, SHAPE)
    for network in (Discriminator(SHAPE), Encoder(2, SHAPE)):
        with pytest.raises(
            DataError, match=r"images must have shape \[N, 1, 3, 4\], got \[2, 12\]"
        ):
            network(torch.zeros(2, 12))
