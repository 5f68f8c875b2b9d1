"""StarGAN: one generator for images of many domains (Choi et al., 2017, 1711.09020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import ImageSet
from gankit.data.labelled import class_count
from gankit.errors import ConfigError, DataError
from gankit.losses import gradient_penalty
from gankit.training.arguments import weight, whole
from gankit.training.config import Recipe, RunConfig
from gankit.training.critic import Critic
from gankit.training.labelling import Labelling
from gankit.training.optimizers import check_owner
from gankit.training.outputs import Output, PerImage
from gankit.training.phases import Batch, Phase, Scalars
from gankit.training.reports import Panel
from gankit.training.step import Step
from gankit.training.translation import translate

# A grid has a panel for each domain, and no more than these.
_SHOWN = 8


class StarGANStep(Step):
    """Trains one G, which brings an image to a target domain, before a D that names domains.

    D learns in every call on ``mean(D(G(x, c))) - mean(D(x)) + class_weight H(x) + penalty``, with
    H the cross entropy of the domains that it sees in real images; G in every ``n_critic``-th on
    ``-mean(D(G(x, c))) + class_weight H(G(x, c)) + cycle_weight |G(G(x, c), own domain) - x|``. The
    targets c of a batch are its own domains in another order, so they occur together as they do in
    the data. The penalty is that of WGAN-GP on the gradient of the sum of D's scores of an image,
    as in the authors' code.

    Args:
        G: from images ``[N, C, H, W]`` in [-1, 1] and targets ``[N, K]`` to images of that shape.
        D: from images to scores ``[N, 1]`` or ``[N, 1, h, w]`` and logits ``[N, K]``, as a tuple. A
            method ``critic``, which returns the part that makes the scores, spares the penalty the
            rest.
        g_optimizer, d_optimizer: optimizers over G's and over D's parameters.
        domains: the names of the K domains, or attributes.
        exclusive: an image is of one domain: the step reads ``label``, int64 ``[N]``, and H is the
            cross entropy of K classes. Else it reads ``attributes``, 0 or 1 each, ``[N, K]``, and H
            adds up the cross entropies of K pairs.
        class_weight: of the cross entropies of the domains, from 0.
        cycle_weight: of the L1 distance after the way there and back, from 0.
        penalty_weight: of the gradient penalty, from 0.
        n_critic: D learns in every call, G in every ``n_critic``-th.
        execution: precision, accumulate, ema (of G), channels_last, cuda_graph and augment, as for
            :class:`gankit.training.Step`. With ``accumulate`` the targets of a micro-batch are its
            own domains.

    A call returns ``d_loss``, D's loss without H, ``g_loss``, the first term of G's, and ``cycle``,
    ``class_real`` and ``class_fake``, H on real images and on G's, without their weights.
    Raises ConfigError for arguments outside what is said here.
    """

    augments: ClassVar[bool] = True
    metrics: Mapping[str, str] = {
        "d_loss": "D loss",
        "g_loss": "G loss",
        "cycle": "cycle",
        "class_real": "domains of real",
        "class_fake": "domains of generated",
    }

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        domains: Sequence[str],
        *,
        exclusive: bool,
        class_weight: float = 1.0,
        cycle_weight: float = 10.0,
        penalty_weight: float = 10.0,
        n_critic: int = 5,
        **execution: Any,
    ) -> None:
        check_owner("g_optimizer", g_optimizer, "G", G)
        check_owner("d_optimizer", d_optimizer, "D", D)
        networks, optimizers = {"G": G, "D": D}, {"G": g_optimizer, "D": d_optimizer}
        super().__init__(networks, optimizers, averaged={"G": "G"}, **execution)
        self.domains, self.exclusive = tuple(domains), bool(exclusive)
        if len(self.domains) < (2 if exclusive else 1):
            raise ConfigError(
                f"domains are {', '.join(self.domains) or 'none'}; allowed are at least two that "
                "exclude each other, or one attribute"
            )
        self.fields = ("image", "label" if exclusive else "attributes")
        self.class_weight = weight("class_weight", class_weight)
        self.cycle_weight = weight("cycle_weight", cycle_weight)
        self.penalty_weight = weight("penalty_weight", penalty_weight)
        self.n_critic = whole("n_critic", n_critic)
        labelling = Labelling(G, D, True)
        if not labelling.classifies:
            raise ConfigError(
                f"D ({type(D).__name__}) takes labels; allowed is a D of images alone, to scores "
                "and the logits of the domains"
            )
        self.critic = Critic(D, self.run, labelling, "auto")

    @classmethod
    def from_parts(cls, parts: Any, **knobs: Any) -> StarGANStep:
        data, shape = parts.data, tuple(parts.data.fields["image"])
        domains = names_of_domains(data)
        offers = {"n_domains": len(domains), "image_shape": shape, "in_channels": shape[0]}
        G, D = parts.generator(**offers), parts.discriminator(**offers)
        knobs |= {"exclusive": "attributes" not in data.fields, **parts.execution}
        optimizers = parts.optimizer(G), parts.optimizer(D, lr=parts.d_lr)
        return cls(G, D, *optimizers, domains, **knobs)

    def schedule(self, call: int) -> tuple[Phase, ...]:
        d, g = Phase("D", "D"), Phase("G", "G")
        return (d, g) if call % self.n_critic == 0 else (d,)

    def all_phases(self) -> tuple[Phase, ...]:
        return self.schedule(self.n_critic)

    def draw(self, phase: str, n: int) -> Batch:
        return {"order": torch.rand(n, device=self.device)} if phase == "prepare" else {}

    def prepare(self, batch: Batch) -> None:
        own = batch["own"] = self._rows(batch)
        batch["target"] = own[batch["order"].argsort()]
        # D's update does not change G, so G learns from the images that D has seen.
        with torch.set_grad_enabled("G" in self.phases):
            batch["fake"] = self._translated(batch["image"], batch["target"])

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        real, fake = batch["image"], batch["fake"]
        if phase == "D":
            real, fake = self.augmented(real), self.augmented(fake.detach())
            real_out, fake_out = self.critic.both(real, fake, batch)
            self.observe_real(real_out.per_image(), None)  # a critic's scores have no middle
            entropy = self._entropy(real_out, batch["own"])
            critic_loss = fake_out.mean() - real_out.mean() + self._penalty(real, fake, real_out)
            loss = critic_loss + self.class_weight * entropy
            return loss, {"d_loss": critic_loss.detach(), "class_real": entropy.detach()}
        out = self.critic(self.augmented(fake), batch)
        score, entropy = out.mean(), self._entropy(out, batch["target"])
        cycle = F.l1_loss(self._translated(fake, batch["own"]), real)
        loss = self.class_weight * entropy + self.cycle_weight * cycle - score
        reported = {"g_loss": -score, "class_fake": entropy, "cycle": cycle}
        return loss, {name: value.detach() for name, value in reported.items()}

    def _translated(self, images: Tensor, target: Tensor) -> Tensor:
        return self.run_tensor(self.networks["G"], images, target)

    def _rows(self, batch: Batch) -> Tensor:
        """The domains of a batch as the networks see them, ``[N, K]``."""
        if self.exclusive:
            # F.one_hot looks at the values, which waits for the device.
            numbers = torch.arange(len(self.domains), device=self.device)
            return (batch["label"][:, None] == numbers).to(batch["image"].dtype)
        return batch["attributes"]

    def _entropy(self, out: Output, rows: Tensor) -> Tensor:
        self.stage = "the cross entropy of the domains"
        assert out.logits is not None
        if self.exclusive:
            return F.cross_entropy(out.logits, rows)
        pairs = F.binary_cross_entropy_with_logits(out.logits, rows, reduction="none")
        return pairs.sum(1).mean()

    def _penalty(self, real: Tensor, fake: Tensor, out: Output) -> Tensor:
        if not self.penalty_weight:
            return real.new_zeros(())
        self.stage = "the penalty"
        D, places = self.networks["D"], out.scores[0][0].numel()
        own = getattr(D, "critic", None)
        # The mean over the places is that many times less steep than the sum, whose norm is asked.
        return gradient_penalty(
            own() if callable(own) else PerImage(D),
            real,
            fake,
            weight=self.penalty_weight * places**2,
            target=1 / places,
            select="mean",
        )

    @property
    def inference_keys(self) -> dict[str, str]:
        return {"domains": self.key_of("G")}

    @property
    def interface(self) -> dict[str, Any]:
        return {"domains": list(self.domains), "exclusive": self.exclusive}

    @torch.no_grad()
    def check_outputs(self, batch: Batch) -> None:
        images, rows = batch["image"], self._rows(batch)
        shape = self._translated(images, rows).shape
        if shape != images.shape:
            raise ConfigError(
                f"G turned images of shape {list(images.shape)} into {list(shape)}; allowed is the "
                "same shape"
            )
        out = self.critic(images, batch)
        if len(out.scores) > 1:
            raise ConfigError(f"D returned {len(out.scores)} scales of scores; allowed is one")
        assert out.logits is not None
        if out.logits.shape[1] != len(self.domains):
            raise ConfigError(
                f"D returned the logits of {out.logits.shape[1]} domains; allowed are those of "
                f"{len(self.domains)}"
            )

    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        images, G = batch["image"], self.average_of("G")
        own, panels = self._rows(batch), [Panel("images", images.float().cpu())]
        for number, name in enumerate(self.domains[:_SHOWN]):
            if self.exclusive:
                target, caption = torch.zeros_like(own), name
                target[:, number] = 1
            else:
                target, caption = own.clone(), f"other {name}"
                target[:, number] = 1 - target[:, number]
            panels.append(Panel(caption, translate(G, images, seed=seed, target=target)))
        return panels

    def _check_fields(self, batch: Any) -> Batch:
        rows = batch.get("attributes") if isinstance(batch, dict) else None
        if isinstance(rows, Tensor) and not rows.is_floating_point():
            batch = {**batch, "attributes": rows.to(self.dtype)}
        given = super()._check_fields(batch)
        name, k = self.fields[1], len(self.domains)
        rows = given[name]
        if self.exclusive:
            if rows.dtype != torch.int64 or rows.ndim != 1:
                raise ConfigError(
                    f"label is {rows.dtype} of shape {list(rows.shape)}; allowed is int64 [N]"
                )
            # On other devices a look at the values would wait for them.
            if rows.is_cpu and not 0 <= int(rows.min()) <= int(rows.max()) < k:
                raise ConfigError(
                    f"labels lie in {int(rows.min())} to {int(rows.max())}; allowed are 0 to "
                    f"{k - 1}, the domains"
                )
        elif rows.shape[1:] != (k,):
            raise ConfigError(
                f"attributes have shape {list(rows.shape)}; allowed is [N, {k}], the domains"
            )
        return given


def names_of_domains(data: Any) -> tuple[str, ...]:
    """What the domains of ``data`` are called: its attributes where it has some, else its classes.

    Raises DataError if it has neither, or one class alone.
    """
    if "attributes" in data.fields:
        return tuple(data.attribute_names)
    if "label" not in data.fields or not isinstance(data, ImageSet):
        raise DataError(
            f"{data.name} has neither classes nor attributes, and StarGAN translates between them; "
            "expected a folder with a folder of images for each of two classes or more, or a set "
            "with attributes"
        )
    count = class_count(data)
    if count < 2:
        raise DataError(f"{data.name} has one class alone; StarGAN needs at least two")
    return tuple(data.class_name(number) for number in range(count))


STARGAN = Recipe(
    "stargan",
    "StarGAN (Choi et al., 2017), images of many domains by one generator: --data folder:PATH",
    RunConfig(
        "stargan",
        generator="gankit.models.stargan.Generator",
        discriminator="gankit.models.stargan.Discriminator",
        step="gankit.gans.stargan.StarGANStep",
        data="toy:shapes",
        image_size=128,
        epochs=None,
        steps=200_000,
        batch_size=16,
        lr=1e-4,
        schedule="gankit.training.schedules.LinearDecay",
    ),
    (
        "Networks, weights 1, 10 and 10, five critic steps, Adam 1e-4 (0.5, 0.999) to 0 over the "
        "second half, batches of 16: Choi et al., 2017, arXiv 1711.09020, sections 4.3, 5.2 and "
        "appendix",
        "200,000 steps, of which a fifth are G's, and the penalty on the sum of an image's scores: "
        "https://github.com/yunjey/stargan",
        "toy:shapes in place of the paper's data: gankit default",
    ),
)
RECIPES = (STARGAN,)
