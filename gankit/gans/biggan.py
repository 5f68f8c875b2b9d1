"""BigGAN and BigGAN-deep: wide class-conditional GANs of large batches.

Brock, Donahue and Simonyan, 2018, arXiv 1809.11096.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit.training.arguments import weight
from gankit.training.config import Recipe, RunConfig
from gankit.training.gan_step import GANStep
from gankit.training.phases import Batch, Scalars


class BigGANStep(GANStep):
    """A ``GANStep`` with orthogonal regularization of G (section 3.1 of the paper).

    ``orthogonal * sum ||W W^T * (1 - I)||^2`` over the weights of G's convolutions and linear
    layers, each a matrix W with a row for each output, is added to G's loss: rows shall be
    orthogonal, but of any length. With it G bears truncated noise better.

    Args:
        G, D, g_optimizer, d_optimizer: as for ``GANStep``.
        orthogonal: weight of the regularization, finite and at least 0.
        settings: those of ``GANStep``.

    With ``orthogonal`` a call returns ``orthogonality`` too, the sum without its weight.

    Raises ConfigError for arguments outside what is said here.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        *,
        orthogonal: float = 1e-4,
        **settings: Any,
    ) -> None:
        super().__init__(G, D, g_optimizer, d_optimizer, **settings)
        self.orthogonal = weight("orthogonal", orthogonal)
        if self.orthogonal > 0:
            self.metrics = {**self.metrics, "orthogonality": "G's rows that are not orthogonal"}
        self._weights: list[Tensor] = [
            _trained_weight(layer)
            for layer in G.modules()
            if isinstance(layer, (nn.Conv2d, nn.Linear))
        ]

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        loss, reported = super().phase_loss(phase, batch)
        if phase != "G" or self.orthogonal == 0:
            return loss, reported
        self.stage = "the orthogonal regularization"
        term = orthogonality(self._weights)
        loss = loss + self.orthogonal * term
        return loss, {"g_loss": loss.detach(), "orthogonality": term.detach()}


def _trained_weight(layer: nn.Module) -> Tensor:
    """The parameter, from which ``layer.weight`` may be computed, as by torch's spectral norm."""
    computed = parametrize.is_parametrized(layer, "weight")
    return layer.get_parameter("parametrizations.weight.original" if computed else "weight")


def orthogonality(weights: list[Tensor]) -> Tensor:
    """``sum ||W W^T * (1 - I)||^2``, 0-d: the squared products of different rows of each W."""
    terms = []
    for each in weights:
        rows = each.flatten(1)
        # Those of a row with itself are left out before the sum, in which they would hide the rest.
        terms.append((rows @ rows.t()).triu(1).square().sum())
    return 2 * torch.stack(terms).sum()


_CODE = "https://github.com/ajbrock/BigGAN-PyTorch"
BIGGAN = Recipe(
    name="biggan",
    summary="BigGAN (Brock, Donahue and Simonyan, 2018), images of classes: --data folder:PATH",
    config=RunConfig(
        recipe="biggan",
        data="toy:shapes",
        image_size=128,
        generator="gankit.models.biggan.Generator",
        discriminator="gankit.models.biggan.Discriminator",
        step={
            "class_path": "gankit.gans.biggan.BigGANStep",
            "init_args": {"loss": "hinge", "n_critic": 2, "orthogonal": 1e-4},
        },
        z_dim=120,
        epochs=None,
        steps=280_000,
        batch_size=256,
        lr=5e-5,
        d_lr=2e-4,
        betas=(0.0, 0.999),
        eps=1e-6,
        ema=0.9999,
        grid_columns=8,
    ),
    sources=(
        "Networks of 128 pixels, hinge, two steps of D per step of G, Adam 5e-5 and for D 2e-4 "
        "with betas (0, 0.999), moving average 0.9999, orthogonal initialization and "
        "regularization 1e-4: Brock, Donahue and Simonyan, 2018, arXiv 1809.11096, section 3.1 and "
        "appendices B and C",
        f"Adam's eps 1e-6: the authors' PyTorch code, {_CODE}",
        "280,000 steps, two for each of G; batch 256 in place of the paper's 2,048 (--set "
        "batch_size=2048 --set accumulate=8 works through it in parts), and toy:shapes in place of "
        "ImageNet: gankit default",
    ),
)
BIGGAN_DEEP = Recipe(
    name="biggan-deep",
    summary="BigGAN-deep (Brock, Donahue and Simonyan, 2018), four times as many layers",
    config=BIGGAN.config.updated(
        recipe="biggan-deep",
        generator="gankit.models.biggan_deep.Generator",
        discriminator="gankit.models.biggan_deep.Discriminator",
        z_dim=128,
    ),
    sources=BIGGAN.sources,
)
DIGITS = Recipe(
    name="biggan-digits",
    summary="small BigGAN on digits, for a CPU (Brock, Donahue and Simonyan, 2018)",
    config=BIGGAN.config.updated(
        recipe="biggan-digits",
        data="digits",
        image_size=32,
        generator={
            "class_path": "gankit.models.biggan.Generator",
            "init_args": {"width": 4, "embedding": 16},
        },
        discriminator={
            "class_path": "gankit.models.biggan.Discriminator",
            "init_args": {"width": 4},
        },
        n_critic=1,
        z_dim=32,
        steps=3200,
        batch_size=32,
        lr=5e-4,
        d_lr=2e-3,
        ema=0.995,
        grid_columns=10,
    ),
    sources=(
        "Networks, hinge, Adam's betas (0, 0.999), orthogonal initialization and regularization "
        "1e-4: Brock, Donahue and Simonyan, 2018, arXiv 1809.11096",
        "Widths, embedding, z, batch, steps, one step of D per step of G, Adam 5e-4 and 2e-3, the "
        "moving average: gankit default",
    ),
)
RECIPES = (BIGGAN, BIGGAN_DEEP, DIGITS)
