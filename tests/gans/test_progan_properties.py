"""What growing is for: as good in the same time as networks of the last size from the beginning."""

from __future__ import annotations

import time
from functools import partial

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

SIZE, BATCH, PHASE = 32, 16, 3200
STEPS = 8 * PHASE // BATCH  # six until the last level stands alone, and two more


def made(seed: int, initial_resolution: int) -> ProGANStep:
    torch.manual_seed(seed)
    G = Generator(32, (1, SIZE, SIZE), 32, 16)
    D = Discriminator((1, SIZE, SIZE), 32, 16)
    optimizers = (gan_adam(n.parameters(), 2e-3, (0.0, 0.99)) for n in (G, D))
    return ProGANStep(
        G,
        D,
        *optimizers,
        stable_images=PHASE,
        fade_images=PHASE,
        initial_resolution=initial_resolution,
        penalty=partial(gradient_penalty, weight=10.0),
        ema=0.99,
    )


def seconds_of(trainer: Trainer, steps: int) -> float:
    """The processor time of training up to ``steps``, of all threads."""
    start = time.process_time()
    trainer.fit(steps=steps)
    return time.process_time() - start


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_growing_networks_are_as_near_to_the_digits_in_the_same_time(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = load("digits", split="all", image_size=SIZE)
    assert isinstance(data, ImageData)
    cache = tmp_path_factory.getbasetemp() / "features"
    cache.mkdir(exist_ok=True)
    features = small_features(data, cache=cache)

    def moments(images: Tensor) -> tuple[Tensor, Tensor]:
        found = features(images.split(200)).features.double()
        return found.mean(0), torch.cov(found.T)

    expected = moments(data.images)
    distances = {}
    seconds = 0.0
    for way, first in (("growing", 4), ("whole", SIZE)):
        step = made(seed, first)
        order = torch.Generator().manual_seed(seed)
        trainer = Trainer(step, data, BatchSampler(len(data), BATCH, generator=order))
        if way == "growing":
            seconds = seconds_of(trainer, STEPS)
        else:
            used = 0.0
            while used < seconds:
                used += seconds_of(trainer, trainer.step + 10)
        distances[way] = frechet_distance(
            moments(to_bytes(generate(step.sampled, 2000, seed=1))), expected
        )
        print(f"seed {seed}, {way}: {trainer.step} steps, distance {distances[way]:.3f}")
    assert distances["growing"] <= distances["whole"], distances
