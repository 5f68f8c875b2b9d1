"""The networks of SAGAN and BigGAN: sizes, attention, what each part of the input reaches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.models import biggan, biggan_deep, sagan
from gankit.models.residual import DownBlock, SelfAttention2d, UpBlock
from gankit.training.pairing import examine

GENERATORS: dict[str, Callable[..., nn.Module]] = {
    "sagan": partial(sagan.Generator, z_dim=12, width=2),
    "biggan": partial(biggan.Generator, z_dim=12, width=1, embedding=3),
    "biggan-deep": partial(biggan_deep.Generator, z_dim=12, width=1, embedding=3),
}
DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "sagan": partial(sagan.Discriminator, width=2),
    "biggan": partial(biggan.Discriminator, width=1),
    "biggan-deep": partial(biggan_deep.Discriminator, width=1),
}
LABELS = torch.tensor([0, 2, 1])


def wake(network: nn.Module) -> None:
    """Attention that does something."""
    for module in network.modules():
        if isinstance(module, SelfAttention2d):
            nn.init.constant_(module.gamma, 0.5)


@pytest.mark.parametrize("family", GENERATORS)
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64)])
def test_noise_becomes_images_and_images_scores(family: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    z_dim = 15 if shape[1] == 64 else 12
    G = GENERATORS[family](3, z_dim=z_dim, image_shape=shape)
    D = DISCRIMINATORS[family](3, image_shape=shape)
    z = torch.randn(3, z_dim)
    images = G(z, LABELS)
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    assert images.std() > 0.05
    wake(D)
    scores = D(images, LABELS)
    assert scores.shape == (3, 1)
    # One pass over real and generated images is two passes.
    assert examine(D).reason == ""
    torch.testing.assert_close(D(images[1:2], LABELS[1:2]), scores[1:2])
    # The class counts: of the same image, of the same noise once training has moved the tables.
    assert not torch.allclose(D(images, LABELS.roll(1)), scores)
    for module in G.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
    assert (G(z, LABELS) - G(z, LABELS.roll(1))).abs().amax((1, 2, 3)).min() > 1e-3
    with pytest.raises(DataError, match="images must have shape"):
        D(images[:, :, :-1], LABELS)
    with pytest.raises(DataError, match="z must have shape"):
        G(z[:, 1:], LABELS)


def test_the_papers_numbers_of_parameters() -> None:
    def count(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    with torch.device("meta"):
        # Table 1: 158.3 million.
        G, D = biggan.Generator(1000), biggan.Discriminator(1000)
        assert (count(G), count(G) + count(D)) == (70_433_988, 158_416_358)
        G, D = biggan_deep.Generator(1000), biggan_deep.Discriminator(1000)
        assert count(D) == 34_590_210  # 34.6 million
        assert count(G) == 50_244_484


def test_attention_is_a_sum_over_pixels() -> None:
    torch.manual_seed(1)
    layer = SelfAttention2d(16).double()
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), x)
    wake(layer)

    def pixels(made: Tensor) -> Tensor:
        return made.flatten(2).transpose(1, 2)

    q = pixels(layer.query(x))
    k, v = (pixels(F.max_pool2d(part(x), 2)) for part in (layer.key, layer.value))
    assert (q.shape, k.shape, v.shape) == ((2, 24, 2), (2, 6, 2), (2, 6, 8))
    seen = (q @ k.transpose(1, 2)).softmax(2) @ v
    expected = x + 0.5 * layer.out(seen.transpose(1, 2).reshape(2, 8, 4, 6))
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
    # With the second derivative, for penalties on D.
    found = []
    for made in (layer(x), expected):
        (slope,) = torch.autograd.grad(made.pow(3).sum(), x, create_graph=True)
        (again,) = torch.autograd.grad(slope.square().sum(), x, retain_graph=True)
        found.append(again)
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("attention", [None, 16])
def test_attention_alone_compares_opposite_corners(attention: int | None) -> None:
    """Without it the score of sagan-toy's D is a sum of what each corner gives."""
    torch.manual_seed(5)
    D = sagan.Discriminator(1, (1, 32, 32), width=8, bottom=16, attention=attention).double()
    wake(D)
    corners = torch.zeros(2, 1, 32, 32, dtype=torch.float64)
    corners[0, :, :9, :9], corners[1, :, -9:, -9:] = torch.randn(2, 1, 9, 9).double()
    both = torch.stack([corners.sum(0), torch.zeros_like(corners[0])])
    scores = D(torch.cat([both, corners]), torch.zeros(4, dtype=torch.int64))[:, 0]
    together = float((scores[0] + scores[1] - scores[2] - scores[3]).detach().abs())
    assert together < 1e-10 if attention is None else together > 1e-4


