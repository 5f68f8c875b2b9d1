"""What each process of test_translation_resume.py runs."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from gankit.training import ADA, Checkpoint, Trainer, load_checkpoint
from gankit.training.distributed import (
    ShareOfBatches,
    average_gradients,
    broadcast_state,
    joined,
    world,
)
from tests.gans.translation_nets import trainer_of


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """All that later steps follow from."""
    step = trainer.gan_step
    tensors = {n: v for n, v in step.state_dict().items() if isinstance(v, Tensor)}
    for name, optimizer in step.optimizers.items():
        for index, kept in enumerate(optimizer.state.values()):
            tensors |= {f"{name} {index} {key}": torch.as_tensor(v) for key, v in kept.items()}
        tensors[f"{name} lr"] = torch.tensor(optimizer.param_groups[0]["lr"])
    return tensors | {"random": torch.get_rng_state()}


def two_processes(out: Path) -> None:
    """What each process runs: 6 steps; and 3, a checkpoint, and 3 more from it."""

    def make(*callbacks: Checkpoint) -> Trainer:
        torch.manual_seed(1)
        ada = ADA(images=40, p=0.5)
        trainer = trainer_of("cyclegan", *callbacks, pool_size=3, ema=0.9, augment=ada)
        trainer.sampler = ShareOfBatches(trainer.sampler)
        broadcast_state(trainer.gan_step)
        for optimizer in trainer.gan_step.optimizers.values():
            average_gradients(optimizer)
        torch.manual_seed(world()[0])
        return trainer

    with joined() as (rank, _):
        # A checkpoint gives all processes rank 0's pools, so each run writes one after 3 steps.
        straight = make(Checkpoint(out / "straight.pt", every=3))
        straight.fit(steps=6)
        expected = everything(straight)
        make(Checkpoint(out / "stopped.pt")).fit(steps=3)
        resumed = make(Checkpoint(out / "resumed.pt"))
        resumed.load_state_dict(load_checkpoint(out / "stopped.pt"))
        resumed.fit(steps=6)
        torch.testing.assert_close(everything(resumed), expected, rtol=0, atol=0)
        torch.save(everything(resumed), out / f"{rank}.pt")


if __name__ == "__main__":
    two_processes(Path(sys.argv[1]))
