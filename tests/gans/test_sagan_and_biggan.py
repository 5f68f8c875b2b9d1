"""SAGAN and BigGAN in training: spectral norms, resume, regularization, and from run to sample."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gankit
from gankit import recipes
from gankit.cli import main
from gankit.errors import ConfigError
from gankit.gans.biggan import BigGANStep, orthogonality
from gankit.models import biggan, sagan
from gankit.nn import power_iteration, spectral_layers
from gankit.runs.build import build_trainer
from gankit.training import GANStep, Trainer, gan_adam
from gankit.training.config import RunConfig
from gankit.training.pictures import generate

Z, CLASSES = 8, 3


def sagan_step(**settings: Any) -> GANStep:
    torch.manual_seed(0)
    G = sagan.Generator(CLASSES, Z, (1, 8, 8), width=8, bottom=2)
    D = sagan.Discriminator(CLASSES, (1, 8, 8), width=8, bottom=2)
    optimizers = gan_adam(G.parameters(), 1e-4), gan_adam(D.parameters(), 1e-4)
    return GANStep(G, D, *optimizers, loss="hinge", **settings)


def batch(seed: int, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 8, 8, generator=generator) * 2 - 1, torch.arange(n) % CLASSES


def vectors(network: nn.Module) -> list[torch.Tensor]:
    return [x.clone() for layer in spectral_layers(network) for x in (layer.u, layer.v)]


def equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_vectors_move_once_in_each_update_and_at_no_other_time() -> None:
    step = sagan_step(accumulate=2, n_critic=2, ema=0.9)
    average = step.averages["G"]
    G, D = copy.deepcopy(step.G), copy.deepcopy(step.D)
    step.dry_run(*batch(0))
    generate(average, 3, seed=0)
    assert equal(vectors(step.G) + vectors(step.D), vectors(G) + vectors(D))
    step(*batch(0))  # D alone learns
    assert equal(vectors(step.G), vectors(G))
    D.load_state_dict({**step.D.state_dict(), **_buffers(D)})
    power_iteration(spectral_layers(D))
    assert equal(vectors(step.D), vectors(D))
    before = vectors(average)
    step(*batch(1))  # both do
    for ours, theirs in ((step.G, G), (step.D, D)):
        theirs.load_state_dict({**ours.state_dict(), **_buffers(theirs)})
        power_iteration(spectral_layers(theirs))
        assert equal(vectors(ours), vectors(theirs))
    assert not equal(vectors(average), before)
    assert not equal(vectors(average), vectors(step.G))


def _buffers(network: nn.Module) -> dict[str, torch.Tensor]:
    """Those of spectral norms, by name."""
    names = [name for name in network.state_dict() if name.rpartition(".")[2] in ("u", "v")]
    return {name: network.state_dict()[name].clone() for name in names}


@pytest.mark.parametrize("seed", range(2))
def test_sigma_is_within_five_percent_of_the_singular_value(seed: int) -> None:
    step = sagan_step(ema=0.9)
    torch.manual_seed(seed)
    for number in range(40):
        step(*batch(number))
    layers = spectral_layers(step.G, step.D, step.averages["G"])
    assert len(layers) > 30
    for layer in layers:
        largest = torch.linalg.svdvals(layer.normalized().detach().flatten(1))[0]
        assert float(largest) == pytest.approx(1.0, abs=0.05)


def small(name: str, **changes: Any) -> RunConfig:
    config = recipes.get(name).config
    init: dict[str, Any] = {"width": 1}
    if "biggan" in str(config.generator):
        init |= {"embedding": 4}
    widths = {"class_path": config.generator, "init_args": init}
    D = {"class_path": config.discriminator, "init_args": {"width": 1}}
    settings = {"batch_size": 4, "image_size": 32, "z_dim": 8, "ema": 0.9, "device": "cpu"}
    return config.updated(**{"generator": widths, "discriminator": D, **settings, **changes})


def states(trainer: Trainer) -> dict[str, Any]:
    state = trainer.gan_step.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("name", ["sagan", "biggan", "biggan-deep"])
def test_a_resumed_run_is_the_uninterrupted_one(name: str) -> None:
    config = small(name, accumulate=2)
    straight = build_trainer(config)
    straight.fit(steps=4)
    first = build_trainer(config)
    first.fit(steps=3)
    state = copy.deepcopy(first.state_dict())
    second = build_trainer(config.updated(seed=1))
    second.load_state_dict(state)
    second.fit(steps=4)
    ours, theirs = states(second), states(straight)
    assert ours.keys() == theirs.keys()
    assert any(key.endswith(".u") for key in ours)
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert straight.gan_step.paired


def test_orthogonality_is_the_sum_of_squared_products_of_rows() -> None:
    torch.manual_seed(1)
    weights = [torch.randn(3, 2, 2, 2).double(), torch.randn(4, 3).double()]
    expected = sum(
        float((w[i] * w[j]).sum() ** 2)
        for w in weights
        for i in range(len(w))
        for j in range(len(w))
        if i != j
    )
    assert float(orthogonality(weights)) == pytest.approx(expected, rel=1e-12)
    assert float(orthogonality([torch.eye(3) * 5])) == 0.0
    # In single precision too nearly orthogonal rows have a sum above 0, however long they are.
    rows = nn.init.orthogonal_(torch.empty(64, 128))
    assert 0 < float(orthogonality([rows])) < 1e-9


def biggan_step(**settings: Any) -> BigGANStep:
    torch.manual_seed(0)
    G = biggan.Generator(CLASSES, Z, (1, 32, 32), width=1, embedding=4, init="xavier")
    D = biggan.Discriminator(CLASSES, (1, 32, 32), width=1)
    optimizers = gan_adam(G.parameters(), 5e-3), gan_adam(D.parameters(), 1e-3)
    return BigGANStep(G, D, *optimizers, loss="hinge", **settings)


def test_the_regularization_makes_rows_orthogonal() -> None:
    found = []
    for weight in (0.0, 1.0):
        step = biggan_step(orthogonal=weight)
        torch.manual_seed(0)
        for number in range(8):
            images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(number))
            out = step(images * 2 - 1, torch.arange(4) % CLASSES)
        assert ("orthogonality" in out) is (weight > 0)
        found.append(float(orthogonality(step._weights).detach()))
    assert found[1] < 0.8 * found[0], found
    with pytest.raises(ConfigError, match="orthogonal is -1"):
        biggan_step(orthogonal=-1)


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((8, 32, 32, 1), np.uint8))
    for name in ("sagan", "biggan"):
        with pytest.raises(ConfigError, match=r"has no labels, and the generator .* needs them"):
            build_trainer(small(name, data=f"npz:{tmp_path / 'a.npz'}"))


def test_from_run_to_sample_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train = ["train", "biggan-digits", "--steps", "4", "--batch-size", "8", "--z-dim", "8"]
    tiny = ["generator.width=1", "generator.embedding=4", "discriminator.width=1"]
    sets = [part for each in (*tiny, "grid_rows=2") for part in ("--set", each)]
    assert main([*train, *sets, "--out", "run", "--quiet", "--device", "cpu"]) == 0
    images = {}
    for name, more in {
        "plain": [],
        "standing": ["--standing-stats", "40"],
        "both": ["--standing-stats", "40", "--truncation", "0.5"],
    }.items():
        sample = ["sample", "run", "--n", "6", "--label", "7", "--out", f"{name}.npz"]
        assert main([*sample, *more]) == 0
        with np.load(f"{name}.npz") as file:
            assert file["labels"].tolist() == [7] * 6
            images[name] = file["images"]
    assert not np.array_equal(images["plain"], images["standing"])
    assert (
        images["both"].astype(float).std(0).mean() < images["standing"].astype(float).std(0).mean()
    )
    assert main(["export", "run", "--format", "torch-export"]) == 0
    loaded = torch.export.load("run/generator.pt2").module()
    z = torch.randn(3, 8)
    expected = gankit.load("run")(z, torch.tensor([1, 2, 3]))
    torch.testing.assert_close(loaded(z, torch.tensor([1, 2, 3])), expected, rtol=1e-4, atol=1e-4)
    assert main(["sample", "run", "--standing-stats", "4", "--walk", "1", "2"]) != 0
    assert "--standing-stats is for samples" in capfd.readouterr().err
