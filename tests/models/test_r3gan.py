"""The networks of R3GAN: sizes, how they begin, and derivatives twice."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gankit.errors import ConfigError, DataError
from gankit.models import r3gan
from gankit.training.pairing import examine

SIZES = [(3, 8, 8), (1, 28, 28), (3, 32, 32), (4, 32, 48), (2, 4, 4), (1, 9, 12)]


@pytest.mark.parametrize("shape", SIZES)
def test_any_size_that_halves(shape: tuple[int, int, int]) -> None:
    G = r3gan.Generator(7, shape, width=16, blocks=1)
    D = r3gan.Discriminator(shape, width=16, blocks=1)
    images = G(torch.randn(3, 7))
    assert images.shape == (3, *shape)
    assert D(images).shape == (3, 1)
    with pytest.raises(DataError, match="images must have shape"):
        D(images[..., :-1])


def test_a_deep_network_begins_as_a_shallow_one() -> None:
    """The last layer of each block is 0, so blocks pass on what they are given."""
    torch.manual_seed(0)
    G = r3gan.Generator(8, (3, 16, 16), width=[16, 32, 32], blocks=3)
    x = torch.randn(2, 32, 4, 4)
    blocks = [m for m in G.modules() if type(m).__name__ == "_Block"]
    assert len(blocks) == 9
    assert torch.equal(blocks[0](x), x)
    convolutions = [m for m in blocks[0].modules() if isinstance(m, nn.Conv2d)]
    assert [m.groups for m in convolutions] == [1, 4, 1]
    # sqrt(2 / 1.04) of LeakyReLU, and 9 blocks to the power of -1/4.
    gain = (2 / 1.04) ** 0.5 * 9**-0.25
    stds = [m.weight.detach().std().item() for m in convolutions]
    assert stds[:2] == pytest.approx([gain / 32**0.5, gain / (16 * 9) ** 0.5], rel=0.05)
    assert stds[2] == 0.0


def test_resampling_keeps_a_constant_image() -> None:
    up, down = r3gan._Up(2, 2), r3gan._Down(2, 2)
    x = torch.full((1, 2, 6, 6), 0.7)
    # At the edges the filter sees zeros beside the image.
    assert torch.allclose(up(x)[..., :-1, :-1], torch.tensor(0.7))
    assert torch.allclose(down(x)[..., 1:, 1:], torch.tensor(0.7))


def test_classes_reach_both_networks() -> None:
    torch.manual_seed(0)
    G = r3gan.Generator(8, (1, 8, 8), width=16, blocks=1, n_classes=3)
    D = r3gan.Discriminator((1, 8, 8), width=16, blocks=1, n_classes=3)
    z = torch.randn(1, 8).expand(3, 8)
    images = G(z, torch.arange(3))
    assert not torch.allclose(images[0], images[1])
    scores = D(images[:1].expand(3, -1, -1, -1), torch.arange(3))
    assert scores.unique().numel() == 3
    for network, x in ((G, z), (D, images)):
        with pytest.raises(ConfigError, match="labels: expected int64"):
            network(x)


def test_each_sample_stands_alone_and_has_second_derivatives() -> None:
    torch.manual_seed(0)
    D = r3gan.Discriminator((2, 8, 8), width=16, blocks=1).double()
    for p in D.parameters():
        nn.init.normal_(p, 0.0, 0.1)
    assert examine(D).reason == ""
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(D, x, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (3, 34, 34)}, "sides that halve"),
        ({"width": [16, 16]}, "width must be one number or 4"),
        ({"width": 12}, "group_width must divide expansion . width, 24, got 16"),
        ({"blocks": 0}, "blocks must be at least 1"),
        ({"n_classes": 0}, "n_classes must be a positive integer"),
    ],
)
def test_settings_that_are_none(settings: dict[str, object], message: str) -> None:
    for kind in (r3gan.Generator, r3gan.Discriminator):
        with pytest.raises(ConfigError, match=message):
            kind(**{"image_shape": (3, 32, 32), **settings})
