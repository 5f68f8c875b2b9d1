"""What growing is for: as good in the same time as networks of the last size from the beginning."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gankit.data import BatchSampler, ImageData, load
from gankit.gans.progan import ProGANStep
from gankit.losses import gradient_penalty
from gankit.metrics.small_features import small_features
from gankit.models.progan import Discriminator, Generator
from gankit.training import Trainer, gan_adam
from gankit.training.pictures import generate, to_bytes
from tests.recipes.test_small_data import frechet_distance

SIZE, BATCH = 32, 16
# Most images at 8x8, where they cost a third of those at 32x32.
GROWING = {"stable_images": [800, 6400, 800, 0], "fade_images": [800, 1600, 1600]}
WHOLE = {"stable_images": 0, "fade_images": 0, "initial_resolution": SIZE}
# Steps of the same processor time, as it was measured: fewer where each is of the last size.
STEPS = {"growing": 1300, "whole": 900}


def trained(seed: int, data: ImageData, steps: int, schedule: dict[str, Any]) -> ProGANStep:
    torch.manual_seed(seed)
    G, D = Generator(32, (1, SIZE, SIZE), 32, 16), Discriminator((1, SIZE, SIZE), 32, 16)
    optimizers = (gan_adam(n.parameters(), 2e-3, (0.0, 0.99)) for n in (G, D))
    penalty = partial(gradient_penalty, weight=10.0)
    step = ProGANStep(G, D, *optimizers, penalty=penalty, ema=0.99, **schedule)
    order = torch.Generator().manual_seed(seed)
    Trainer(step, data, BatchSampler(len(data), BATCH, generator=order)).fit(steps=steps)
    return step


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_growing_networks_are_as_near_to_the_digits_in_the_same_time(
    seed: int, tmp_path: Path
) -> None:
    data = load("digits", split="all", image_size=SIZE)
    assert isinstance(data, ImageData)
    features = small_features(data, cache=tmp_path)

    def moments(images: Tensor) -> tuple[Tensor, Tensor]:
        found = features(images.split(200)).features.double()
        return found.mean(0), torch.cov(found.T)

    expected = moments(data.images)
    distances = {}
    for way, schedule in (("growing", GROWING), ("whole", WHOLE)):
        step = trained(seed, data, STEPS[way], schedule)
        assert (step.resolution, step.alpha) == (SIZE, 1.0)
        made = to_bytes(generate(step.sampled, 2000, seed=1))
        distances[way] = frechet_distance(moments(made), expected)
        print(f"seed {seed}, {way}: {STEPS[way]} steps, distance {distances[way]:.3f}", flush=True)
    assert distances["growing"] <= 1.15 * distances["whole"], distances
