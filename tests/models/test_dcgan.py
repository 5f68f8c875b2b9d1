from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from gankit.errors import ConfigError, DataError
from gankit.models.dcgan import Discriminator, Generator


class PlainGenerator(nn.Module):
    """The tutorial's layers, as its readers have them on disk."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(100, 28 * 8, 7, 1, 0, bias=False),
            nn.BatchNorm2d(28 * 8),
            nn.ReLU(True),
            nn.ConvTranspose2d(28 * 8, 28 * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(28 * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(28 * 4, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, inputs):
        return self.main(inputs.view(-1, 100, 1, 1))


class PlainDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, 28 * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(28 * 4),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(28 * 4, 28 * 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(28 * 8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(28 * 8, 1, 7, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, inputs):
        return self.main(inputs).view(-1, 1)


PAIRS = [
    (PlainGenerator, Generator, (5, 100)),
    (PlainDiscriminator, Discriminator, (5, 1, 28, 28)),
]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_tutorials():
    assert parameters(Generator()) == 1_501_472
    assert parameters(Discriminator()) == 414_848


@pytest.mark.parametrize(("plain", "ours", "shape"), PAIRS)
@pytest.mark.parametrize("direction", ["plain to ours", "ours to plain"])
def test_state_dicts_load_unchanged_and_mean_the_same(plain, ours, shape, direction, tmp_path):
    torch.manual_seed(0)
    source, target = (plain(), ours()) if direction == "plain to ours" else (ours(), plain())
    assert list(source.state_dict()) == list(target.state_dict())
    inputs = torch.randn(shape)
    source(inputs)  # moves the running statistics
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict(), path)
    target.load_state_dict(torch.load(path, weights_only=True), strict=True)
    for training in (False, True):
        expected, result = source.train(training)(inputs), target.train(training)(inputs)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    for network in (source, target):
        network.zero_grad()
        network(inputs).square().sum().backward()
    for found, wanted in zip(target.parameters(), source.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("plain", "ours", "shape"), PAIRS)
def test_pytorch_initialisation_is_that_of_plain_layers(plain, ours, shape):
    torch.manual_seed(5)
    wanted = plain().state_dict()
    torch.manual_seed(5)
    found = ours().state_dict()
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


@pytest.mark.parametrize("size", [28, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_sizes_and_channels(size, channels):
    generator = Generator(7, (channels, size, size), width=3)
    discriminator = Discriminator((channels, size, size), width=3)
    images = generator(torch.randn(2, 7))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1.0
    scores = discriminator(images)
    assert scores.shape == (2, 1)
    scores.sum().backward()
    for parameter in [*generator.parameters(), *discriminator.parameters()]:
        assert parameter.grad is not None


def test_widths_double_inwards():
    def widths(network, kind):
        return [m.out_channels for m in network.main if isinstance(m, kind)]

    assert widths(Generator(), nn.ConvTranspose2d) == [224, 112, 1]
    assert widths(Discriminator(), nn.Conv2d) == [112, 224, 1]
    large = (3, 64, 64)
    assert widths(Generator(image_shape=large), nn.ConvTranspose2d) == [512, 256, 128, 64, 3]
    assert widths(Discriminator(large), nn.Conv2d) == [64, 128, 256, 512, 1]


def test_channels_last_is_the_same():
    torch.manual_seed(0)
    generator, discriminator = Generator().eval(), Discriminator(output="logit").eval()
    z = torch.randn(3, 100)
    images = generator(z)
    scores = discriminator(images)
    generator.to(memory_format=torch.channels_last)
    discriminator.to(memory_format=torch.channels_last)
    torch.testing.assert_close(generator(z), images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(discriminator(images), scores, rtol=1e-4, atol=1e-4)


def test_a_logit_is_a_probability_before_the_sigmoid():
    torch.manual_seed(0)
    probability, logit = Discriminator().eval(), Discriminator(output="logit").eval()
    logit.load_state_dict(probability.state_dict())
    images = torch.randn(4, 1, 28, 28)
    torch.testing.assert_close(logit(images).sigmoid(), probability(images))


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_initialisation_of_the_paper(network):
    torch.manual_seed(0)
    for layer in network(init="dcgan").main:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            assert abs(layer.weight.std().item() - 0.02) < 1e-3
        elif isinstance(layer, nn.BatchNorm2d):
            assert abs(layer.weight.mean().item() - 1) < 0.01
            assert 0.01 < layer.weight.std().item() < 0.03
            assert not layer.bias.any()


def test_a_function_initialises():
    def ones(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)

    convolutions = [m for m in Discriminator(init=ones).main if isinstance(m, nn.Conv2d)]
    assert all((layer.weight == 1).all() for layer in convolutions)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Generator(z_dim=0), "z_dim must be at least 1, got 0"),
        (lambda: Generator(image_shape=(28, 28)), r"\(C, H, W\), got \(28, 28\)"),
        (
            lambda: Generator(image_shape=(3, 48, 48)),
            r"one of 28x28, 32x32, 64x64, 128x128, got 48x48 in \(3, 48, 48\)",
        ),
        (lambda: Discriminator((1, 28, 32)), r"must be square.* got 28x32"),
        (lambda: Discriminator(width=0), "width must be at least 1, got 0"),
        (lambda: Discriminator(negative_slope=math.nan), "negative_slope must be .* got nan"),
        (lambda: Discriminator(output="prob"), "'probability' or 'logit', got 'prob'"),
        (lambda: Generator(init="xavier"), "'pytorch', 'dcgan' or a function, got 'xavier'"),
    ],
)
def test_settings_that_are_not_allowed(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_wrong_shapes_name_both():
    with pytest.raises(DataError, match=r"z must have shape \[N, 100\], got \[4, 64\]"):
        Generator()(torch.randn(4, 64))
    with pytest.raises(DataError, match=r"shape \[N, 1, 28, 28\], got \[4, 1, 32, 32\]"):
        Discriminator()(torch.randn(4, 1, 32, 32))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_export_with_a_batch_of_any_size() -> None:
    generator = Generator(z_dim=5, width=4).eval()
    shapes = {"z": {0: torch.export.Dim("batch", min=2)}}
    exported = torch.export.export(generator, (torch.randn(6, 5),), dynamic_shapes=shapes).module()
    for n in (6, 3, 50):
        z = torch.randn(n, 5)
        torch.testing.assert_close(exported(z), generator(z), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("training", [True, False])
def test_traces(training: bool) -> None:
    generator = Generator(z_dim=5, width=4).train(training)
    z = torch.randn(6, 5)
    traced = torch.jit.trace(copy.deepcopy(generator), z)
    torch.testing.assert_close(traced(z), generator(z), rtol=1e-4, atol=1e-5)
