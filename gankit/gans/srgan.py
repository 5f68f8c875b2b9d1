"""SRGAN and SRResNet: small images made large (Ledig et al., 2016, 1609.04802)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import FieldData
from gankit.data.paths import cache_root
from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss, resolve
from gankit.losses.fitted_features import fit_features
from gankit.losses.perceptual import PerceptualFeatures, VGG19Features, vgg19_file
from gankit.nn.inference import seeded
from gankit.scalars import is_integer
from gankit.training.arguments import weight
from gankit.training.config import Recipe, RunConfig
from gankit.training.optimizers import check_owner
from gankit.training.pairing import ends_in_sigmoid
from gankit.training.phases import Batch, Phase, Scalars
from gankit.training.seeds import derived_seed
from gankit.training.upscaling import UpscalingStep

# Crops that features are fitted to.
_SAMPLES, _AT_ONCE = 256, 16


class SRResNetStep(UpscalingStep):
    """Trains G to enlarge images ``low`` on the mean squared error to their originals ``high``.

    Args:
        G: from small images to large ones, both in [-1, 1].
        g_optimizer: over G's parameters.
        execution: precision, accumulate, ema, channels_last and cuda_graph, as for ``Step``.

    A call returns ``mse``, of which a log makes ``psnr`` in dB.
    """

    metrics: Mapping[str, str] = {"mse": "squared error"}

    def __init__(self, G: nn.Module, g_optimizer: torch.optim.Optimizer, **execution: Any) -> None:
        check_owner("g_optimizer", g_optimizer, "G", G)
        super().__init__({"G": G}, {"G": g_optimizer}, averaged={"G": "G"}, **execution)

    @classmethod
    def from_parts(cls, parts: Any) -> SRResNetStep:
        G = _generator(parts)
        return cls(G, parts.optimizer(G), **parts.execution)

    def schedule(self, call: int) -> tuple[Phase, ...]:
        return (Phase("G", "G"),)

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        mse = F.mse_loss(self.run_tensor(self.networks["G"], batch["low"]), batch["high"])
        return mse, {"mse": mse.detach()}


class SRGANStep(UpscalingStep):
    """Trains G to enlarge images before a D that sees large ones, real and made.

    For ``pretrain_steps`` calls G learns by itself, on the mean squared error (SRResNet). Then D
    learns first in each call, and G does from the very images that D has seen, on the mean squared
    difference of perceptual features plus ``gan_weight`` times its adversarial loss.

    Args:
        G: from small images to large ones, both in [-1, 1].
        D: from large images to a value, or to a map of values.
        g_optimizer, d_optimizer: over G's and over D's parameters.
        features: images to feature maps; in a run ``"vgg19"``, with torchvision's weights out of
            torch's cache, ``"fitted"``, a small network fitted to the data, ``"auto"``, the first
            of the two that there is, or the path of a file of torchvision's weights of VGG19.
        pretrain_steps: calls of the first stage, from 0.
        gan_weight: of the adversarial loss, from 0.
        loss: name known to ``gankit.losses.resolve``, or an ``AdversarialLoss``.
        execution: precision, accumulate, ema, channels_last and cuda_graph, as for ``Step``.

    A call returns ``mse``, of which a log makes ``psnr`` in dB, and in the second stage
    ``perceptual`` and the adversarial losses, without weights.
    Raises ConfigError for arguments outside what is said here.
    """

    metrics: Mapping[str, str] = {
        "mse": "squared error",
        "perceptual": "perceptual",
        "g_loss": "G loss",
        "d_loss": "D loss",
    }
    augments: ClassVar[bool] = True

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        features: nn.Module,
        pretrain_steps: int = 1_000_000,
        gan_weight: float = 1e-3,
        loss: str | AdversarialLoss = "non-saturating",
        **execution: Any,
    ) -> None:
        check_owner("g_optimizer", g_optimizer, "G", G)
        check_owner("d_optimizer", d_optimizer, "D", D)
        networks, optimizers = {"G": G, "D": D}, {"G": g_optimizer, "D": d_optimizer}
        super().__init__(networks, optimizers, averaged={"G": "G"}, **execution)
        self.features = features.eval().requires_grad_(False).to(self.device, self.dtype)
        if not is_integer(pretrain_steps) or pretrain_steps < 0:
            raise ConfigError(f"pretrain_steps is {pretrain_steps!r}; allowed are integers from 0")
        self.pretrain_steps = int(pretrain_steps)
        self.gan_weight = weight("gan_weight", gan_weight)
        self.loss = resolve(loss, from_logits=not ends_in_sigmoid(D))

    @classmethod
    def from_parts(
        cls, parts: Any, *, features: str = "auto", loss: Any = "non-saturating", **knobs: Any
    ) -> SRGANStep:
        G, D = _generator(parts), parts.discriminator(image_shape=parts.data.fields["high"])
        optimizers = parts.optimizer(G), parts.optimizer(D, lr=parts.d_lr)
        knobs |= {"loss": parts.loss(loss), **parts.execution}
        return cls(G, D, *optimizers, _features(features, parts.data, parts.seed), **knobs)

    def schedule(self, call: int) -> tuple[Phase, ...]:
        if call <= self.pretrain_steps:
            return (Phase("pretrain", "G"),)
        return Phase("D", "D"), Phase("G", "G")

    def all_phases(self) -> tuple[Phase, ...]:
        first = self.schedule(1)
        return first if len(first) > 1 else (*first, *self.schedule(self.pretrain_steps + 1))

    def prepare(self, batch: Batch) -> None:
        if "G" in self.phases:
            batch["fake"] = self.run_tensor(self.networks["G"], batch["low"])

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        real, D = batch["high"], self.networks["D"]
        if phase == "pretrain":
            mse = F.mse_loss(self.run_tensor(self.networks["G"], batch["low"]), real)
            return mse, {"mse": mse.detach()}
        fake = batch["fake"]
        both = (fake, real) if self.loss.relativistic else (fake,)
        shown = (real, fake.detach()) if phase == "D" else both
        outputs = [self.run_tensor(D, self.augmented(images)) for images in shown]
        if phase == "D":
            self.observe_real(outputs[0].flatten(1).mean(1), self.loss.boundary)
            loss = self.loss.discriminator(*outputs)
            return loss, {"d_loss": loss.detach()}
        loss = self.loss.generator(*outputs)
        with torch.no_grad():
            target = self.run_tensor(self.features, real)
        perceptual = F.mse_loss(self.run_tensor(self.features, fake), target)
        reported = {"perceptual": perceptual, "g_loss": loss, "mse": F.mse_loss(fake, real)}
        return perceptual + self.gan_weight * loss, {k: v.detach() for k, v in reported.items()}

    def train(self, mode: bool = True) -> SRGANStep:
        super().train(mode)
        self.features.eval()
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        stages = (
            f"The first {self.pretrain_steps:,} steps learn the mean squared error; those after "
            "them learn perceptual features before a discriminator."
        )
        note = getattr(self.features, "note", "")
        return (
            *([stages] if self.pretrain_steps else []),
            *([note] if note else []),
            *super().notes,
        )


def _generator(parts: Any) -> nn.Module:
    fields = parts.data.fields
    if "low" not in fields or "high" not in fields:
        raise ConfigError(
            f"{parts.data.name} has the fields {', '.join(fields)}; super-resolution learns from "
            "low and high, such as those of highres:PATH"
        )
    low, high = fields["low"], fields["high"]
    G: nn.Module = parts.generator(in_channels=low[0], scale=high[1] // low[1])
    return G


def _features(name: str, data: FieldData, seed: int) -> PerceptualFeatures:
    file = vgg19_file()
    channels = data.fields["high"][0]
    if name == "fitted" or (name == "auto" and (file is None or channels not in (1, 3))):
        n = min(len(data), _SAMPLES)
        # The same for each run of these data with this seed, and nothing else draws from it.
        with seeded(derived_seed(seed, "features"), data.device):
            parts = [data.batch(some) for some in torch.arange(n).split(_AT_ONCE)]
        low, high = (torch.cat([part[f].cpu() for part in parts]) for f in ("low", "high"))
        return fit_features(low, high, cache_root())
    if channels not in (1, 3):
        raise ConfigError(
            f"features is {name!r}, but {data.name} has images of {channels} channels, and VGG19 "
            "sees 1 or 3; allowed is 'fitted'"
        )
    if name in ("auto", "vgg19"):
        if file is None:
            raise ConfigError(
                "features is 'vgg19', but torch's cache has no vgg19-dcbb9e9d.pth; allowed are "
                "'fitted', 'auto' and the path of such a file"
            )
        return VGG19Features(file)
    if not isinstance(name, str) or not Path(name).is_file():
        raise ConfigError(
            f"features is {name!r}; allowed are 'auto', 'vgg19', 'fitted' and the path of a file "
            "of torchvision's weights of VGG19"
        )
    return VGG19Features(name)


_G = "gankit.models.srresnet.SRResNet"
_PAPER = "Ledig et al., 2016, arXiv 1609.04802"
SRRESNET = Recipe(
    "srresnet",
    "SRResNet (Ledig et al., 2016), small images made large: --data highres:PATH",
    RunConfig(
        "srresnet",
        generator=_G,
        discriminator="gankit.models.srresnet.VGGDiscriminator",  # of the recipe srgan
        step="gankit.gans.srgan.SRResNetStep",
        data="photographs",
        image_size=96,
        epochs=None,
        steps=1_000_000,
        batch_size=16,
        lr=1e-4,
        betas=(0.9, 0.999),
        sample_every=500,
        grid_rows=4,
        grid_columns=2,
    ),
    (
        f"16 blocks, crops of 96, batches of 16, Adam 1e-4, 1,000,000 steps: {_PAPER}, section 3.2",
        "Adam's beta1 0.9: the same; beta2 0.999: torch's default",
        "Two photographs in place of ImageNet; small images rounded to bytes and in [-1, 1]: ours",
    ),
)
SRGAN = Recipe(
    "srgan",
    "SRGAN (Ledig et al., 2016), the same with textures: --data highres:PATH",
    SRRESNET.config.updated(
        recipe="srgan",
        step={
            "class_path": "gankit.gans.srgan.SRGANStep",
            "init_args": {"pretrain_steps": 1_000_000},
        },
        steps=1_200_000,
        schedule={
            "class_path": "torch.optim.lr_scheduler.MultiStepLR",
            "init_args": {"milestones": [1_100_000], "gamma": 0.1},
        },
    ),
    (
        "As the recipe srresnet for 1,000,000 steps, then 100,000 at 1e-4 and 100,000 at 1e-5 on "
        f"VGG19's features and 1e-3 times the adversarial loss: {_PAPER}, sections 2.2 and 3.2",
        "Features fitted to the data where there are no weights of VGG19: ours",
    ),
)
SRGAN_TOY = Recipe(
    "srgan-toy",
    "SRGAN (Ledig et al., 2016) on drawn pages, half as large: minutes on a CPU",
    SRGAN.config.updated(
        recipe="srgan-toy",
        generator={
            "class_path": _G,
            "init_args": {"width": 16, "blocks": 2, "init": "zero-residual"},
        },
        discriminator={
            "class_path": "gankit.models.srresnet.VGGDiscriminator",
            "init_args": {"width": 16, "stages": 3, "hidden": 64},
        },
        data={"class_path": "toy:prints", "init_args": {"scale": 2}},
        image_size=32,
        batch_size=8,
        pretrain_steps=1000,
        steps=1600,
        lr=3e-3,
        d_lr=1e-3,
        schedule={
            "class_path": "torch.optim.lr_scheduler.MultiStepLR",
            "init_args": {"milestones": [700, 1300], "gamma": 0.2},
        },
        sample_every=2,
    ),
    (
        f"Stages, losses and their weights: as in the recipe srgan, {_PAPER}",
        "Networks, scale 2, crops of 32, batches of 8, 1,000 and 600 steps, Adam 3e-3 and 1e-3 for "
        "D, a fifth of that from steps 700 and 1,300 on: ours",
    ),
)
RECIPES = (SRRESNET, SRGAN, SRGAN_TOY)
