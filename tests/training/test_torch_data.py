"""Trainer on torch's own data: a Dataset through gankit's sampler, a DataLoader in its order."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from gankit.data import BatchSampler, FieldData, ImageData
from gankit.data.torch_data import LoaderData, MapData
from gankit.errors import ConfigError, DataError, GankitWarning
from gankit.gans.autoencoder import AutoencoderStep
from gankit.models.autoencoder import Encoder
from gankit.training import GANStep, SampleGrid, Step, Trainer, gan_adam
from gankit.training.callbacks import MetricsCSV
from tests.training.nets import SHAPE, Z_DIM, small_discriminator, small_generator, small_images
from tests.training.test_step_options import ConditionalDiscriminator, ConditionalGenerator

N = 20
LABELS = torch.arange(N) % 3


def step_of(conditional: bool = False, **settings: Any) -> GANStep:
    torch.manual_seed(0)
    G = ConditionalGenerator() if conditional else small_generator()
    D = ConditionalDiscriminator() if conditional else small_discriminator(output="logit")
    optimizers = gan_adam(G.parameters()), gan_adam(D.parameters())
    return GANStep(G, D, *optimizers, conditional=conditional, **settings)


def sampler(batch: int = 4) -> BatchSampler:
    return BatchSampler(N, batch, generator=torch.Generator().manual_seed(0))


def weights(trainer: Trainer) -> list[Tensor]:
    return [p.detach() for p in trainer.gan_step.parameters()]


class Samples(Dataset[Any]):
    """Images as someone's transform leaves them, in the form asked for, flipped at random."""

    def __init__(self, form: str, flip: bool = False) -> None:
        self.images, self.form, self.flip = small_images(N), form, flip

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        image, label = self.images.gather(torch.tensor([index]))[0], int(LABELS[index])
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return {
            "tensor": image,
            "pair": (image, label),
            "array": (image.numpy(), np.int32(label)),
            "bytes": (self.images.images[index], label),
            "dict": {"label": label, "image": image, "path": torch.zeros(2)},
            "more": (image, label, "a name"),
        }[self.form]


@pytest.mark.parametrize("form", ["tensor", "pair", "array", "bytes", "dict", "more"])
@pytest.mark.parametrize("conditional", [False, True])
def test_a_dataset_trains_as_the_set_of_its_images(form: str, conditional: bool) -> None:
    if form == "tensor" and conditional:
        with pytest.raises(DataError, match="Samples has no labels; a conditional run needs them"):
            Trainer(step_of(True), Samples(form), sampler())
        return
    results = []
    for data in (ImageData(small_images(N).images, LABELS), Samples(form)):
        trainer = Trainer(step_of(conditional), data, sampler())
        torch.manual_seed(2)
        trainer.fit(steps=7)
        results.append(weights(trainer))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_tensor_datasets_are_datasets() -> None:
    data = TensorDataset(small_images(N).normalized(), LABELS)
    trainer = Trainer(step_of(True), data, sampler())
    trainer.fit(epochs=1)
    assert trainer.step == 5
    assert isinstance(trainer.data, FieldData)
    assert trainer.data.fields == {"image": SHAPE, "label": ()}


def test_a_run_on_a_dataset_resumes_exactly() -> None:
    def run(steps: int, before: Any = None) -> Trainer:
        trainer = Trainer(step_of(), Samples("pair", flip=True), sampler())
        torch.manual_seed(3)
        if before is not None:
            trainer.load_state_dict(before)
        trainer.fit(steps=steps)
        return trainer

    straight, resumed = run(9), run(9, copy.deepcopy(run(4).state_dict()))
    assert all(torch.equal(x, y) for x, y in zip(weights(straight), weights(resumed), strict=True))


def loader(**settings: Any) -> DataLoader[Any]:
    return DataLoader(Samples("pair"), batch_size=6, **settings)


