"""EBGAN: D gives low energy to real images, and pushes generated ones up to a margin.

Zhao, Mathieu and LeCun, 2016, arXiv 1609.03126. D is an autoencoder, and the energy of an image is
its error. The pulling-away term (section 2.4) keeps the images that G makes apart.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss
from gankit.losses.energy import (
    check_margin,
    energy_discriminator_loss,
    energy_generator_loss,
    pulling_away_term,
)
from gankit.training.arguments import weight
from gankit.training.config import Recipe, RunConfig
from gankit.training.gan_step import GANStep
from gankit.training.outputs import classification_loss, read_output
from gankit.training.phases import Batch, Scalars


class EBGANStep(GANStep):
    """One update of D by ``mean(D(x)) + mean(max(0, m - D(G(z))))``, one of G by ``mean(D(G(z)))``.

    Args:
        G, D, g_optimizer, d_optimizer: as for ``GANStep``; D returns energies, at least 0, such as
            :class:`gankit.models.autoencoder.Discriminator`.
        margin: m, the energy above which generated images teach D nothing, finite and above 0. It
            depends on the scale of the energies.
        pulling_away: weight of the pulling-away term in G's loss (EBGAN-PT), finite and at least 0;
            the paper takes 0.1. Above 0 D needs a method ``with_code``, from images to energies and
            codes ``[N, ...]``, as the autoencoders of ``gankit.models`` have it.
        settings: those of ``GANStep`` but ``loss``. With ``accumulate`` the pairs of the
            pulling-away term are those of a micro-batch.

    With ``pulling_away`` a call returns that term too, not yet times its weight.

    Raises ConfigError for arguments outside what is said here.
    """

    supplied: ClassVar[tuple[str, ...]] = ("noise", "loss")

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        *,
        margin: float = 1.0,
        pulling_away: float = 0.0,
        **settings: Any,
    ) -> None:
        if "loss" in settings:
            raise ConfigError("loss is given, but EBGANStep has its own; expected none")
        check_margin(margin)
        pulling_away = weight("pulling_away", pulling_away)
        if pulling_away > 0 and not callable(getattr(D, "with_code", None)):
            raise ConfigError(
                f"pulling_away is {pulling_away}, but D ({type(D).__name__}) has no method "
                "with_code; expected one from images to energies and codes"
            )
        loss = AdversarialLoss(
            "ebgan",
            partial(energy_discriminator_loss, margin=margin),
            energy_generator_loss,
            scores=True,
            energies=True,
        )
        super().__init__(G, D, g_optimizer, d_optimizer, loss, **settings)
        self.pulling_away = pulling_away
        if pulling_away > 0:
            self.metrics = {**self.metrics, "pulling_away": "pulling-away term"}

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        if phase != "G" or self.pulling_away == 0:
            return super().phase_loss(phase, batch)
        D: Any = self.D
        fake = self.shown(self.fakes(batch), batch)
        energies, codes = self.run(D.with_code, fake, *self.labelling.of_d(batch))
        self.stage = "the pulling-away term"
        term = pulling_away_term(codes)
        classifies = self.labelling.classifies
        out = read_output(energies, len(fake), classifies=classifies)
        loss = self.g_objective(out, None) + self.pulling_away * term
        if classifies:
            loss = loss + classification_loss(out, batch["label"])
        return loss, {"g_loss": loss.detach(), "pulling_away": term.detach()}


EBGAN = Recipe(
    name="ebgan",
    summary="energy-based GAN (Zhao et al., 2016)",
    config=RunConfig(
        recipe="ebgan",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.autoencoder.Discriminator",
            "init_args": {"hidden": [512, 256], "code": 8, "error": "squared"},
        },
        step={
            "class_path": "gankit.gans.ebgan.EBGANStep",
            "init_args": {"margin": 0.2},
        },
        z_dim=100,
        epochs=250,
        batch_size=60,
        lr=5e-4,
        betas=(0.5, 0.999),
    ),
    sources=(
        "The loss, D as an autoencoder with squared error: Zhao, Mathieu and LeCun, 2016, "
        "https://arxiv.org/abs/1609.03126",
        "Margin 0.2 on the mean squared error of a pixel in [-1, 1], layers, Adam 5e-4: ours",
    ),
)
RECIPES = (EBGAN,)