def test_a_block_is_that_of_the_enlarged_image() -> None:
    torch.manual_seed(2)
    G = GENERATORS["biggan"](3, image_shape=(1, 32, 32)).double()
    block = next(m for m in G.modules() if isinstance(m, UpBlock))
    x = torch.randn(3, 4, 4, 4, dtype=torch.float64)
    condition = torch.randn(3, 6, dtype=torch.float64)

    def norm(layer: Any, x: Tensor) -> Tensor:
        plain = F.batch_norm(x, None, None, training=True)
        scale, shift = 1 + layer.scale(condition), layer.shift(condition)
        return F.relu(scale[:, :, None, None] * plain + shift[:, :, None, None])

    def large(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    y = block.conv2(norm(block.norm2, block.conv1(large(norm(block.norm1, x)))))
    expected = y + block.shortcut(large(x))
    torch.testing.assert_close(block(x, condition), expected, rtol=1e-10, atol=1e-10)
    down = DownBlock(4, 6).double()
    smaller = down.conv2(F.relu(down.conv1(F.relu(x)))) + down.shortcut(x)
    torch.testing.assert_close(down(x), F.avg_pool2d(smaller, 2), rtol=1e-10, atol=1e-10)


def test_each_chunk_of_z_reaches_its_block_and_what_follows() -> None:
    torch.manual_seed(3)
    G = GENERATORS["biggan"](3, image_shape=(1, 32, 32)).eval()
    outputs: list[list[Tensor]] = []
    for layer in G.main.layers:
        layer.register_forward_hook(lambda _m, _i, out: outputs[-1].append(out))
    z = torch.randn(3, 12)
    changed = z.clone()
    changed[:, 6:9] += 1  # the third of four chunks
    for each in (z, changed):
        outputs.append([])
        G(each, LABELS)
    same = [torch.equal(a, b) for a, b in zip(*outputs, strict=True)]
    assert same == [True, False, False]
    # All of BigGAN-deep's z reaches its first block.
    G = GENERATORS["biggan-deep"](3, image_shape=(1, 32, 32)).eval()
    outputs.clear()
    G.main.layers[0].register_forward_hook(lambda _m, _i, out: outputs[-1].append(out))
    for each in (z, changed):
        outputs.append([])
        G(each, LABELS)
    assert not torch.equal(outputs[0][0], outputs[1][0])


@pytest.mark.parametrize("family", ["biggan", "biggan-deep"])
def test_the_first_weights_are_orthogonal(family: str) -> None:
    torch.manual_seed(4)
    for network in (GENERATORS[family](3, image_shape=(1, 32, 32)), DISCRIMINATORS[family](3)):
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear, nn.Embedding)):
                singular = torch.linalg.svdvals(layer.weight.detach().flatten(1))
                torch.testing.assert_close(singular, torch.ones_like(singular))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (partial(biggan.Generator, 3, 12, (3, 28, 28)), "sides of 32, 64, 128, 256, 512, got"),
        (partial(biggan_deep.Discriminator, 3, (3, 16, 16)), "sides of 32, 64, 128, 256, 512, got"),
        (partial(biggan.Discriminator, 3, (3, 32, 64)), r"must be \(C, S, S\), got \(3, 32, 64\)"),
        (partial(biggan.Generator, 3, 100), "z_dim must be a multiple of 6, a chunk for the first"),
        (partial(biggan.Generator, 3, attention=48), "attention must be None or the size of a fe"),
        (partial(biggan.Discriminator, 3, attention=128), "4, 8, 16, 32, 64, got 128"),
        (partial(sagan.Discriminator, 3, attention="all"), "attention must be 'auto', None or a s"),
        (partial(sagan.Generator, 3, 8, (3, 24, 24)), r"sides of bottom \(4\) times 2, 4, 8 or"),
        (partial(sagan.Generator, 3, 8, (3, 4, 4)), r"sides of bottom \(4\) times 2, 4, 8 or"),
        (partial(sagan.Generator, 0), "n_classes must be at least 1, got 0"),
        (
            partial(sagan.Generator, 3, 8, (1, 8, 8), 1, init="keras"),
            "init must be 'pytorch', 'orthogonal', 'xavier",
        ),
        (partial(biggan.Generator, 3, width=0), "width must be at least 1, got 0"),
        (partial(biggan.Generator, 3, embedding=0), "embedding must be at least 1, got 0"),
    ],
)
def test_a_bad_setting_is_named(make: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
