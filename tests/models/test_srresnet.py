"""SRResNet and SRGAN's discriminator: sizes, what a pixel depends on, settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gankit
from gankit.errors import ConfigError, DataError
from gankit.models.srresnet import SRResNet, VGGDiscriminator
from gankit.training.modules import take_channels_last


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_become_larger_by_the_scale(scale: int, channels: int) -> None:
    torch.manual_seed(0)
    G = SRResNet(channels, scale, width=4, blocks=1)
    for height, width in ((1, 1), (5, 8)):
        images = G(torch.randn(2, channels, height, width))
        assert images.shape == (2, channels, scale * height, scale * width)
    images.sum().backward()
    assert all(p.grad is not None for p in G.parameters())


def test_the_networks_of_the_paper() -> None:
    with torch.device("meta"):
        G, D = SRResNet(), VGGDiscriminator()
    convolutions = [m for m in G.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * 16 + 1 + 2 + 1
    assert {m.kernel_size for m in (convolutions[0], convolutions[-1])} == {(9, 9)}
    maps = [(m.out_channels, m.stride[0]) for m in D.modules() if isinstance(m, torch.nn.Conv2d)]
    expected = [(width, stride) for width in (64, 128, 256, 512) for stride in (1, 2)]
    assert maps == expected
    assert D.main[-3].in_features == 512 * 6 * 6


@pytest.mark.parametrize(("scale", "blocks"), [(2, 0), (4, 0), (2, 2), (4, 1)])
def test_context_is_how_far_a_pixel_sees(scale: int, blocks: int) -> None:
    torch.manual_seed(0)
    G = SRResNet(1, scale, 8, blocks).double().eval()
    side = 2 * G.context + 3
    images = torch.randn(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    middle, seen = side // 2, []
    for place in range(scale):
        images.grad = None
        G(images)[0, 0, scale * middle + place, scale * middle].backward()
        assert images.grad is not None
        rows = (images.grad[0, 0].abs().sum(1) > 0).nonzero()
        seen += [middle - int(rows.min()), int(rows.max()) - middle]
    assert max(seen) == G.context


def test_zero_residual_blocks_begin_without_effect() -> None:
    G = SRResNet(1, 2, 4, 2, init="zero-residual")
    assert not G.body(torch.randn(2, 4, 6, 6)).eq(0).logical_not().any()
    G(torch.randn(2, 1, 6, 6)).square().sum().backward()
    last = G.body[-1]
    assert last.weight.grad is not None
    assert bool(last.weight.grad.any())


def test_a_discriminator_is_of_one_size() -> None:
    D = VGGDiscriminator((3, 16, 32), width=2, stages=3, hidden=4)
    assert D(torch.randn(2, 3, 16, 32)).shape == (2, 1)
    with pytest.raises(DataError, match=r"images must have shape \[N, 3, 16, 32\]"):
        D(torch.randn(2, 3, 16, 16))


def test_no_layer_asks_for_a_memory_format() -> None:
    torch.manual_seed(0)
    nets = SRResNet(3, 2, 4, 1), VGGDiscriminator((3, 16, 16), 4, 2, 4)
    images = torch.randn(2, 3, 8, 8)
    expected = nets[1](nets[0](images))
    assert take_channels_last(True, "fp32", *nets)
    made = nets[1](nets[0](images.contiguous(memory_format=torch.channels_last)))
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


def test_a_plain_copy_computes_the_same() -> None:
    torch.manual_seed(0)
    G = SRResNet(3, 2, 4, 2).double()
    for _ in range(3):
        G(torch.randn(2, 3, 8, 8, dtype=torch.float64))
    images = torch.randn(1, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(gankit.plain_copy(G)(images), G.eval()(images))


@pytest.mark.parametrize(
    ("make", "setting", "words"),
    [
        (SRResNet, {"scale": 3}, "scale must be 2 or 4, got 3"),
        (SRResNet, {"blocks": -1}, "blocks must be an integer from 0 to 100, got -1"),
        (SRResNet, {"width": 0}, "width must be at least 1, got 0"),
        (SRResNet, {"init": "normal"}, "init must be 'pytorch', 'zero-residual' or a function"),
        (VGGDiscriminator, {"stages": 9}, "stages must be an integer from 1 to 8, got 9"),
        (
            VGGDiscriminator,
            {"image_shape": (3, 40, 48)},
            r"H and W multiples of 16, which stages=4 halve to 1 or more, got \(3, 40, 48\)",
        ),
    ],
)
def test_settings_that_are_none_are_named(make: Any, setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(**setting)
    with pytest.raises(DataError, match=r"images must have shape \[N, 3, H, W\]"):
        SRResNet(3, 2, 4, 0)(torch.randn(1, 5, 8, 8))
