"""Directions out of labels and weights, arithmetic and inversion: exactly, and on a digits GAN."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gankit import data
from gankit.attacks import train_classifier
from gankit.data import ImageData
from gankit.errors import ConfigError, DataError
from gankit.latent import (
    arithmetic,
    invert,
    linear_probe,
    mean_difference,
    move,
    nearest,
    sefa,
    terms_of,
)
from gankit.models import conditional_mlp, dcgan, mlp
from gankit.training import generate
from gankit.training.pictures import generate_from
from tests.recipes.small_twins import small_twin

SHORT, LONG = 600, 2000


@pytest.fixture(scope="module")
def classify() -> Callable[[Tensor], Tensor]:
    """The probabilities of the ten digits, by a small classifier of real ones."""
    real = data.load("digits", image_size=8)
    assert real.labels is not None
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    train_classifier(network, real.normalized(), real.labels, epochs=8)

    @torch.no_grad()
    def probabilities(images: Tensor) -> Tensor:
        result: Tensor = network(images).softmax(dim=1)
        return result

    return probabilities


def trained(seed: int, steps: int) -> nn.Module:
    trainer = small_twin("nsgan", seed, z_dim=16)
    trainer.fit(steps=steps)
    return trainer.gan_step.inference()


@pytest.fixture(scope="module")
def G() -> nn.Module:
    return trained(0, SHORT)


def rising_shares(G: nn.Module, classify: Callable[[Tensor], Tensor], length: float) -> list[float]:
    """The shares of z whose probability of a class rises at each of four steps along its direction,
    for the five most frequent classes and both ways to find directions."""
    z, fresh = (torch.randn(n, 16, generator=torch.Generator().manual_seed(n)) for n in (4000, 200))
    probabilities = classify(generate_from(G, z))
    rising = []
    for find in (mean_difference, linear_probe):
        for target in probabilities.mean(dim=0).argsort(descending=True)[:5].tolist():
            direction = find(z, probabilities[:, target])
            moved = move(fresh, direction, [k * length / 4 for k in range(5)])
            along = classify(generate_from(G, moved.flatten(0, 1)))[:, target].view(200, 5)
            # Probabilities of zero, from which floats do not rise, count as equal.
            rising.append(float((along.diff(dim=1) >= -1e-3).all(dim=1).float().mean()))
            assert float(along[:, -1].mean()) > 0.1 + float(along[:, 0].mean())
    return rising


def assert_images_are_found(G: nn.Module) -> None:
    images = generate_from(G, torch.randn(32, 16, generator=torch.Generator().manual_seed(1)))
    found = invert(G, images, steps=200)
    assert float((found.psnr >= 30).float().mean()) >= 0.9, found.psnr
    assert torch.allclose(found.images, generate_from(G, found.z), atol=1e-5)


def test_directions_rise_and_images_are_found(
    G: nn.Module, classify: Callable[[Tensor], Tensor]
) -> None:
    rising = rising_shares(G, classify, length=2.0)
    assert sum(rising) / len(rising) >= 0.8, rising
    assert_images_are_found(G)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_directions_rise_and_images_are_found_after_long_training(
    seed: int, classify: Callable[[Tensor], Tensor]
) -> None:
    G = trained(seed, LONG)
    rising = rising_shares(G, classify, length=2.0)
    assert min(rising) >= 0.8, rising
    assert_images_are_found(G)


def test_label_directions_are_those_of_two_clouds() -> None:
    random = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 8, generator=random)
    normal = torch.nn.functional.normalize(torch.randn(8, generator=random), dim=0)
    member = z @ normal > 0.3
    for find in (mean_difference, linear_probe):
        found = find(z, member)
        assert float(found.norm()) == pytest.approx(1)
        assert float(found @ normal) > 0.99
        assert torch.allclose(find(z, member.double()), found)
        for wrong, words in ((member[:5], "must be"), (torch.ones(4000), "one kind alone")):
            with pytest.raises(DataError, match=words):
                find(z, wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp.Generator(z_dim=12, image_shape=(1, 8, 8), hidden=[32]),
        lambda: dcgan.Generator(z_dim=12, width=4),
        lambda: conditional_mlp.Generator(3, z_dim=12, image_shape=(1, 8, 8), hidden=[32]),
        lambda: conditional_mlp.Generator(3, 12, (1, 8, 8), [32], embedding=5),
    ],
)
def test_sefa_are_the_directions_of_greatest_change(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    G = make()
    found, values = sefa(G, 12)
    assert torch.allclose(found @ found.T, torch.eye(12), atol=1e-5)
    first = next(m for m in G.modules() if getattr(m, "weight", None) is not None)

    weight = first.weight.detach()  # type: ignore[union-attr, operator]

    def change(direction: Tensor) -> float:
        """The squared length of what the first layer, run by torch, makes of it."""
        if isinstance(first, nn.ConvTranspose2d):
            image = nn.functional.conv_transpose2d(direction.view(1, 12, 1, 1), weight)
            return float(image.square().sum())
        return float((weight[:, :12] @ direction).square().sum())

    changes = [change(direction) for direction in found]
    assert changes == sorted(changes, reverse=True)
    assert torch.allclose(torch.tensor(changes), values, rtol=1e-3)
    assert all(
        change(nn.functional.normalize(torch.randn(12), dim=0)) <= changes[0] for _ in range(50)
    )
    assert torch.equal(sefa(G, 3)[0], found[:3])


def test_sefa_says_where_there_is_no_such_layer() -> None:
    G = mlp.Generator(z_dim=12, hidden=[32, 12])
    with pytest.raises(ConfigError, match="count is 13; allowed are 1 to 12"):
        sefa(G, 13)
    with pytest.raises(ConfigError, match="layer is 'x'; allowed are main"):
        sefa(G, layer="x")
    with pytest.raises(ConfigError, match=r"has no layer 'main\.2' that multiplies z"):
        sefa(G, layer="main.2")
    assert torch.equal(sefa(G, layer="main.0")[0], sefa(G)[0])


def test_arithmetic_adds_means_of_samples_of_each_class(
    G: nn.Module, classify: Callable[[Tensor], Tensor]
) -> None:
    found = arithmetic(G, "7 - 1 + 0", classify, seed=3)
    assert [z.shape for z in found.examples] == [(3, 16)] * 3
    for (_, label), z in zip(terms_of("7 - 1 + 0"), found.examples, strict=True):
        assert bool((classify(generate_from(G, z)).argmax(dim=1) == label).all())
    assert torch.allclose(found.z, found.means[0] - found.means[1] + found.means[2])
    assert torch.equal(found.z, arithmetic(G, "7-1+0", classify, seed=3).z)
    uniform = arithmetic(G, "7+7+0", classify, distribution="uniform")
    assert float(uniform.z.abs().max()) <= 1
    with pytest.raises(ConfigError, match="the expression has class 12; allowed are 0 to 9"):
        arithmetic(G, "12", classify)
    with pytest.raises(DataError, match="of 5 samples show class"):
        arithmetic(G, "7 - 1", classify, candidates=5)
    conditional = conditional_mlp.Generator(10, 16, (1, 8, 8), [8])
    with pytest.raises(ConfigError, match="takes the class as an input"):
        arithmetic(conditional, "7", classify)


@pytest.mark.parametrize("text", ["", "7 -", "a + b", "7 1", "+-7", "7 * 2", "1.5"])
def test_other_expressions_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed are classes with"):
        terms_of(text)
    assert terms_of(" -7 +1 - 0") == [(-1, 7), (1, 1), (-1, 0)]


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_a_conditional_generator_is_inverted_and_left_as_it_was(distribution: str) -> None:
    torch.manual_seed(0)
    G = conditional_mlp.Generator(3, 6, (1, 8, 8), [64], norm="batch").train()
    for p in G.parameters():
        nn.init.normal_(p, std=0.3)
    before, labels = copy.deepcopy(G), torch.arange(20) % 3
    images = generate(G, 20, seed=1, distribution=distribution, labels=labels)  # type: ignore[arg-type]
    state = torch.get_rng_state()
    with torch.inference_mode():
        found = invert(G, images, labels=labels, distribution=distribution, steps=200)  # type: ignore[arg-type]
    assert float((found.psnr >= 30).float().mean()) >= 0.9
    assert torch.allclose(found.error, (found.images - images).square().mean((1, 2, 3)))
    if distribution == "uniform":
        assert float(found.z.abs().max()) <= 1
    assert torch.equal(state, torch.get_rng_state())
    assert G.training
    assert all(p.grad is None and p.requires_grad for p in G.parameters())
    for value, other in zip(G.state_dict().values(), before.state_dict().values(), strict=True):
        assert torch.equal(value, other)
    with pytest.raises(ConfigError, match="needs labels"):
        invert(G, images)
    with pytest.raises(ConfigError, match="starts is 513"):
        invert(G, images, labels=labels, starts=513)
    with pytest.raises(DataError, match="images have 63 values each, the generator's 64"):
        invert(G, images.flatten(1)[:, :63], labels=labels)


def test_the_nearest_training_images_are_found() -> None:
    real = data.load("digits", image_size=8)
    images = real.gather(torch.tensor([5, 900, 1400])) + 0.01
    places, distances = nearest(images, real, k=3)
    assert places[:, 0].tolist() == [5, 900, 1400]
    assert torch.allclose(distances[:, 0], torch.full((3,), 0.08), atol=1e-3)
    every = torch.cdist(images.flatten(1), real.normalized().flatten(1))
    assert torch.allclose(distances, every.topk(3, largest=False).values, atol=1e-3)
    with pytest.raises(ConfigError, match="k is 2"):
        nearest(images, ImageData(real.images[:1]), k=2)
    with pytest.raises(DataError, match=r"images must be \[N, 1, 8, 8\]"):
        nearest(images[:, :, 1:], real)
