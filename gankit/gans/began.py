"""BEGAN: an autoencoder as discriminator, held in balance with its generator.

Berthelot, Schumm and Metz, 2017, arXiv 1703.10717. D is an autoencoder that returns errors; a
control variable k says how much of its capacity goes into telling generated images apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss
from gankit.losses.energy import (
    began_convergence,
    began_discriminator_loss,
    began_next_k,
    check_control,
    energy_generator_loss,
)
from gankit.losses.scores import widened
from gankit.training.config import Recipe, RunConfig
from gankit.training.distributed import all_reduce_mean
from gankit.training.gan_step import GANStep
from gankit.training.outputs import Output, over_scales
from gankit.training.phases import Batch, Scalars
from gankit.training.reports import Curves

# With k at 0, as at the start.
_LOSS = AdversarialLoss(
    "began",
    partial(began_discriminator_loss, k=0.0),
    energy_generator_loss,
    scores=True,
    energies=True,
)


class BEGANStep(GANStep):
    """One update of D by ``mean(L(x)) - k mean(L(G(z)))``, one of G by ``mean(L(G(z)))``, one of k.

    Args:
        G, D, g_optimizer, d_optimizer: as for ``GANStep``; D returns errors, at least 0, such as
            :class:`gankit.models.convolutional_autoencoder.Discriminator`.
        gamma: diversity ratio, in [0, 1]; a higher one asks for more diverse images.
        rate: of k's change, finite and above 0.
        settings: those of ``GANStep`` but ``loss``; ``accumulate`` must be 1.

    A call returns besides ``k`` after its update and ``measure``, the paper's measure of
    convergence (:func:`gankit.losses.began_convergence`). k, the measure and the mean error of the
    latest real images are buffers. In a run of many processes the means are those of all, which
    then keep one k.

    Raises ConfigError for arguments outside what is said here.
    """

    metrics: Mapping[str, str] = {**GANStep.metrics, "k": "k", "measure": "measure"}
    supplied: ClassVar[tuple[str, ...]] = ("noise", "loss")
    whole_batch: ClassVar[str] = "BEGAN's balance k moves once for each batch"
    k: Tensor
    measure: Tensor
    real_error: Tensor

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        *,
        gamma: float = 0.5,
        rate: float = 1e-3,
        **settings: Any,
    ) -> None:
        if "loss" in settings:
            raise ConfigError("loss is given, but BEGANStep has its own; expected none")
        check_control(gamma, rate)
        super().__init__(G, D, g_optimizer, d_optimizer, _LOSS, **settings)
        self.gamma, self.rate = gamma, rate
        for name in ("k", "measure", "real_error"):
            like = torch.promote_types(self.dtype, torch.float32)
            self.register_buffer(name, torch.zeros((), dtype=like, device=self.device))

    def d_objective(self, real: Output, fake: Output) -> Tensor:
        """D's loss with the present k, and the mean error of the real images."""
        self.real_error.copy_(_mean_error(real))
        return over_scales(partial(began_discriminator_loss, k=self.k), real, fake)

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        loss, reported = super().phase_loss(phase, batch)
        if phase == "G":
            reported |= {"k": self.k.clone(), "measure": self.measure.clone()}
        return loss, reported

    def g_objective(self, fake: Output, real: Output | None) -> Tensor:
        """G's loss, and the next k."""
        error = _mean_error(fake)
        self.measure.copy_(began_convergence(self.real_error, error, gamma=self.gamma))
        settings = {"gamma": self.gamma, "rate": self.rate}
        self.k.copy_(began_next_k(self.k, self.real_error, error, **settings))
        return super().g_objective(fake, real)

    def curves(self) -> tuple[Curves, ...]:
        balance = Curves("balance", {"k": "k", "measure": "measure of convergence"})
        return (*super().curves(), balance)


@torch.no_grad()
def _mean_error(errors: Output) -> Tensor:
    """Over all processes: with a k of its own each would minimize another loss."""
    return all_reduce_mean(widened(errors.mean()))


BEGAN = Recipe(
    name="began",
    summary="boundary equilibrium GAN (Berthelot et al., 2017)",
    config=RunConfig(
        recipe="began",
        generator={
            "class_path": "gankit.models.convolutional_autoencoder.Generator",
            "init_args": {"width": 16, "repeats": 1},
        },
        discriminator={
            "class_path": "gankit.models.convolutional_autoencoder.Discriminator",
            "init_args": {"width": 16, "repeats": 1, "code": 16},
        },
        step={
            "class_path": "gankit.gans.began.BEGANStep",
            "init_args": {"gamma": 0.95, "rate": 0.05, "z_distribution": "uniform"},
        },
        z_dim=16,
        epochs=None,
        steps=6000,
        batch_size=16,
        lr=1e-3,
        d_lr=1e-4,
        betas=(0.5, 0.999),
        schedule={
            "class_path": "torch.optim.lr_scheduler.StepLR",
            "init_args": {"step_size": 2000, "gamma": 0.5},
        },
    ),
    sources=(
        "The loss and its control, the kind of layers, a code as long as z, uniform noise, batch "
        "16, D's Adam 1e-4, rates that halve: Berthelot, Schumm and Metz, 2017, "
        "https://arxiv.org/abs/1703.10717",
        "One convolution of 16 maps per level and 16 numbers in a code (paper: two of 64 or more, "
        "and 64), rate 0.05 and halving every 2,000 steps for this short a run: ours",
        "G at ten times D's rate and gamma 0.95: ours. D gives energy only to what G draws more "
        "than 1/k times too often, so a low k (0.1 where both learn alike) leaves few classes",
    ),
)
RECIPES = (BEGAN,)
