"""N + N steps are 2N steps, bit for bit, for every kind of state that a step has."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.data import BatchSampler, ImageData
from gankit.losses import gradient_penalty
from gankit.models import dcgan
from gankit.training import (
    Callback,
    Checkpoint,
    GANStep,
    MetricsCSV,
    Trainer,
    gan_adam,
    load_checkpoint,
    noise_for,
)
from gankit.training.environment import differences, environment
from tests.training.nets import small_discriminator, small_generator, small_images
from tests.training.test_trainer import everything, metrics_of

N = 7


def networks(kind: str) -> tuple[nn.Module, nn.Module, ImageData, dict[str, Any]]:
    if kind == "dcgan":
        values = torch.randint(0, 256, (12, 1, 28, 28), generator=torch.Generator().manual_seed(3))
        G, D = dcgan.Generator(6, width=4), dcgan.Discriminator(width=4)
        return G, D, ImageData(values.to(torch.uint8)), {"ema": 0.9}
    if kind == "wgan-gp":
        penalty = partial(gradient_penalty, weight=10)
        settings = {"loss": "wasserstein", "penalty": penalty, "penalty_every": 3, "n_critic": 2}
        return small_generator(), small_discriminator(0.0, "logit"), small_images(12), settings
    if kind == "wgan":
        settings = {"loss": "wasserstein", "clip_weights": 0.01, "n_critic": 5}
        return small_generator(), small_discriminator(0.0, "logit"), small_images(12), settings
    return small_generator(), small_discriminator(), small_images(12), {}


def make(kind: str, *callbacks: Callback) -> Trainer:
    torch.manual_seed(0)
    G, D, images, settings = networks(kind)
    if kind == "own noise":
        settings["noise"] = noise_for(G, random=torch.Generator().manual_seed(11))
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)
    sampler = BatchSampler(len(images), 4, generator=torch.Generator().manual_seed(0))
    return Trainer(step, images, sampler, callbacks=callbacks, log_every=4)


def state_of(trainer: Trainer) -> list[Tensor]:
    average = trainer.gan_step.ema
    return everything(trainer) + ([] if average is None else list(average.state_dict().values()))


@pytest.mark.parametrize("kind", ["gan", "own noise", "dcgan", "wgan", "wgan-gp"])
def test_n_and_n_are_2n(kind: str, tmp_path: Path) -> None:
    def callbacks(folder: Path) -> tuple[Callback, ...]:
        folder.mkdir(exist_ok=True)
        return MetricsCSV(folder / "metrics.csv"), Checkpoint(folder / "c.pt", every=N)

    straight = make(kind, *callbacks(tmp_path / "straight"))
    straight.fit(steps=2 * N)
    make(kind, *callbacks(tmp_path / "halves")).fit(steps=N)
    # The row of the last step is one that the straight run does not have.
    rows = (tmp_path / "halves" / "metrics.csv").read_text().splitlines()
    (tmp_path / "halves" / "metrics.csv").write_text("\n".join(rows[:-1]) + "\n")
    torch.manual_seed(999)
    resumed = make(kind, *callbacks(tmp_path / "halves"))
    resumed.load_state_dict(load_checkpoint(tmp_path / "halves" / "c.pt"))
    assert resumed.differences == ()
    resumed.fit(steps=2 * N)
    for a, b in zip(state_of(straight), state_of(resumed), strict=True):
        assert torch.equal(a, b)
    half, whole = metrics_of(tmp_path / "halves"), metrics_of(tmp_path / "straight")
    assert [row[0] for row in half] == [row[0] for row in whole] == ["step", "4", "8", "12", "14"]
    # The log at step 8 follows one at 7, so it is a mean over fewer steps.
    assert half[:2] + half[3:] == whole[:2] + whole[3:]


def test_what_differs_is_said_with_what_it_means(tmp_path: Path) -> None:
    trainer = make("gan", Checkpoint(tmp_path / "c.pt"))
    trainer.config = {"run": {"lr": 0.1, "steps": 2, "data": "digits"}}
    trainer.fit(steps=2)
    state = load_checkpoint(tmp_path / "c.pt")
    assert state["environment"]["device"] == "cpu"
    state["environment"].update(threads=64, device="cuda (NVIDIA H100)", torch="2.11.0")
    again = make("gan")
    again.config = {"run": {"lr": 0.2, "steps": 9, "data": "digits"}}
    again.load_state_dict(state)
    setting, device, threads, version = again.differences
    assert setting.startswith("The setting lr was 0.1 and is 0.2 from here on")
    assert device.startswith("The run was on cuda (NVIDIA H100) and goes on on cpu: random numbers")
    here = torch.get_num_threads()
    assert threads.startswith(f"The run was with 64 threads and goes on with {here} thread")
    assert version.startswith("The run was with torch 2.11.0 and goes on with torch ")


def test_the_callbacks_state_comes_back(tmp_path: Path) -> None:
    class Counter(Callback):
        def __init__(self) -> None:
            self.n = 0

        def on_step(self, trainer: Trainer) -> None:
            self.n += 1

        def state_dict(self) -> dict[str, Any]:
            return {"n": self.n}

        def load_state_dict(self, state: Any) -> None:
            self.n = state.get("n", 0)

    counter = Counter()
    make("gan", counter, Checkpoint(tmp_path / "c.pt")).fit(steps=3)
    again = make("gan", Counter())
    again.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    assert again.callbacks[0].n == counter.n == 3  # type: ignore[attr-defined]


def test_one_is_not_many() -> None:
    here = environment("cpu") | {"threads": 1, "processes": 1}
    said = differences(here | {"threads": 2, "processes": 2}, here)
    assert said[0].startswith("The run was with 2 threads and goes on with 1 thread: ")
    assert said[1].startswith("The run was in 2 processes and goes on in 1 process: ")
