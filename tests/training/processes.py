"""What each process of test_distributed.py runs: ``python -m tests.training.processes OUT``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gankit.data import BatchSampler, ImageData
from gankit.gans.began import BEGANStep
from gankit.losses import gradient_penalty
from gankit.models import autoencoder, dcgan
from gankit.training import Callback, GANStep, Metrics, Trainer, gan_adam, noise_for
from gankit.training.distributed import (
    ShareOfBatches,
    ShareOfNoise,
    average_gradients,
    broadcast_state,
    joined,
    synchronise_batch_norm,
    world,
)
from tests.training.nets import SHAPE, small_discriminator, small_generator, small_images

KINDS = ("mlp", "dcgan", "dcgan of torch's norms", "wgan-gp", "began")
BATCH, STEPS = 8, 12


class Float64(ImageData):
    def gather(self, indices: Tensor) -> Tensor:
        return super().gather(indices).double()


class SharedPenalty:
    """WGAN-GP's penalty at points that do not depend on how the batch is divided."""

    def __init__(self) -> None:
        self.random = torch.Generator().manual_seed(5)

    def __call__(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        (rank, size), n = world(), len(real)
        e = torch.rand(n * size, 1, 1, 1, generator=self.random, dtype=real.dtype)
        e = e[rank * n : (rank + 1) * n]
        points = e * real + (1 - e) * fake.view_as(real)
        return gradient_penalty(critic, points, points, at="real", weight=10)


def torch_discriminator() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(4 * 14 * 14, 6),
        nn.BatchNorm1d(6),
        nn.Tanh(),
        nn.Linear(6, 1),
    )


def dropping_discriminator() -> nn.Module:
    """A D for 28x28 images with dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.3),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1),
    )


def networks(kind: str) -> tuple[nn.Module, nn.Module, ImageData, dict[str, Any]]:
    if kind.startswith("dcgan"):
        values = torch.randint(0, 256, (24, 1, 28, 28), generator=torch.Generator().manual_seed(3))
        data = Float64(values.to(torch.uint8))
        D = dcgan.Discriminator(width=4) if kind == "dcgan" else torch_discriminator()
        return dcgan.Generator(6, width=4), D, data, {"ema": 0.9}
    small = small_images(24)
    data = Float64(small.images)
    if kind == "wgan-gp":
        settings = {"loss": "wasserstein", "penalty": SharedPenalty(), "n_critic": 2}
        return small_generator(), small_discriminator(0.0, "logit"), data, settings
    if kind == "began":
        discriminator = autoencoder.Discriminator(SHAPE, hidden=(16,), code=4)
        return small_generator(), discriminator, data, {"rate": 0.3}
    # In parts or not, a step has one reduction for each optimizer and the same gradients.
    accumulate = 2 if world()[1] > 1 else 1
    return small_generator(), small_discriminator(0.0), data, {"accumulate": accumulate}


class Recorder(Callback):
    def __init__(self) -> None:
        self.metrics: list[Metrics] = []

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        self.metrics.append(metrics)


def train(kind: str) -> dict[str, Any]:
    """Train in however many processes there are; the weights, buffers and metrics at the end."""
    torch.manual_seed(0)
    G, D, data, settings = networks(kind)
    G, D = G.double(), D.double()
    noise: Callable[[int], Tensor] = noise_for(G, random=torch.Generator().manual_seed(11))
    sampler = BatchSampler(len(data), BATCH, generator=torch.Generator().manual_seed(0))
    many = world()[1] > 1
    if many:
        noise, sampler = ShareOfNoise(noise), ShareOfBatches(sampler)
        for network in (G, D):
            synchronise_batch_norm(network)
    optimizers = gan_adam(G.parameters()), gan_adam(D.parameters())
    family = BEGANStep if kind == "began" else GANStep
    step = family(G, D, *optimizers, noise=noise, **settings)
    if many:
        broadcast_state(G, D)
        for optimizer in optimizers:
            average_gradients(optimizer)
        count_reductions()
    recorder = Recorder()
    trainer = Trainer(step, data, sampler, callbacks=[recorder], log_every=5)
    trainer.fit(steps=STEPS)
    found = {f"G.{name}": value for name, value in G.state_dict().items()}
    found |= {f"D.{name}": value for name, value in D.state_dict().items()}
    if step.ema is not None:
        found |= {f"ema.{name}": value for name, value in step.ema.state_dict().items()}
    found |= {name: value.clone() for name, value in step.named_buffers(recurse=False)}
    names = ("d_loss", "g_loss", "d_real", "d_fake")
    for metrics in recorder.metrics:
        numbers = torch.tensor([getattr(metrics, name) for name in names], dtype=torch.float64)
        found[f"metrics {metrics.step}"] = numbers
    return {**found, "reductions": REDUCTIONS[0]}


REDUCTIONS = [0]


def count_reductions() -> None:
    REDUCTIONS[0] = 0
    if hasattr(dist.all_reduce, "counted"):
        return
    real = dist.all_reduce

    def counted(*arguments: Any, **settings: Any) -> Any:
        REDUCTIONS[0] += 1
        return real(*arguments, **settings)

    counted.counted = True  # type: ignore[attr-defined]
    dist.all_reduce = counted


if __name__ == "__main__":
    with joined() as (rank, size):
        assert size == 2
        results = {kind: train(kind) for kind in KINDS}
    torch.save(results, f"{sys.argv[1]}.{rank}")
