"""The growing networks: what a level adds, what they save, and what they refuse."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.losses import gradient_penalty
from gankit.models.progan import Discriminator, Generator, at_level

SHAPE = (2, 32, 32)
Z = 6


def nets(shape: Sequence[int] = SHAPE, width: int = 8) -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(Z, shape, width, 16), Discriminator(shape, width, 16)


def outputs(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        made: Tensor = network(x)
    return made


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_new_level_of_weight_0_changes_nothing(level: int) -> None:
    G, D = nets()
    z = torch.randn(5, Z)
    G.grow(level - 1)
    D.grow(level - 1)
    small = outputs(G, z)
    large = F.interpolate(small, scale_factor=2)
    # Of any images, not of those alone that were enlarged.
    images = torch.randn_like(large)
    scores = outputs(D, F.avg_pool2d(images, 2))
    G.grow(level, 0.0)
    D.grow(level, 0.0)
    torch.testing.assert_close(outputs(G, z), large, rtol=0, atol=1e-6)
    torch.testing.assert_close(outputs(D, images), scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [1, 3])
def test_a_level_of_weight_1_stands_alone(level: int) -> None:
    G, D = nets()
    z = torch.randn(3, Z)
    for network in (G, D):
        network.grow(level)
    images = torch.randn(3, *G.current_shape)
    made, scores = outputs(G, z), outputs(D, images)
    with torch.no_grad():
        for name, parameter in (*G.named_parameters(), *D.named_parameters()):
            if "rgb" in name and f"rgb.{level}." not in name:
                parameter.fill_(float("nan"))  # what is used no more
    assert torch.equal(outputs(G, z), made)
    assert torch.equal(outputs(D, images), scores)
    for network, given in ((G, z), (D, images)):
        network.grow(level, 0.5)
        assert bool(outputs(network, given).isnan().all())


def test_weights_between_blend_both() -> None:
    G, _ = nets()
    z = torch.randn(3, Z)
    found = []
    for alpha in (0.0, 0.25, 1.0):
        G.grow(2, alpha)
        found.append(outputs(G, z))
    blend = 0.75 * found[0] + 0.25 * found[2]
    torch.testing.assert_close(found[1], blend, rtol=0, atol=1e-6)


def test_layers_not_yet_used_take_no_gradient() -> None:
    G, D = nets()
    for network in (G, D):
        network.grow(1, 0.5)
    D(G(torch.randn(4, Z))).sum().backward()
    learned = {name for n in (G, D) for name, p in n.named_parameters() if p.grad is not None}
    assert {name for name in learned if name.startswith("blocks")} == {
        f"blocks.0.{i}.{kind}" for i in (0, 1, 2, 4) for kind in ("weight", "bias")
        if f"blocks.0.{i}.{kind}" in {*dict(G.named_parameters()), *dict(D.named_parameters())}
    }  # fmt: skip
    assert {name.split(".")[1] for name in learned if "rgb" in name} == {"0", "1"}


def test_real_images_are_averaged_down_and_blended_as_generated_ones_are() -> None:
    images = torch.rand(3, 2, 32, 32)
    assert torch.equal(at_level(images, 32), images)
    small = at_level(images, 8)
    torch.testing.assert_close(small, F.adaptive_avg_pool2d(images, 8), rtol=0, atol=1e-6)
    older = F.interpolate(at_level(images, 4), scale_factor=2)
    blend = 0.3 * small + 0.7 * older
    torch.testing.assert_close(at_level(images, 8, 0.3), blend, rtol=0, atol=1e-6)


def test_feature_maps_are_the_papers() -> None:
    with torch.device("meta"):
        G, D = Generator(image_shape=(3, 1024, 1024)), Discriminator((3, 1024, 1024))
    maps = [int(layer.weight.shape[1]) for layer in G.to_rgb]  # type: ignore[index]
    assert maps == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    # Table 2 of the paper has 23.1 million trainable parameters in each.
    for network in (G, D):
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(23.1e6, rel=0.01)


def test_the_level_is_saved_with_the_weights() -> None:
    G, _ = nets()
    G.grow(2, 0.3)
    z = torch.randn(4, Z)
    other = Generator(Z, SHAPE, 8, 16)
    assert other.current_shape == SHAPE
    other.load_state_dict(G.state_dict())
    assert (other.level, other.alpha, other.current_shape) == (2, G.alpha, (2, 16, 16))
    assert torch.equal(outputs(other, z), outputs(G, z))
    assert torch.equal(outputs(copy.deepcopy(G), z), outputs(G, z))


@pytest.mark.parametrize("growth", [(2.5, 1.0), (4.0, 1.0), (-1.0, 1.0), (2.0, 1.5), (0.0, 0.5)])
def test_a_damaged_level_is_refused(growth: tuple[float, float]) -> None:
    G, _ = nets()
    state = {**G.state_dict(), "growth": torch.tensor(growth)}
    with pytest.raises(RuntimeError, match=r"(level|alpha) is -?\d"):
        G.load_state_dict(state)


def test_a_missing_level_is_refused() -> None:
    G, _ = nets()
    state = G.state_dict()
    del state["growth"]
    with pytest.raises(RuntimeError, match="growth"):
        G.load_state_dict(state)


def test_the_penalty_takes_autograd_and_says_why() -> None:
    _, D = nets()
    torch.manual_seed(1)
    for level, alpha in ((1, 0.5), (2, 1.0)):
        D.grow(level, alpha)
        real, fake = torch.randn(2, 4, *D.current_shape).unbind()
        made = gradient_penalty(D, real, fake, weight=1, at="real")
        points = real.clone().requires_grad_()
        (grad,) = torch.autograd.grad(D(points).sum(), points)
        expected = (torch.linalg.vector_norm(grad.flatten(1), dim=1) - 1).square().mean()
        torch.testing.assert_close(made.detach(), expected, rtol=1e-5, atol=1e-6)
        with pytest.raises(ConfigError, match="not known to be piecewise linear"):
            gradient_penalty(D, real, fake, at="real", path="analytic")


def test_any_power_of_two_and_any_channels() -> None:
    for channels, side in ((1, 8), (3, 16), (4, 64)):
        G, D = nets((channels, side, side), width=3)
        images = G(torch.randn(2, Z))
        assert images.shape == (2, channels, side, side)
        assert D(images).shape == (2, 1)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 4, 4), (3, 32, 64)])
def test_an_image_size_that_cannot_be_grown_to_is_named(shape: tuple[int, int, int]) -> None:
    words = r"one power of two from 8, got \(.*\); set image_size"
    with pytest.raises(ConfigError, match=words):
        Generator(Z, shape)
    with pytest.raises(ConfigError, match=words):
        Discriminator(shape)


def test_what_is_not_allowed_is_named() -> None:
    with pytest.raises(ConfigError, match="halved_from must be a power of two from 8, got 12"):
        Generator(Z, SHAPE, 8, 12)
    with pytest.raises(ConfigError, match="width must be at least 1, got 0"):
        Discriminator(SHAPE, 0)
    G, D = nets()
    with pytest.raises(ConfigError, match="level is 4; allowed are 0 to 3"):
        G.grow(4)
    with pytest.raises(
        ConfigError, match=r"alpha is 0\.5; allowed at level 0 are numbers in \[1, "
    ):
        G.grow(0, 0.5)
    D.grow(1)
    with pytest.raises(DataError, match=r"images must have shape \[N, 2, 8, 8\]"):
        D(torch.randn(1, *SHAPE))