def test_a_loader_trains_in_its_own_order(tmp_path: Path) -> None:
    callbacks = [SampleGrid(tmp_path, rows=2, columns=2), MetricsCSV(tmp_path / "m.csv")]
    with pytest.warns(GankitWarning, match="a resumed run sees other batches than one that") as got:
        trainer = Trainer(step_of(), loader(), callbacks=callbacks, log_every=2)
    assert got[0].filename == __file__
    assert trainer.steps_per_epoch == 3  # the last two of 20 images are left out
    torch.manual_seed(2)
    trainer.fit(epochs=2)
    assert trainer.step == 6
    assert len(list(tmp_path.glob("*.png"))) > 0
    step, images = step_of(), small_images(N).normalized()
    torch.manual_seed(2)
    for _ in range(2):
        torch.empty((), dtype=torch.int64).random_()  # a loader's seed for its workers
        for first in (0, 6, 12):
            step(images[first : first + 6])
    for mine, theirs in zip(weights(trainer), step.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_loader_goes_on_with_a_new_epoch() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GankitWarning)
        trainer = Trainer(step_of(True), loader(shuffle=True))
        trainer.fit(steps=4)
        again = Trainer(step_of(True), loader(shuffle=True))
    again.load_state_dict(copy.deepcopy(trainer.state_dict()))
    assert again.step == 4
    again.fit(steps=8)
    assert again.sampler.state_dict() == {"batches": 8}


class Stream(IterableDataset[Tensor]):
    def __init__(self, sizes: int | None, n: int = N) -> None:
        self.n = n
        if sizes is not None:
            self.__class__ = type("Sized", (Stream,), {"__len__": lambda _: sizes})

    def __iter__(self) -> Iterator[Tensor]:
        yield from small_images(max(self.n, 1)).normalized()[: self.n]


@pytest.mark.filterwarnings("ignore::gankit.errors.GankitWarning")
def test_a_stream_trains_where_it_has_a_length() -> None:
    trainer = Trainer(step_of(), DataLoader(Stream(N), batch_size=5))
    trainer.fit(epochs=1)
    assert trainer.step == 4
    with pytest.raises(DataError, match="DataLoader of Stream has no length"):
        Trainer(step_of(), DataLoader(Stream(None), batch_size=5))
    with pytest.raises(DataError, match="gives no batch"):
        Trainer(step_of(), DataLoader(Stream(4, n=0), batch_size=2))


class Bad(Dataset[Any]):
    def __init__(self, sample: Any, n: int = 4) -> None:
        self.sample, self.n = sample, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        return self.sample


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Bad(object()), "Bad: its samples do not make a batch: default_collate"),
        (Bad("a name"), "Bad: image is a str in a batch; expected tensors"),
        (Bad(torch.zeros(1), 0), "Bad is empty; expected a map-style Dataset"),
        (Stream(None), "Stream has no length; expected a map-style Dataset"),
        (Bad({"picture": torch.zeros(1, 6, 6)}), "Bad has the fields picture, not image"),
    ],
)
def test_samples_that_make_no_batch_are_named(data: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Trainer(step_of(), data, BatchSampler(4, 2))


@pytest.mark.filterwarnings("ignore::gankit.errors.GankitWarning")
def test_a_sampler_is_for_indices_alone() -> None:
    with pytest.raises(ConfigError, match="sampler is a BatchSampler, but data is a DataLoader"):
        Trainer(step_of(), loader(), sampler())
    with pytest.raises(ConfigError, match="sampler is None; allowed"):
        Trainer(step_of(), Samples("pair"))


def test_a_look_at_the_data_draws_no_random_number() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    LoaderData(loader(shuffle=True), ("image",))
    data = MapData(Samples("tensor", flip=True), ("image",))
    assert torch.equal(before, torch.get_rng_state())
    assert data.to("meta").batch(torch.arange(2))["image"].device.type == "meta"


def test_another_family_reads_the_same_data() -> None:
    torch.manual_seed(0)
    decoder, encoder = small_generator(), Encoder(Z_DIM, SHAPE, hidden=(8,))
    both = gan_adam([*decoder.parameters(), *encoder.parameters()])
    step: Step = AutoencoderStep(decoder, encoder, both)
    trainer = Trainer(step, Samples("pair"), sampler())
    trainer.fit(steps=2)
    assert trainer.step == 2
