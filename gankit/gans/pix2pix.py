"""pix2pix: images to images, learned from pairs (Isola, Zhu, Zhou and Efros, 2016, 1611.07004)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gankit.losses import AdversarialLoss, resolve
from gankit.training.arguments import one_of, weight
from gankit.training.config import Recipe, RunConfig
from gankit.training.optimizers import check_owner
from gankit.training.pairing import ends_in_sigmoid
from gankit.training.phases import Batch, Phase, Scalars
from gankit.training.translation import TranslationStep


class Pix2PixStep(TranslationStep):
    """Trains G to turn image a into image b, before a D that sees both.

    D learns first, on half of its loss; then G does, from the very images that D has seen, on
    ``gan_weight L(D(a, G(a))) + l1_weight |b - G(a)|``. There is no z: G's noise is dropout.

    Args:
        G: from images a to images b, both in [-1, 1].
        D: from a and b as channels of one image to a value, or to a map with one for each patch.
        g_optimizer, d_optimizer: optimizers over G's and over D's parameters.
        loss: name known to ``gankit.losses.resolve``, or an ``AdversarialLoss``.
        l1_weight, gan_weight: of the two parts of G's loss, from 0.
        direction: ``"a2b"``, or ``"b2a"`` to turn b into a.
        execution: precision, accumulate, ema, channels_last, cuda_graph and augment, as for
            ``Step``; a and b get one transform.

    A call returns D's loss, before it is halved, and the two parts of G's without their weights.
    Raises ConfigError for arguments outside what is said here.
    """

    metrics: Mapping[str, str] = {"d_loss": "D loss", "g_loss": "G loss", "l1": "L1"}
    d_share: ClassVar[float] = 0.5  # of D's loss that it learns from
    augments: ClassVar[bool] = True

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        loss: str | AdversarialLoss = "non-saturating",
        l1_weight: float = 100.0,
        gan_weight: float = 1.0,
        direction: str = "a2b",
        **execution: Any,
    ) -> None:
        check_owner("g_optimizer", g_optimizer, "G", G)
        check_owner("d_optimizer", d_optimizer, "D", D)
        networks, optimizers = {"G": G, "D": D}, {"G": g_optimizer, "D": d_optimizer}
        super().__init__(networks, optimizers, averaged={"G": "G"}, **execution)
        self.loss = resolve(loss, from_logits=not ends_in_sigmoid(D))
        self.l1_weight = weight("l1_weight", l1_weight)
        self.gan_weight = weight("gan_weight", gan_weight)
        self.directions = {one_of("direction", direction, "a2b", "b2a"): "G"}
        self._from, self._to = direction.split("2")

    @classmethod
    def from_parts(cls, parts: Any, *, loss: Any = "non-saturating", **knobs: Any) -> Pix2PixStep:
        direction = one_of("direction", knobs.get("direction", "a2b"), "a2b", "b2a")
        a, b = (parts.data.fields[name] for name in direction.split("2"))
        G = parts.generator(in_channels=a[0], out_channels=b[0], image_size=a[1])
        D = parts.discriminator(in_channels=a[0] + b[0])
        knobs |= {"loss": parts.loss(loss), **parts.execution}
        return cls(G, D, parts.optimizer(G), parts.optimizer(D, lr=parts.d_lr), **knobs)

    def schedule(self, call: int) -> tuple[Phase, ...]:
        return Phase("D", "D"), Phase("G", "G")

    def prepare(self, batch: Batch) -> None:
        batch["fake"] = self.run_tensor(self.networks["G"], batch[self._from])

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        real, fake = batch[self._to], batch["fake"]
        both = (fake, real) if self.loss.relativistic else (fake,)
        images = (real, fake.detach()) if phase == "D" else both
        pairs = (torch.cat(self.augmented_alike(batch[self._from], x), 1) for x in images)
        outputs = [self.run_tensor(self.networks["D"], pair) for pair in pairs]
        if phase == "D":
            self.observe_real(outputs[0].flatten(1).mean(1), self.loss.boundary)
            loss = self.loss.discriminator(*outputs)
            return self.d_share * loss, {"d_loss": loss.detach()}
        loss, l1 = self.loss.generator(*outputs), (fake - real).abs().mean()
        reported = {"g_loss": loss.detach(), "l1": l1.detach()}
        return self.gan_weight * loss + self.l1_weight * l1, reported


PIX2PIX = Recipe(
    "pix2pix",
    "pix2pix (Isola et al., 2016), images from paired images: --data pairs:PATH",
    RunConfig(
        "pix2pix",
        generator="gankit.models.unet.UNetGenerator",
        discriminator="gankit.models.patch.PatchDiscriminator",
        step="gankit.gans.pix2pix.Pix2PixStep",
        data="toy:edges",
        image_size=256,
        epochs=200,
        batch_size=1,
    ),
    (
        "U-Net, 70x70 patches, L1 100, D's loss halved, Adam 2e-4 (0.5, 0.999), 200 epochs of "
        "batches of 1: Isola et al., 2016, arXiv 1611.07004, section 3 and appendix, for facades",
        "toy:edges in place of the paper's data: ours",
    ),
)
RECIPES = (PIX2PIX,)
