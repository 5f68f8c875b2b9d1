from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import gankit
from gankit.errors import ConfigError, DataError
from gankit.models.mlp import Discriminator, Generator
from gankit.nn import LeakyReLUDropout


class PlainGenerator(nn.Module):
    """The tutorial's layers, as its readers have them on disk."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Linear(100, 256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(256, 512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 1024),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(1024, 28 * 28),
            nn.Tanh(),
        )

    def forward(self, inputs):
        return self.main(inputs).view(-1, 1, 28, 28)


class PlainDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Linear(28 * 28, 1024),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(inplace=True),
            nn.Linear(1024, 512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(inplace=True),
            nn.Linear(512, 256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(inplace=True),
            nn.Linear(256, 1),
            nn.Sigmoid(),
        )

    def forward(self, inputs):
        return self.main(inputs.view(-1, 28 * 28))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_tutorials():
    assert parameters(Generator()) == 1_486_352
    assert parameters(Discriminator()) == 1_460_225


@pytest.mark.parametrize(
    ("plain", "ours", "shape"),
    [(PlainGenerator, Generator, (5, 100)), (PlainDiscriminator, Discriminator, (5, 1, 28, 28))],
)
@pytest.mark.parametrize("direction", ["plain to ours", "ours to plain"])
def test_state_dicts_load_unchanged_and_mean_the_same(plain, ours, shape, direction, tmp_path):
    torch.manual_seed(0)
    source, target = (plain(), ours()) if direction == "plain to ours" else (ours(), plain())
    inputs = torch.randn(shape)
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict(), path)
    assert not torch.equal(source.eval()(inputs), target.eval()(inputs))
    target.load_state_dict(torch.load(path, weights_only=True), strict=True)
    with gankit.backend("reference"):
        expected, result = source(inputs), target(inputs)
    assert result.shape == expected.shape
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    # gankit's own layers may sum in another order.
    torch.testing.assert_close(target(inputs), source(inputs), rtol=1e-5, atol=1e-6)


def test_positions_in_main():
    layers = Discriminator(dropout=0.3, negative_slope=0.1).main
    assert [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)] == [0, 3, 6, 9]
    assert all(isinstance(layers[i], LeakyReLUDropout) for i in (1, 4, 7))
    assert all(isinstance(layers[i], nn.Identity) for i in (2, 5, 8))
    assert isinstance(layers[10], nn.Sigmoid)
    assert isinstance(Discriminator(output="logit").main[10], nn.Identity)
    assert all((layers[i].p, layers[i].negative_slope) == (0.3, 0.1) for i in (1, 4, 7))


def test_a_logit_is_a_probability_before_the_sigmoid():
    torch.manual_seed(0)
    probability, logit = Discriminator().eval(), Discriminator(output="logit").eval()
    logit.load_state_dict(probability.state_dict())
    images = torch.randn(4, 1, 28, 28)
    torch.testing.assert_close(logit(images).sigmoid(), probability(images))


def test_dropout_acts_in_training_and_not_in_eval():
    torch.manual_seed(0)
    discriminator, images = Discriminator(output="logit"), torch.randn(4, 784)
    assert not torch.equal(discriminator(images), discriminator(images))
    discriminator.eval()
    assert torch.equal(discriminator(images), discriminator(images))


def test_flat_and_shaped_images_and_any_layout_are_the_same():
    discriminator = Discriminator((3, 8, 8)).eval()
    images = torch.randn(4, 3, 8, 8)
    expected = discriminator(images)
    assert expected.shape == (4, 1)
    assert torch.equal(discriminator(images.flatten(1)), expected)
    assert torch.equal(
        discriminator(images.contiguous(memory_format=torch.channels_last)), expected
    )


def test_other_sizes_and_gradients_reach_every_parameter():
    generator = Generator(z_dim=7, image_shape=(3, 4, 6), hidden=(16,))
    discriminator = Discriminator(image_shape=(3, 4, 6), hidden=(16, 8), dropout=0.0)
    images = generator(torch.randn(5, 7))
    assert images.shape == (5, 3, 4, 6)
    assert images.abs().max() <= 1.0
    assert (generator.z_dim, generator.image_shape) == (7, (3, 4, 6))
    discriminator(images).sum().backward()
    for parameter in [*generator.parameters(), *discriminator.parameters()]:
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_keras_initialisation(network):
    torch.manual_seed(0)
    linears = [layer for layer in network(init="keras").main if isinstance(layer, nn.Linear)]
    assert all((layer.bias == 0).all() for layer in linears)
    first = linears[0].weight
    assert abs(first.std().item() - 0.02) < 5e-4
    assert first.abs().max() > 0.06  # normal, not uniform or cut off
    for layer in linears[1:]:
        fan_out, fan_in = layer.weight.shape
        limit = math.sqrt(6 / (fan_in + fan_out))
        assert 0.97 * limit < layer.weight.abs().max() <= limit
        assert abs(layer.weight.std().item() / (limit / math.sqrt(3)) - 1) < 0.1


def test_pytorch_initialisation_is_that_of_plain_layers():
    torch.manual_seed(5)
    plain = PlainDiscriminator().state_dict()
    torch.manual_seed(5)
    ours = Discriminator().state_dict()
    assert all(torch.equal(plain[key], ours[key]) for key in plain)


def test_a_function_initialises():
    def ones(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.ones_(module.weight)

    assert all((layer.weight == 1).all() for layer in Generator(init=ones).main[::2])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Generator(z_dim=0), "z_dim must be at least 1, got 0"),
        (lambda: Generator(image_shape=(28, 28)), r"\(C, H, W\), got \(28, 28\)"),
        (lambda: Generator(image_shape=(1, 0, 28)), "three positive numbers"),
        (lambda: Generator(hidden=()), "hidden must be one or more positive widths"),
        (lambda: Discriminator(hidden=(8, 0)), r"positive widths, got \(8, 0\)"),
        (lambda: Discriminator(negative_slope=-1.0), "negative_slope must be .* got -1.0"),
        (lambda: Generator(negative_slope=math.nan), "negative_slope must be .* got nan"),
        (lambda: Discriminator(dropout=1.5), r"dropout must lie in \[0, 1\], got 1.5"),
        (lambda: Discriminator(dropout=math.nan), r"dropout must lie in \[0, 1\], got nan"),
        (lambda: Discriminator(output="prob"), "'probability' or 'logit', got 'prob'"),
        (lambda: Generator(init="xavier"), "'pytorch', 'keras' or a function, got 'xavier'"),
    ],
)
def test_settings_that_are_not_allowed(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_wrong_shapes_name_both():
    with pytest.raises(DataError, match=r"z must have shape \[N, 100\], got \[4, 64\]"):
        Generator()(torch.randn(4, 64))
    for shape in ([4, 1, 32, 32], [4, 783], [28, 28], [1, 28, 28]):
        with pytest.raises(DataError) as caught:
            Discriminator()(torch.randn(shape))
        assert f"[N, 1, 28, 28] or [N, 784], got {shape}" in str(caught.value)
