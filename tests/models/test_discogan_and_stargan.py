"""The networks of DiscoGAN and StarGAN: layers, sizes, what other parts take them for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gankit.errors import ConfigError, DataError
from gankit.losses import gradient_penalty
from gankit.losses.chain import objection
from gankit.models import discogan, stargan
from gankit.nn import ConvTransposeAct2d, InstanceNormAct2d
from gankit.plain import plain_copy
from gankit.training.pairing import ends_in_sigmoid, examine, last_layer


def test_discogan_has_the_layers_of_the_authors_code() -> None:
    with torch.device("meta"):
        Gs = [discogan.Generator(3, 3, 64, code=code) for code in (None, 100)]
        D = discogan.Discriminator(3, 64)
    for G, down, up in (
        (Gs[0], [64, 128, 256, 512], [256, 128, 64, 3]),
        (Gs[1], [64, 128, 256, 512, 100], [512, 256, 128, 64, 3]),
    ):
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        convs = [[m for m in G.main if isinstance(m, kind)] for kind in kinds]
        assert [m.out_channels for m in convs[0]] == down
        assert [m.out_channels for m in convs[1]] == up
        assert all(m.kernel_size == (4, 4) and m.bias is None for m in [*convs[0], *convs[1]])
        assert sum(p.ndim == 1 for p in G.parameters()) == 2 * (len(down) + len(up) - 2)
    assert [m.out_channels for m in D.main if isinstance(m, nn.Conv2d)] == [64, 128, 256, 512, 1]
    assert sum(p.numel() for p in D.parameters()) == 2_765_568
    assert sum(p.numel() for p in Gs[0].parameters()) == 5_513_856


@pytest.mark.parametrize("size", [16, 20, 28, 64])
def test_discogan_takes_images_of_its_size(size: int) -> None:
    images = torch.randn(3, 1, size, size)
    for code in (None, 3):
        G = discogan.Generator(1, 3, size, width=2, code=code)
        made = G(images)
        assert made.shape == (3, 3, size, size)
        assert made.abs().max() <= 1
        made.sum().backward()
        assert all(p.grad is not None for p in G.parameters())
        assert isinstance(last_layer(G), ConvTransposeAct2d)
        larger = torch.randn(1, 1, 2 * size, 3 * size)
        if code is None:
            assert G(larger).shape == (1, 3, 2 * size, 3 * size)
        else:
            with pytest.raises(DataError, match=rf"shape \[N, 1, {size}, {size}\], got"):
                G(larger)
    D = discogan.Discriminator(1, size, width=2)
    scores, features = D(images)
    assert scores.shape == (3, 1)
    assert not ends_in_sigmoid(D)
    levels = sum(isinstance(m, nn.Conv2d) for m in D.main) - 1
    assert [f.shape[2] for f in features] == [size >> level for level in range(2, levels + 1)]


def test_features_are_those_behind_the_activations() -> None:
    torch.manual_seed(0)
    D = discogan.Discriminator(3, 32, width=2)
    with torch.no_grad():
        _, features = D(torch.randn(4, 3, 32, 32))
    assert len(features) == 2
    for f in features:  # of a batch norm and LeakyReLU of slope 0.2
        raw = torch.where(f > 0, f, f / 0.2)
        assert raw.mean((0, 2, 3)).abs().max() < 1e-4
        assert (raw.var((0, 2, 3), unbiased=False) - 1).abs().max() < 0.1


def test_stargan_has_the_layers_of_the_authors_code() -> None:
    with torch.device("meta"):
        G, D = stargan.Generator(5), stargan.Discriminator(5)
    norms = sum(isinstance(m, InstanceNormAct2d) for m in G.modules())
    assert norms == 5 + 2 * 6
    convs = [m for m in D.main if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [64, 128, 256, 512, 1024, 2048]
    assert D.classes.kernel_size == (2, 2)
    # As many as the authors' networks of five attributes have.
    assert sum(p.numel() for p in G.parameters()) == 8_430_528
    assert sum(p.numel() for p in D.parameters()) == 44_762_048


def test_stargan_takes_every_multiple_of_four_and_looks_at_the_target() -> None:
    torch.manual_seed(0)
    G = stargan.Generator(3, 2, width=4, blocks=1)
    for shape in ((8, 8), (20, 36)):
        images = torch.randn(2, 2, *shape)
        one, two = (G(images, torch.eye(3)[[k, k]]) for k in (0, 1))
        assert one.shape == images.shape
        assert one.abs().max() <= 1
        assert (one - two).abs().max() > 1e-3
    one.sum().backward()
    assert all(p.grad is not None for p in G.parameters())
    assert isinstance(last_layer(plain_copy(G).main), nn.Tanh)
    flat = stargan.Generator(3, 2, width=4, blocks=1, levels=0, norm="batch")
    assert flat(torch.randn(2, 2, 5, 7), torch.eye(3)[:2]).shape == (2, 2, 5, 7)
    with pytest.raises(DataError, match=r"target must have shape \[N, 3\], got \[2, 4\]"):
        G(images, torch.zeros(2, 4))
    with pytest.raises(DataError, match=r"multiples of 4, got \[1, 2, 9, 8\]"):
        G(torch.zeros(1, 2, 9, 8), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("shape", "layers"),
    [((3, 128, 128), 6), ((3, 256, 256), 6), ((1, 32, 32), 4), ((2, 20, 33), 3), ((3, 3, 3), 1)],
)
def test_the_heads_of_stargan_fit_the_image(shape: tuple[int, ...], layers: int) -> None:
    D = stargan.Discriminator(4, shape, width=1)
    assert sum(isinstance(m, nn.Conv2d) for m in D.main) == layers
    scores, logits = D(torch.randn(2, *shape))
    assert scores.shape == (2, 1, *(side >> layers for side in shape[1:]))
    assert logits.shape == (2, 4)


def test_the_critic_of_stargan_has_an_analytic_penalty() -> None:
    torch.manual_seed(0)
    one = stargan.Discriminator(2, (3, 16, 16), width=2).double()
    assert examine(one).reason_now() == ""
    assert objection(one.critic()) == ""
    two = copy.deepcopy(one)
    images = torch.randn(2, 3, 3, 16, 16, dtype=torch.float64)
    for D, path in ((one, "analytic"), (two, "autograd")):
        seed = torch.tensor([1])
        gradient_penalty(D.critic(), *images, path=path, select="mean", seed=seed).backward()
    for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        if name != "classes.weight" and not name.endswith("bias"):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: discogan.Generator(image_size=30, levels=2), "got levels 2 and image_size 30"),
        (lambda: discogan.Discriminator(image_size=7), "got levels 0 and image_size 7"),
        (lambda: discogan.Generator(code=0), "code must be at least 1, got 0"),
        (lambda: stargan.Generator(0), "n_domains must be an integer from 1 to 1,000, got 0"),
        (
            lambda: stargan.Generator(2, levels=9),
            "levels must be an integer from 0 to 8, got 9",
        ),
        (
            lambda: stargan.Generator(2, blocks=-1),
            "blocks must be an integer from 0 to 100, got -1",
        ),
        (
            lambda: stargan.Discriminator(2, (3, 32, 40), layers=6),
            "layers must be an integer from 1 to 5, as often as images of 40x32 can be halved",
        ),
        (lambda: stargan.Discriminator(2, (3, 1, 9)), "from 1 to 0, as often as images of 9x1"),
    ],
)
def test_wrong_settings_are_named(make, words) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
