"""What DiscoGAN and StarGAN learn on images that are drawn, judged without a network."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.data.toy_domains import (
    COLORS,
    arrow_angles,
    load_arrows,
    load_shapes,
    shape_colors,
    shape_masks,
)
from gankit.gans.discogan import DiscoGANStep
from gankit.gans.stargan import StarGANStep
from gankit.models import discogan, stargan
from gankit.training import Trainer
from gankit.training.schedules import LinearDecay
from gankit.training.translation import translate
from tests.gans.translation_nets import adam


def circular_correlation(a: Tensor, b: Tensor) -> float:
    """How well angles ``b`` follow from angles ``a`` by a turn or a mirror image, 0 to 1.

    It is the larger of the mean resultant lengths of b - a and of b + a. The coefficient of
    Jammalamadaka and SenGupta (2001, Topics in Circular Statistics, section 8.2) is their
    difference where both angles are uniform on the circle; the smaller one is then 0 but for the
    number of samples. So a constant offset does not count, nor a reflection, which are as good to
    DiscoGAN's losses.
    """
    lengths = [torch.polar(torch.ones(len(a)), c).mean().abs() for c in (b - a, b + a)]
    return float(max(lengths))


def test_circular_correlation_is_of_turns_and_mirror_images() -> None:
    a = torch.arange(360.0) * (math.pi / 180)
    assert circular_correlation(a, a + 2) == pytest.approx(1, abs=1e-4)
    assert circular_correlation(a, 1 - a) == pytest.approx(1, abs=1e-4)
    assert circular_correlation(a, torch.ones_like(a)) < 1e-4
    random = torch.rand(360, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    assert circular_correlation(a, random) < 0.15
    folded = torch.where(a < math.pi, a, -a)  # half of it turned, half mirrored
    assert circular_correlation(a, folded) < 0.55


def test_the_judge_of_arrows_knows_where_they_point() -> None:
    for size in (16, 64):
        data = load_arrows(image_size=size, n=50, split="test")
        batch = data.batch(torch.arange(50))
        for name, angles in (("a", data.angles_a), ("b", data.angles_b)):
            gap = arrow_angles(batch[name], outlined=name == "b") - angles
            assert torch.polar(torch.ones(50), gap).real.min() > math.cos(0.05)


def correlations(seed: int, steps: int, **settings: Any) -> list[float]:
    """Of the angles of unseen arrows and of their translations, A to B and B to A."""
    torch.manual_seed(seed)
    data = load_arrows(image_size=16)
    Gs = [discogan.Generator(1, 1, 16, width=16) for _ in "ab"]
    Ds = [discogan.Discriminator(1, 16, width=16) for _ in "ab"]
    step = DiscoGANStep(
        *Gs,
        *Ds,
        adam(*Gs, lr=2e-3),
        adam(*Ds, lr=2e-3),
        gan_weight=1.0,
        gan_curriculum=0,
        d_every=2,
        **settings,
    )
    order = torch.Generator().manual_seed(seed)
    Trainer(step, data, data.sampler(32, generator=order)).fit(steps=steps)
    test = load_arrows(image_size=16, n=200, split="test")
    batch, found = test.batch(torch.arange(200)), []
    for x, y, angles in (("a", "b", test.angles_a), ("b", "a", test.angles_b)):
        made = translate(step.networks[f"G_{x}{y}"], batch[x], seed=0)
        found.append(circular_correlation(angles, arrow_angles(made, outlined=y == "b")))
    return found


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


@pytest.mark.parametrize("seed", SEEDS)
def test_discogan_keeps_the_angle_of_an_arrow(seed: int) -> None:
    assert min(correlations(seed, 300, rate=0.9, feature_weight=1.0)) >= 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_a_gan_of_the_same_networks_does_not(seed: int) -> None:
    """From filled to outlined arrows; the way back, filling in, needs no more than its losses."""
    assert correlations(seed, 300, rate=0.0, feature_weight=0.0)[0] <= 0.5


class Recolor(nn.Module):
    """Adds to each pixel what three layers make of its color and the target."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3 + len(COLORS), width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 3, 1),
        )

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        planes = target[:, :, None, None].expand(-1, -1, *images.shape[2:])
        made: Tensor = images + self.main(torch.cat([images, planes], 1))
        return made


def check_shapes(G: nn.Module) -> None:
    """Each color becomes each other, and shapes stay where they are."""
    test = load_shapes(image_size=32, n=100, split="test")
    batch = test.batch(torch.arange(100))
    for number, name in enumerate(COLORS):
        target = torch.zeros(100, len(COLORS))
        target[:, number] = 1
        made = translate(G, batch["image"], seed=0, target=target)
        found = shape_masks(made)
        overlap = (found & test.masks).sum((1, 2)) / (found | test.masks).sum((1, 2)).clamp(min=1)
        right = shape_colors(made) == number
        for own in set(range(len(COLORS))) - {number}:
            members = batch["label"] == own
            pair = f"{[*COLORS][own]} to {name}"
            assert right[members].float().mean() >= 0.95, pair
            assert overlap[members].mean() >= 0.9, pair


def test_the_judge_of_shapes_knows_them() -> None:
    test = load_shapes(image_size=32, n=200, split="test")
    images = test.batch(torch.arange(200))["image"]
    assert torch.equal(shape_colors(images), test.labels)
    found = shape_masks(images)
    overlap = (found & test.masks).sum((1, 2)) / (found | test.masks).sum((1, 2))
    assert overlap.min() > 0.9
    assert (shape_colors(torch.zeros(1, 3, 8, 8)) == -1).all()

    class Unchanged(nn.Module):
        def forward(self, images: Tensor, target: Tensor) -> Tensor:
            return images

    with pytest.raises(AssertionError, match="green to red"):
        check_shapes(Unchanged())


@pytest.mark.parametrize("seed", SEEDS)
def test_stargan_gives_each_shape_each_color_and_leaves_the_rest(seed: int) -> None:
    torch.manual_seed(seed)
    data = load_shapes(image_size=32)
    G, D = Recolor(), stargan.Discriminator(len(COLORS), (3, 32, 32), width=8)
    optimizers = adam(G, lr=5e-3), adam(D, lr=3e-3)
    step = StarGANStep(G, D, *optimizers, data.class_names, exclusive=True, n_critic=1)
    order = torch.Generator().manual_seed(seed)
    schedulers = [LinearDecay(optimizer, 700) for optimizer in optimizers]
    Trainer(step, data, data.sampler(8, generator=order), schedulers=schedulers).fit(steps=700)
    check_shapes(G)
