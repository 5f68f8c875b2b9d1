"""BEGAN's networks: their layers, the sizes they take, and that a compiler and a file take them."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import nn

from gankit.errors import ConfigError, DataError
from gankit.models.convolutional_autoencoder import Discriminator, Generator
from gankit.training.pairing import examine


def maps(layers: nn.Sequential) -> list[tuple[int, int, int]]:
    kept = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert all(layer.kernel_size == (3, 3) and layer.padding == (1, 1) for layer in kept)
    return [(layer.in_channels, layer.out_channels, layer.stride[0]) for layer in kept]


def test_the_layers_are_the_papers() -> None:
    D = Discriminator((3, 32, 32), code=64, width=64)
    down = [(3, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 192, 2)]
    assert maps(D.encoder) == [*down, (192, 192, 1), (192, 192, 1)]
    assert maps(D.decoder) == [*[(64, 64, 1)] * 6, (64, 3, 1)]
    linear = [layer for layer in D.modules() if isinstance(layer, nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in linear]
    assert shapes == [(192 * 8 * 8, 64), (64, 64 * 8 * 8)]
    # An ELU behind each convolution but the last; none at the code, which may have any value.
    assert sum(isinstance(layer, nn.ELU) for layer in D.modules()) == 13
    kinds = {type(layer) for layer in D.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.Dropout, nn.Tanh, nn.Sigmoid}
    G = Generator(64, (3, 32, 32))
    D.decoder.load_state_dict(G.main.state_dict())
    z = torch.randn(2, 64)
    assert torch.equal(G(z), D.decoder(z))


@pytest.mark.parametrize(
    ("shape", "levels", "smallest"),
    [
        ((1, 8, 8), None, (8, 8)),
        ((1, 9, 7), None, (9, 7)),
        ((3, 16, 24), None, (8, 12)),
        ((1, 28, 28), None, (7, 7)),
        ((3, 32, 32), None, (8, 8)),
        ((2, 64, 64), None, (8, 8)),
        ((1, 8, 8), 2, (2, 2)),
        ((1, 28, 28), 1, (14, 14)),
        ((1, 8, 8), 3, (1, 1)),
    ],
)
def test_sizes(shape: tuple[int, int, int], levels: int | None, smallest: tuple[int, int]) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"width": 3, "levels": levels}
    G, D = Generator(4, shape, **settings), Discriminator(shape, 5, **settings)
    images = G(torch.randn(2, 4))
    assert images.shape == (2, *shape)
    assert D.reconstruct(images).shape == images.shape
    energies = D(images)
    assert energies.shape == (2, 1)
    assert (energies > 0).all()
    unflatten = next(layer for layer in G.main if isinstance(layer, nn.Unflatten))
    assert tuple(unflatten.unflattened_size) == (3, *smallest)
    energies.sum().backward()
    for parameter in (*G.parameters(), *D.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_repeats_and_output() -> None:
    D = Discriminator((1, 16, 16), 4, width=5, repeats=3, output="tanh")
    assert [row[2] for row in maps(D.encoder)] == [1, 1, 1, 2, 1, 1, 1]
    assert len(maps(D.decoder)) == 2 * 3 + 1
    G = Generator(4, (1, 16, 16), width=5, repeats=1, output="tanh")
    assert len(maps(G.main)) == 3
    z = 1000 * torch.randn(20, 4)
    assert G(z).abs().max() <= 1
    assert Generator(4, (1, 16, 16), width=5)(z).abs().max() > 1


@pytest.mark.parametrize("error", ["absolute", "squared"])
def test_the_energy_is_the_error_of_what_comes_back(error: str) -> None:
    torch.manual_seed(0)
    D = Discriminator((2, 8, 8), 3, width=4, levels=1, error=error).double()
    x = torch.rand(3, 2, 8, 8, dtype=torch.float64) * 2 - 1
    gap = D.reconstruct(x) - x
    expected = (gap.abs() if error == "absolute" else gap**2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(D(x), expected.unsqueeze(1))
    # Each image by itself: real and generated ones may go through together.
    torch.testing.assert_close(D(x[1:2]), expected[1:2].unsqueeze(1))
    assert examine(D).reason_now() == ""


def test_layouts_and_dtypes_mean_the_same() -> None:
    torch.manual_seed(0)
    G, D = Generator(4, (3, 16, 16), width=8), Discriminator((3, 16, 16), 4, width=8)
    z = torch.randn(3, 4)
    images = G(z).detach()
    energies = D(images).detach()
    for network in (G, D):
        network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(G(z), images, rtol=1e-4, atol=1e-5)
    last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(D(last), energies, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = D(images)
    torch.testing.assert_close(low.float(), energies, rtol=0.05, atol=0.01)
    assert D(images[:0]).shape == (0, 1)


def test_a_compiler_an_export_and_a_file_take_them(tmp_path: Any) -> None:
    torch.manual_seed(0)
    G, D = Generator(4, (1, 8, 8), width=4, levels=1), Discriminator((1, 8, 8), 3, 4, levels=1)
    z = torch.randn(3, 4)
    images = G(z).detach()
    for network, inputs in ((G, z), (D, images)):
        expected = network(inputs)
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)(inputs)
        torch.testing.assert_close(compiled, expected)
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(network, (inputs,), dynamic_shapes=({0: batch},))
        torch.testing.assert_close(program.module()(inputs[:2]), expected[:2])
        file = io.BytesIO()
        torch.save(network.state_dict(), file)
        file.seek(0)
        other = type(network)(**settings(network))
        assert not torch.equal(other(inputs), expected)
        other.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(other(inputs), expected)
    assert {key.split(".")[0] for key in G.state_dict()} == {"main"}
    assert {key.split(".")[0] for key in D.state_dict()} == {"encoder", "decoder"}


def settings(network: nn.Module) -> dict[str, Any]:
    size = {"z_dim": 4} if isinstance(network, Generator) else {"code": 3}
    return {"image_shape": (1, 8, 8), "width": 4, "levels": 1, **size}


def test_the_activation_is_elu_to_the_second_derivative() -> None:
    elu = next(m for m in Generator(4, (1, 8, 8), 4).modules() if isinstance(m, nn.ELU))
    for dtype, close in ((torch.float32, 1e-6), (torch.float64, 1e-15), (torch.bfloat16, 0.0)):
        x = torch.cat([torch.linspace(-20, 20, 4001), torch.tensor([0.0, -0.0, -1e30, 1e30])])
        x = x.to(dtype)
        torch.testing.assert_close(elu(x), torch.nn.functional.elu(x), rtol=close, atol=close)
    assert elu(torch.tensor([float("nan")])).isnan()
    assert elu(torch.tensor([float("-inf"), float("inf")])).tolist() == [-1.0, float("inf")]
    # Away from 0, where the second derivative jumps.
    x = torch.tensor([[-3.0, -0.5, 0.25], [2.0, -1e-3, 1e-3]], dtype=torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(elu, x)
    assert torch.autograd.gradgradcheck(elu, x)
    slopes = torch.func.vmap(torch.func.grad(elu))(x.detach().flatten())
    torch.testing.assert_close(slopes, x.detach().flatten().clamp(max=0).exp())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_shape": (28, 28)}, r"image_shape must be three positive .* got \(28, 28\)"),
        ({"image_shape": (1, 0, 8)}, "image_shape must be three positive"),
        ({"image_shape": (1, 28, 28), "levels": 3}, r"multiples of 2\^levels, got levels 3"),
        ({"image_shape": (1, 8, 6), "levels": 2}, r"multiples of 2\^levels, got levels 2"),
        ({"levels": -1}, "levels must be 0 to 30"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"output": "relu"}, "output must be 'linear' or 'tanh', got 'relu'"),
    ],
)
@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_settings_that_are_not_allowed(
    network: type[nn.Module], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        network(**changes)


def test_a_networks_own_settings_and_wrong_shapes() -> None:
    with pytest.raises(ConfigError, match="z_dim must be at least 1, got 0"):
        Generator(0)
    with pytest.raises(ConfigError, match="code must be at least 1, got 0"):
        Discriminator(code=0)
    with pytest.raises(ConfigError, match="error must be 'squared' or 'absolute', got 'cubed'"):
        Discriminator(error="cubed")
    with pytest.raises(DataError, match=r"z must have shape \[N, 4\], got \[2, 5\]"):
        Generator(4, width=2)(torch.zeros(2, 5))
    with pytest.raises(DataError, match=r"must have shape \[N, 1, 28, 28\], got \[2, 784\]"):
        Discriminator(width=2)(torch.zeros(2, 784))
