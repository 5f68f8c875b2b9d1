"""What a step and a Trainer may be given: other types, dtypes and ranges of images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gankit.data import Batch, BatchSampler
from gankit.errors import ConfigError, DataError, GankitWarning
from gankit.gans.autoencoder import AutoencoderStep
from gankit.models import mlp
from gankit.models.autoencoder import Encoder
from gankit.training import (
    Checkpoint,
    Diagnostics,
    GANStep,
    SampleGrid,
    Trainer,
    gan_adam,
    load_checkpoint,
)
from tests.training.nets import SHAPE, Z_DIM, small_discriminator, small_generator, small_images


def make_step(dtype: torch.dtype = torch.float32, G: nn.Module | None = None, **k: Any) -> GANStep:
    torch.manual_seed(0)
    G = (G or small_generator()).to(dtype)
    D = small_discriminator(output="logit").to(dtype)
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **k)


def make_autoencoder(dtype: torch.dtype) -> AutoencoderStep:
    torch.manual_seed(0)
    G = small_generator().to(dtype)
    D = Encoder(Z_DIM, SHAPE, hidden=(8,), variational=True).to(dtype)
    return AutoencoderStep(G, D, gan_adam([*G.parameters(), *D.parameters()]), "elbo")


@pytest.mark.parametrize("given", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [make_step, make_autoencoder])
def test_images_of_another_dtype_are_named(
    make: Callable[[torch.dtype], GANStep | AutoencoderStep], given: torch.dtype
) -> None:
    step = make(torch.float32)
    network = step.inference()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for call in (step, step.dry_run):
        with pytest.raises(ConfigError, match=f"is {given}, but D is torch.float32; .*to"):
            call(torch.zeros(4, *SHAPE, dtype=given))
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_halves_are_at_home_under_autocast() -> None:
    step = make_step(precision="bf16")
    scalars = step((torch.rand(4, *SHAPE) * 2 - 1).bfloat16())
    assert all(bool(value.isfinite()) for value in scalars.values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("make", [make_step, make_autoencoder])
def test_a_set_of_images_follows_the_networks(
    make: Callable[[torch.dtype], GANStep | AutoencoderStep], dtype: torch.dtype, tmp_path: Path
) -> None:
    def run(callbacks: Any = ()) -> Trainer:
        images = small_images(20)
        sampler = BatchSampler(20, 4, generator=torch.Generator().manual_seed(0))
        return Trainer(make(dtype), images, sampler, log_every=1, callbacks=callbacks)

    grid = SampleGrid(tmp_path, rows=2, columns=2)
    trainer = run([grid, Checkpoint(tmp_path / "c.pt"), Diagnostics(every=1, after=1)])
    trainer.fit(steps=3)
    assert all(p.dtype == dtype for p in trainer.gan_step.trainable)
    again = run([grid, Checkpoint(tmp_path / "c.pt"), Diagnostics(every=1, after=1)])
    again.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    assert again.step == 3


def test_a_batch_by_indices_follows_the_networks() -> None:
    images, indices = small_images(8), torch.arange(4)
    by_indices, by_images = make_step(torch.float64), make_step(torch.float64)
    torch.manual_seed(1)
    first = by_indices(Batch(images, indices))
    torch.manual_seed(1)
    second = by_images(images.gather(indices).double())
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([torch.zeros(1, 6, 6)], "data is a list; .*Dataset or DataLoader.*from_tensor makes"),
        (torch.zeros(20, 1, 6, 6).numpy(), "from_tensor makes a set of a tensor"),
        (None, "data is a NoneType"),
    ],
)
def test_what_is_no_data_set_is_named(data: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Trainer(make_step(), data, BatchSampler(20, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_a_tensor_is_a_set_of_images(dtype: torch.dtype) -> None:
    images = small_images(20)
    tensor = images.images if dtype == torch.uint8 else images.normalized().to(dtype)
    results = []
    for data in (images, tensor):
        sampler = BatchSampler(20, 4, generator=torch.Generator().manual_seed(0))
        trainer = Trainer(make_step(), data, sampler)
        torch.manual_seed(2)
        trainer.fit(steps=2)
        results.append([p.detach() for p in trainer.gan_step.G.parameters()])
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_a_tensor_that_is_no_set_of_images_is_named() -> None:
    with pytest.raises(DataError, match=r"shape \[N, C, H, W\], got \[20, 36\]"):
        Trainer(make_step(), torch.zeros(20, 36), BatchSampler(20, 4))
    with pytest.raises(DataError, match=r"must lie in \[-1, 1\], got \[0, 255\]"):
        Trainer(make_step(), torch.arange(256.0).view(1, 1, 16, 16), BatchSampler(1, 1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"gan_step": small_generator()}, "gan_step is a Generator"),
        ({"sampler": 4}, r"sampler is a builtins.int; .*BatchSampler\(len\(data\), batch_size\)"),
        (
            {"sampler": DataLoader(TensorDataset(torch.zeros(20, 1, 6, 6)), 4)},
            "DataLoader; allowed",
        ),
        ({"sampler": BatchSampler(21, 4)}, "sampler is of 21 images, but data has 20"),
        ({"callbacks": [Diagnostics]}, "callbacks holds the class Diagnostics; allowed are inst"),
        ({"callbacks": [print]}, "callbacks holds <built-in"),
    ],
)
def test_other_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    given = {"gan_step": make_step(), "data": small_images(20), "sampler": BatchSampler(20, 4)}
    with pytest.raises(ConfigError, match=words):
        Trainer(**{**given, **arguments})


class Own(nn.Module):
    """A generator whose code, not a layer, bounds its images."""

    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.z_dim = Z_DIM
        self.layer, self.last = nn.Linear(Z_DIM, 36), last

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.layer(z)).view(-1, *SHAPE)


def fine(low: float, high: float) -> Tensor:
    return torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0)) * (high - low) + low


@pytest.mark.parametrize(
    ("last", "real", "words"),
    [
        (torch.tanh, fine(0, 255), r"G ends in tanh .*\[-1, 1\].*x / 127.5 - 1"),
        (torch.tanh, fine(0, 1), r"lie in \[0.\d+, 0.\d+\], .*x \* 2 - 1"),
        (lambda x: x.tanh().reshape(-1, 2, 18), fine(-2, 2), r"scale them to \[-1, 1\]$"),
        (torch.sigmoid, fine(-1, 1), r"a sigmoid .*scale them to \[0, 1\]$"),
        (None, fine(0, 1), "G ends in tanh"),
        (torch.tanh, fine(-1, 1), ""),
        (torch.sigmoid, fine(0, 1), ""),
        (lambda x: (x.tanh() + 1) / 2, fine(0, 1), ""),
        (lambda x: x, fine(0, 255), ""),
        (torch.tanh, torch.full((1, 1, 1, 1), 0.2).expand(1, 1, 6, 6), ""),
        (None, fine(-1, 1), ""),
    ],
)
def test_a_range_that_is_not_gs_is_said_once(last: Any, real: Tensor, words: str) -> None:
    G = small_generator() if last is None else Own(last)
    step = make_step(G=G, n_critic=2)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        step.dry_run(real)
        for _ in range(4):
            step(real)
    assert len(seen) == bool(words)
    if words:
        with pytest.warns(GankitWarning, match=words) as caught:
            make_step(G=G)(real)
        assert caught[0].filename == __file__


def test_the_look_at_the_range_changes_nothing() -> None:
    results = []
    for looked in (False, True):
        torch.manual_seed(0)
        step = make_step(G=Own(torch.tanh))
        step._range_seen = looked
        torch.manual_seed(3)
        scalars = step(fine(-1, 1))
        results.append([*scalars.values(), *(p.detach() for p in step.G.parameters())])
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


@pytest.mark.parametrize("output", ["critic", "wrapped"])
def test_a_step_can_be_read(output: str) -> None:
    step = make_step(n_critic=2) if output == "critic" else make_autoencoder(torch.float32)
    text = repr(step)
    first = "decoder" if isinstance(step, AutoencoderStep) else "G"
    assert text.startswith(f"{type(step).__name__}({first}=Generator, ")
    assert "calls=0" in text
    assert all(note in text for note in step.notes)
    assert repr(mlp) not in text
