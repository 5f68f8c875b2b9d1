"""The networks of pix2pix and CycleGAN: sizes, fields, noise, settings."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.losses import gradient_penalty
from gankit.losses.chain import objection
from gankit.models.patch import PatchDiscriminator
from gankit.models.resnet import ResNetGenerator
from gankit.models.unet import UNetGenerator
from gankit.nn import BatchNormAct2d, ConvTransposeAct2d
from gankit.training.pairing import ends_in_sigmoid, examine, last_layer


def small_unet(norm: str = "batch", dropout: float = 0.5, size: int = 32) -> UNetGenerator:
    return UNetGenerator(2, 3, size, 4, norm, dropout)


def small_resnet(
    norm: str = "instance", padding: str = "reflect", init: str = "normal"
) -> ResNetGenerator:
    return ResNetGenerator(2, 3, width=4, blocks=1, norm=norm, padding=padding, init=init)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("size", [4, 32, 64])
def test_unet_takes_every_multiple_of_its_reduction(norm: str, size: int) -> None:
    G = small_unet(norm, size=size)
    assert len(G.down) == size.bit_length() - 1
    for shape in ((size, size), (2 * size, 3 * size)):
        images = G(torch.randn(2, 2, *shape))
        assert images.shape == (2, 3, *shape)
        assert images.abs().max() <= 1
    images.sum().backward()
    assert all(p.grad is not None for p in G.parameters())


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("padding", ["reflect", "replicate", "zeros"])
def test_resnet_takes_every_multiple_of_four(norm: str, padding: str) -> None:
    G = small_resnet(norm, padding)
    for shape in ((8, 8), (20, 36)):
        images = G(torch.randn(2, 2, *shape))
        assert images.shape == (2, 3, *shape)
        assert images.abs().max() <= 1
    images.sum().backward()
    assert all(p.grad is not None for p in G.parameters())


def test_paddings_differ_at_the_border_alone() -> None:
    torch.manual_seed(0)
    settings = {"width": 4, "blocks": 0, "norm": "batch", "init": "pytorch"}
    nets = [
        ResNetGenerator(2, 3, **settings, padding=name).double().eval()  # type: ignore[arg-type]
        for name in ("reflect", "replicate", "zeros")
    ]
    images = torch.randn(1, 2, 64, 64, dtype=torch.float64)
    for net in nets:
        net.load_state_dict(nets[0].state_dict())
    first, *others = (net(images)[..., 20:-20, 20:-20] for net in nets)
    for other in others:
        torch.testing.assert_close(other, first)
    first, *others = (net(images) for net in nets)
    assert all((other - first).abs().max() > 1e-3 for other in others)


@pytest.mark.parametrize(("size", "blocks"), [(64, 6), (128, 6), (255, 6), (256, 9), (512, 9)])
def test_the_number_of_blocks_follows_the_size(size: int, blocks: int) -> None:
    with torch.device("meta"):
        assert len(ResNetGenerator(image_size=size).main) == 4 + 6 + blocks + 6 + 3
        assert len(ResNetGenerator(image_size=size, blocks=2).main) == 4 + 6 + 2 + 6 + 3


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_field_of_a_logit_is_where_its_gradient_is(layers: int, field: int, norm: str) -> None:
    torch.manual_seed(0)
    D = PatchDiscriminator(2, 2, layers, norm).double().eval()
    assert D.receptive_field == field
    images = torch.randn(1, 2, 2 * field, 3 * field, dtype=torch.float64, requires_grad=True)
    logits = D(images)
    assert logits.shape == (1, 1, *(size // 2**layers - 2 for size in images.shape[2:]))
    row, column = (size // 2 for size in logits.shape[2:])
    logits[0, 0, row, column].backward()
    assert images.grad is not None
    seen = images.grad[0].abs().sum(0) > 0
    for line in (seen.any(0), seen.any(1)):
        places = line.nonzero().flatten()
        assert len(places) == field
        assert places[-1] - places[0] == field - 1


@pytest.mark.parametrize("norm", ["none", "instance", "batch"])
def test_the_smallest_image_of_a_discriminator_gives_one_logit(norm: str) -> None:
    D = PatchDiscriminator(3, 2, norm=norm)
    assert D(torch.randn(2, 3, 24, 24)).shape == (2, 1, 1, 1)
    with pytest.raises(DataError, match=r"H and W at least 24, got \[2, 3, 24, 23\]"):
        D(torch.randn(2, 3, 24, 23))


def test_a_discriminator_is_what_other_parts_take_it_for() -> None:
    for norm in ("none", "instance", "batch"):
        D = PatchDiscriminator(3, 2, norm=norm)
        assert examine(D).reason_now() == ""
        assert not ends_in_sigmoid(D)
    torch.manual_seed(0)
    one = PatchDiscriminator(3, 2, 2, norm="none", init="pytorch").double()
    assert objection(one) == ""
    two = copy.deepcopy(one)
    images = torch.randn(2, 3, 3, 24, 24, dtype=torch.float64)
    for D, path in ((one, "analytic"), (two, "autograd")):
        seed = torch.tensor([1])
        gradient_penalty(D, *images, path=path, select="mean", seed=seed).backward()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None) or not q.grad.any()
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12)


def test_what_makes_the_generators_images_is_known() -> None:
    last = last_layer(small_unet())
    assert isinstance(last, ConvTransposeAct2d)
    assert last.activation == "tanh"
    assert isinstance(last_layer(small_resnet()), nn.Tanh)


def test_dropout_stands_in_the_innermost_blocks_of_the_decoder() -> None:
    def noisy(G: UNetGenerator) -> list[bool]:
        return [any(isinstance(m, nn.Dropout) for m in stage) for stage in G.up]

    assert noisy(small_unet(size=64)) == [True, True, True, False, False]
    assert noisy(small_unet(size=4)) == [True]
    assert noisy(small_unet(dropout=0.0)) == [False] * 4
    assert small_unet().dropout_is_noise
    assert not small_unet(dropout=0.0).dropout_is_noise


def test_sampling_keeps_dropout_and_the_statistics_of_the_batch() -> None:
    torch.manual_seed(0)
    G = small_unet().double().eval()
    x = torch.randn(3, 2, 32, 32, dtype=torch.float64)
    before = {key: value.clone() for key, value in G.state_dict().items()}
    assert torch.equal(G(x), G(x))
    with G.sampling():
        torch.manual_seed(1)
        samples = [G(x), G(x)]
    assert not torch.equal(*samples)
    assert all(torch.equal(value, before[key]) for key, value in G.state_dict().items())
    assert not any(module.training for module in G.modules())
    assert torch.equal(G(x), G(x))
    torch.manual_seed(1)
    assert torch.equal(G.train()(x), samples[0])
    with pytest.raises(RuntimeError, match="stop"), G.eval().sampling():
        raise RuntimeError("stop")
    assert not any(module.training for module in G.modules())
    norms = [m for m in G.modules() if isinstance(m, BatchNormAct2d)]
    assert norms
    assert all(norm.track_running_stats for norm in norms)


@pytest.mark.parametrize(
    "network",
    [lambda: small_unet("batch"), lambda: small_resnet("batch"), lambda: PatchDiscriminator(3, 32)],
    ids=["unet", "resnet", "patch"],
)
def test_the_papers_initial_weights(network: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    weights = []
    for layer in network().modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            weights.append(layer.weight.flatten())
            assert layer.bias is None or not layer.bias.any()
        elif isinstance(layer, BatchNormAct2d):
            assert 0.9 < layer.weight.mean().item() < 1.1
            assert layer.weight.std().item() > 0
            assert not layer.bias.any()
    drawn = torch.cat(weights)
    assert abs(drawn.std().item() - 0.02) < 1e-3
    assert abs(drawn.mean().item()) < 1e-3


def test_convolutions_before_a_batch_norm_have_no_bias() -> None:
    def biases(network: nn.Module) -> int:
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        return sum(isinstance(m, kinds) and m.bias is not None for m in network.modules())

    # The first and last of the U-Net and D, the last of the ResNet: no norm follows.
    assert biases(small_unet("batch")) == 2
    assert biases(small_resnet("batch")) == 1
    assert biases(PatchDiscriminator(3, 2)) == 2
    assert biases(small_unet("instance")) == 10
    assert biases(small_resnet("instance")) == 8
    assert biases(PatchDiscriminator(3, 2, norm="instance")) == 5


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: UNetGenerator(image_size=96), "image_size must be a power of 2 .*, got 96"),
        (lambda: UNetGenerator(image_size=2), "from 4 to 1024, got 2"),
        (lambda: UNetGenerator(image_size=2048), "from 4 to 1024, got 2048"),
        (lambda: UNetGenerator(norm="layer"), "'batch' or 'instance', got 'layer'"),
        (lambda: UNetGenerator(dropout=1.5), r"dropout must lie in \[0, 1\], got 1.5"),
        (lambda: small_resnet(init="xavier"), "'pytorch', 'normal' or a function, got 'xavier'"),
        (lambda: ResNetGenerator(blocks=-1), "blocks must be an integer from 0 to 100, got -1"),
        (lambda: ResNetGenerator(padding="same"), "'reflect' .* got 'same'"),
        (lambda: ResNetGenerator(width=0), "width must be at least 1, got 0"),
        (lambda: PatchDiscriminator(layers=0), "layers must be an integer from 1 to 8, got 0"),
        (lambda: PatchDiscriminator(norm="layer"), "'batch' or 'instance' or 'none', got 'layer'"),
        (lambda: PatchDiscriminator(negative_slope=-1), "negative_slope must be .* got -1"),
    ],
)
def test_settings_that_are_not_allowed(build: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build()


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (small_unet, (1, 2, 32, 48), r"at least 32 and multiples of 32, got \[1, 2, 32, 48\]"),
        (small_unet, (1, 3, 32, 32), r"\[N, 2, H, W\]"),
        (small_resnet, (1, 2, 30, 32), r"at least 8 and multiples of 4, got \[1, 2, 30, 32\]"),
        (small_resnet, (1, 2, 4, 8), "at least 8"),
        (small_resnet, (2, 32, 32), r"got \[2, 32, 32\]"),
    ],
)
def test_images_of_another_size(
    network: Callable[[], nn.Module], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        network()(torch.zeros(shape))


def test_on_two_threads_the_same_numbers() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    nets = [small_unet("instance", dropout=0.0).double(), small_resnet().double()]
    x = torch.randn(2, 2, 64, 64, dtype=torch.float64)
    results: list[list[Tensor]] = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found = []
            for net in nets:
                net.zero_grad()
                y = net(x)
                y.square().mean().backward()
                found += [y.detach(), *(p.grad.clone() for p in net.parameters())]
            results.append(found)
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-12)
