"""Random horizontal flips of the real images: the setting ``flip`` and what sets make of it."""

from __future__ import annotations

import pytest
import torch

from gankit.data import BatchSampler, FieldData, ImageData, PairData, UnpairedData, load
from gankit.errors import ConfigError, DataError
from gankit.runs.build import load_data
from gankit.training import GANStep, Trainer, gan_adam
from gankit.training.config import RunConfig
from tests.training.nets import small_discriminator, small_generator, small_images


def some(n: int = 64, channels: int = 3, seed: int = 0) -> ImageData:
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, channels, 4, 5), generator=random, dtype=torch.uint8)
    return ImageData(images, torch.arange(n))


def test_every_second_image_is_mirrored_and_labels_stay() -> None:
    data = some()
    order = torch.arange(len(data))
    torch.manual_seed(0)
    batch = data.flipped().batch(order)
    plain = data.gather(order)
    mirrored = (batch["image"] == plain.flip(3)).flatten(1).all(1)
    assert torch.equal(batch["image"][~mirrored], plain[~mirrored])
    assert 20 <= int(mirrored.sum()) <= 44
    assert torch.equal(batch["label"], order)
    again = data.flipped().batch(order)["image"]
    assert not torch.equal(again, batch["image"])
    assert torch.equal(data.flipped().gather(order), plain)
    assert torch.equal(data.flipped().flipped(False).batch(order)["image"], plain)
    assert data.flipped().resize(8).to("cpu").flip


def test_a_pair_is_mirrored_as_one_and_domains_by_themselves() -> None:
    a, order = some(), torch.arange(64)
    pairs = PairData(a, a).flipped().batch(order)
    assert torch.equal(pairs["a"], pairs["b"])
    assert not torch.equal(pairs["a"], a.gather(order))
    torch.manual_seed(0)
    domains = UnpairedData(a, a).flipped().batch(order)
    assert not torch.equal(domains["a"], domains["b"])
    assert torch.equal(PairData(a, a, flip=True).flipped(False).batch(order)["a"], a.gather(order))


def test_the_setting_reaches_every_image_set() -> None:
    flips = {}
    for flip in (None, True, False):
        for name in ("digits", "toy:edges", "toy:discs"):
            data = load_data(RunConfig(data=name, image_size=16, flip=flip))
            assert isinstance(data, FieldData)
            flips[flip, name] = data.flip  # type: ignore[attr-defined]
    assert flips == {(f, n): bool(f) for f, n in flips}


@pytest.mark.parametrize("name", ["toy:ring", "toy:normal"])
def test_points_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"toy:\w+ are points, which cannot be flipped"):
        load_data(RunConfig(data=name, flip=True))
    assert len(load_data(RunConfig(data=name, flip=False))) == len(load(name))


def test_a_set_of_ones_own_without_flips_is_refused() -> None:
    config = RunConfig(data="tests.data.test_flips.Bare", flip=True)
    with pytest.raises(DataError, match=r"flip is true, but bare \(Bare\) has no method flipped"):
        load_data(config)


class Bare:
    """A set as anyone may write it."""

    name, device, fields = "bare", torch.device("cpu"), {"image": (1, 6, 6)}

    def __len__(self) -> int:
        return 4

    def batch(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"image": torch.zeros(len(indices), 1, 6, 6)}

    def to(self, device: object) -> Bare:
        return self

    def sampler(self, batch_size: int, **settings: object) -> BatchSampler:
        return BatchSampler(4, batch_size)


def test_other_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="flip is 'sometimes'; allowed are null, true and false"):
        RunConfig(flip="sometimes")  # type: ignore[arg-type]


def test_a_resumed_run_flips_the_same_images() -> None:
    def make() -> Trainer:
        torch.manual_seed(0)
        G, D = small_generator(), small_discriminator()
        step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()))
        sampler = BatchSampler(12, 4, generator=torch.Generator().manual_seed(0))
        return Trainer(step, small_images(12).flipped(), sampler)

    straight = make()
    straight.fit(steps=6)
    halves = make()
    halves.fit(steps=3)
    state = halves.state_dict()
    torch.manual_seed(99)
    resumed = make()
    resumed.load_state_dict(state)
    resumed.fit(steps=6)
    ends = [list(trainer.gan_step.parameters()) for trainer in (straight, resumed)]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
