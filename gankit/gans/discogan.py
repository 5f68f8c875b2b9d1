"""DiscoGAN: images to images without pairs (Kim, Cha, Kim, Lee and Kim, 2017, 1703.05192)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss, resolve
from gankit.training.arguments import share, weight, whole
from gankit.training.config import Recipe, RunConfig
from gankit.training.outputs import Output, over_scales, read_output
from gankit.training.phases import Batch, Phase, Scalars
from gankit.training.translation import TranslationStep

# The rate is a number of the loss, so the two updates are two graphs on CUDA.
_D, _STARTING, _G = Phase("D", "D"), Phase("G at the starting rate", "G"), Phase("G", "G")


class DiscoGANStep(TranslationStep):
    """Trains G_ab and G_ba, which turn images a into b and b into a, before D_a and D_b.

    A call makes one update: that of both discriminators in the first of every ``d_every`` calls, on
    half of their loss, else that of both generators, for each direction on ``(1 - rate) (gan_weight
    L(D_b(G_ab(a))) + feature_weight M) + rate |G_ba(G_ab(a)) - a|^2 / 4``. M adds up the mean
    squared differences between the batch means of D_b's features, of real and of generated images
    (Salimans et al., 2016, arXiv 1606.03498). The quarter is for images in [-1, 1], whose errors
    are four times those of the paper's in [0, 1].

    Args:
        G_ab, G_ba: generators, images in [-1, 1] to images.
        D_a, D_b: discriminators of the images of a domain, to a score, or to a tuple of it and a
            list of features ``[N, ...]``, which ``feature_weight`` above 0 asks for.
        g_optimizer, d_optimizer: over the parameters of both generators, of both discriminators.
        loss: name known to ``gankit.losses.resolve``, or an ``AdversarialLoss``, for a D without
            sigmoid.
        gan_weight, feature_weight: of the adversarial loss and of the features, from 0.
        rate: share of the reconstruction in G's loss, in [0, 1]. With 0, and as ``starting_rate``,
            the generators are those of a GAN each, which has no reason to keep images apart.
        starting_rate: the same in the first ``gan_curriculum`` calls.
        gan_curriculum: number of these calls, from 0.
        d_every: the discriminators learn in one of so many calls, at least 2, the generators in
            the others.
        execution: precision, accumulate, ema (of the generators), channels_last, cuda_graph and
            augment, as for :class:`gankit.training.Step`. With ``accumulate`` the features' means
            are those of a micro-batch.

    A call returns each network's adversarial loss, before D's is halved; ``features``, M, and
    ``reconstruction``, the mean squared difference, both as means over the directions and without
    their weights. NaN is what no call has computed yet.
    Raises ConfigError for arguments outside what is said here.
    """

    metrics: Mapping[str, str] = {
        name: name for name in ("g_ab", "g_ba", "d_a", "d_b", "features", "reconstruction")
    }
    directions: Mapping[str, str] = {"a2b": "G_ab", "b2a": "G_ba"}
    augments: ClassVar[bool] = True

    def __init__(
        self,
        G_ab: nn.Module,
        G_ba: nn.Module,
        D_a: nn.Module,
        D_b: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        loss: str | AdversarialLoss = "non-saturating",
        gan_weight: float = 0.1,
        feature_weight: float = 0.9,
        rate: float = 0.5,
        starting_rate: float = 0.01,
        gan_curriculum: int = 10_000,
        d_every: int = 3,
        **execution: Any,
    ) -> None:
        networks = {"G_ab": G_ab, "G_ba": G_ba, "D_a": D_a, "D_b": D_b}
        optimizers = {"G": g_optimizer, "D": d_optimizer}
        super().__init__(networks, optimizers, averaged={"G_ab": "G", "G_ba": "G"}, **execution)
        self.loss = resolve(loss, from_logits=True)
        self.gan_weight = weight("gan_weight", gan_weight)
        self.feature_weight = weight("feature_weight", feature_weight)
        self.rates = {
            _STARTING.name: share("starting_rate", starting_rate),
            _G.name: share("rate", rate),
        }
        self.gan_curriculum = whole("gan_curriculum", gan_curriculum, least=0)
        self.d_every = whole("d_every", d_every, least=2)

    @classmethod
    def from_parts(
        cls, parts: Any, *, loss: Any = "non-saturating", weight_decay: float = 0.0, **knobs: Any
    ) -> DiscoGANStep:
        """Two generators, two discriminators, an optimizer for each two.

        Args:
            weight_decay: Adam's, an L2 penalty on all weights.
        """
        shapes, decay = parts.data.fields, weight("weight_decay", weight_decay)
        networks = []
        for x, y in ("ab", "ba"):
            offers = {"in_channels": shapes[x][0], "out_channels": shapes[y][0]}
            networks.append(parts.generator(f"G_{x}{y}", image_size=shapes[x][1], **offers))
        for x in "ab":
            offers = {"in_channels": shapes[x][0], "image_size": shapes[x][1]}
            networks.append(parts.discriminator(f"D_{x}", **offers))
        knobs |= {"g_optimizer": parts.optimizer(*networks[:2], weight_decay=decay)}
        optimizer = parts.optimizer(*networks[2:], lr=parts.d_lr, weight_decay=decay)
        knobs |= {"d_optimizer": optimizer, "loss": parts.loss(loss), **parts.execution}
        return cls(*networks, **knobs)

    def schedule(self, call: int) -> tuple[Phase, ...]:
        if (call - 1) % self.d_every == 0:
            return (_D,)
        return (_STARTING if call <= self.gan_curriculum else _G,)

    def all_phases(self) -> tuple[Phase, ...]:
        return (_D, _STARTING, _G)

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        if phase == "D":
            return self._d_loss(batch)
        rate, losses = self.rates[phase], {}
        features, errors = [], []
        for x, y in ("ab", "ba"):
            fake = self.run_tensor(self.networks[f"G_{x}{y}"], batch[x])
            outputs, taken = [], []
            for images in (fake, batch[y]) if self._compares else (fake,):
                output, own = self._discriminate(y, images)
                outputs.append(output)
                taken.append(own)
            both = outputs if self.loss.relativistic else outputs[:1]
            losses[f"g_{x}{y}"] = over_scales(self.loss.generator, *both)
            if self.feature_weight:
                features.append(difference_of_means(*taken))
            if rate:
                back = self.run_tensor(self.networks[f"G_{y}{x}"], fake)
                errors.append(F.mse_loss(back, batch[x]))
        made = self.gan_weight * (losses["g_ab"] + losses["g_ba"])
        loss = (1 - rate) * (made + self.feature_weight * sum(features)) + rate * sum(errors) / 4
        means = {"features": features, "reconstruction": errors}
        losses |= {name: torch.stack(values).mean() for name, values in means.items() if values}
        return loss, {name: value.detach() for name, value in losses.items()}

    def _d_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        losses = {}
        for x, y in ("ab", "ba"):
            with torch.no_grad():
                fake = self.run_tensor(self.networks[f"G_{x}{y}"], batch[x])
            real_out, fake_out = (self._discriminate(y, x)[0] for x in (batch[y], fake))
            self.observe_real(real_out.per_image(), self.loss.boundary)
            losses[f"d_{y}"] = over_scales(self.loss.discriminator, real_out, fake_out)
        reported = {name: loss.detach() for name, loss in losses.items()}
        return (losses["d_a"] + losses["d_b"]) / 2, reported

    @property
    def _compares(self) -> bool:
        return bool(self.feature_weight) or self.loss.relativistic

    def _discriminate(self, domain: str, images: Tensor) -> tuple[Output, list[Tensor]]:
        """The scores of D of ``domain``, and its features where they are compared."""
        name = f"D_{domain}"
        returned = self.run(self.networks[name], self.augmented(images))
        output = read_output(returned, len(images))
        if not self.feature_weight:
            return output, []
        features = returned[1] if isinstance(returned, tuple) and len(returned) == 2 else None
        if not isinstance(features, list) or not features:
            raise ConfigError(
                f"{name} returned no features; allowed is (score, [features, ...]), or "
                "feature_weight 0"
            )
        return output, features


def difference_of_means(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """The sum over layers of the mean squared difference of the features' batch means; 0-d."""
    pairs = zip(real, fake, strict=True)
    layers = [F.mse_loss(x.mean(0), y.mean(0)) for x, y in pairs]
    return torch.stack(layers).sum()


DISCOGAN = Recipe(
    "discogan",
    "DiscoGAN (Kim et al., 2017), images from unpaired images: --data unpaired:PATH",
    RunConfig(
        "discogan",
        generator="gankit.models.discogan.Generator",
        discriminator="gankit.models.discogan.Discriminator",
        step={
            "class_path": "gankit.gans.discogan.DiscoGANStep",
            "init_args": {"weight_decay": 1e-5},
        },
        data="toy:arrows",
        image_size=64,
        epochs=None,
        steps=50_000,
        batch_size=200,
    ),
    (
        "Networks at 64 pixels, Adam 2e-4 (0.5, 0.999), weight decay 1e-5, batches of 200: Kim et "
        "al., 2017, arXiv 1703.05192, section 4",
        "Weights 0.1 and 0.9, rates 0.01 and 0.5, the first for 10,000 calls, D in one of three "
        "calls: https://github.com/SKTBrain/DiscoGAN, whose networks for cars and faces have a "
        "code of 100",
        "toy:arrows in place of the paper's data, 50,000 calls: gankit defaults",
    ),
)
RECIPES = (DISCOGAN,)
