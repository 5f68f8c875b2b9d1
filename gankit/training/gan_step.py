"""One training step of a GAN: the textbook loop without its waste.

The textbook loop (Goodfellow et al. 2014, arXiv 1406.2661) trains D on a batch of real and a batch
of generated images, then G through D. Written plainly it computes gradients that are thrown away:
G's while D learns, and D's while G learns. ``GANStep`` computes the same updates without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from gankit.data import Batch as Resident
from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss, resolve
from gankit.losses.adversarial import Functions
from gankit.nn.inference import eval_mode
from gankit.training.arguments import (
    Auto,
    auto,
    check_penalty,
    check_reuse,
    positive_or_none,
    truth,
    whole,
)
from gankit.training.augmentation import Augmentation
from gankit.training.batches import warn_of_range
from gankit.training.critic import Critic
from gankit.training.gan_reports import CLASS_METRICS, GANReports
from gankit.training.labelling import Labelling
from gankit.training.noise import Distribution, NoiseSource, noise_for
from gankit.training.optimizers import check_owner
from gankit.training.outputs import Output, classification_loss, over_scales
from gankit.training.pairing import reads_logits
from gankit.training.phases import Batch, Phase, Scalars
from gankit.training.sharing import shared_parameters
from gankit.training.step import Precision

if TYPE_CHECKING:
    from gankit.training.parts import Parts

Penalty = Callable[..., Tensor]
_D, _PENALIZED, _G = Phase("D", "D"), Phase("D+penalty", "D"), Phase("G", "G")


class GANStep(GANReports):
    """Trains G and D by one step per call: D's update first, then G's.

    Args:
        G: generator, from noise to images. Needs an int attribute ``z_dim`` unless ``noise`` is
            given.
        D: discriminator, from images ``[N, ...]`` to one value per image ``[N, 1]`` or ``[N]``:
            a probability if it ends in ``nn.Sigmoid``, else a logit. Or to a map of scores, a list
            of them, or more beside the score (:mod:`gankit.training.outputs`); the loss of several
            scales is the mean of theirs.
        g_optimizer, d_optimizer: optimizers over G's and over D's parameters.
        loss: name known to ``gankit.losses.resolve``, an ``AdversarialLoss``, or functions of yours
            (``AdversarialLoss.of``).
        penalty: ``penalty(D, real, fake) -> 0-d tensor``, added to D's loss. ``fake`` is detached.
            It runs outside autocast. Where D returns more than one tensor, it is given a critic of
            one score per image, their mean, in place of D.
        n_critic: D learns in every call, G in every ``n_critic``-th.
        paired: one pass of D over ``cat([real, fake])`` in place of two. "auto" does so only where
            every layer is known to treat each sample on its own (``gankit.training.pairing``): a
            known layer of torch or gankit without hooks, inside ``nn.Sequential`` or a model of
            ``gankit.models``. For a D with its own ``forward`` say ``paired=True`` if that holds.
            With dropout the two halves draw other masks than two passes would, from the same
            distribution.
        precision: as for :class:`gankit.training.Step`, like cuda_graph, ema (of G), channels_last,
            accumulate and augment. "bf16" asks for a D that returns logits: a Sigmoid in bfloat16
            rounds to 1, where its gradient is 0.
        reuse_fakes: G learns from the fakes of D's update (one forward of G fewer) in place of new
            ones.
        noise: ``noise(n) -> z``; default N(0, 1) of shape ``[n, G.z_dim]``.
        from_logits: whether D returns logits. "auto": False iff D ends in ``nn.Sigmoid``, layers
            that only reshape or drop aside. It must be said where D's own code hides that.
        eval_fakes: G makes the fakes of D's update in eval mode, as a Keras loop with ``predict``
            does.
        clip_weights: after each of D's updates its parameters are clamped to
            [-clip_weights, clip_weights] (Arjovsky et al., 2017, arXiv 1701.07875).
        penalty_every: the penalty enters every so many calls, scaled by the interval (lazy
            regularization: Karras et al., 2020, arXiv 1912.04958, appendix B).
        conditional: the step reads ``label`` beside ``image``, for G and, where its forward takes
            a second argument, for D; any other D must have a class head, whose cross entropy on
            real and on generated images joins both losses (AC-GAN: Odena et al., 2016, arXiv
            1610.09585). "auto": iff G has an int attribute ``n_classes``.

    Raises ConfigError for arguments outside what is said here.

    ``paired`` (attribute) says what happens now, and ``notes`` says why, in sentences.
    """

    supplied: ClassVar[tuple[str, ...]] = ("noise",)
    augments: ClassVar[bool] = True
    _words: ClassVar[Mapping[str, str]] = {"image": "real", "label": "labels"}

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        loss: str | AdversarialLoss | Functions = "non-saturating",
        penalty: Penalty | None = None,
        n_critic: int = 1,
        paired: Auto = "auto",
        cuda_graph: Auto = "auto",
        precision: Precision = "fp32",
        reuse_fakes: bool = False,
        *,
        noise: NoiseSource | None = None,
        from_logits: Auto = "auto",
        eval_fakes: bool = False,
        clip_weights: float | None = None,
        penalty_every: int = 1,
        conditional: Auto = "auto",
        ema: float | None = None,
        channels_last: Auto = "auto",
        accumulate: int = 1,
        augment: Augmentation | None = None,
    ) -> None:
        check_owner("g_optimizer", g_optimizer, "G", G)
        check_owner("d_optimizer", d_optimizer, "D", D)
        check_penalty(penalty)
        asked = auto("paired", paired)
        reuse, in_eval = truth("reuse_fakes", reuse_fakes), truth("eval_fakes", eval_fakes)
        shared = shared_parameters(G, D)
        check_reuse(reuse, in_eval, shared)
        logits = reads_logits(D, from_logits, precision)
        adversarial = resolve(loss, from_logits=logits)
        noise = noise if noise is not None else noise_for(G)
        own = getattr(noise, "generator", None)
        labelling = Labelling(G, D, conditional)
        super().__init__(
            {"G": G, "D": D},
            {"G": g_optimizer, "D": d_optimizer},
            averaged={"G": "G"},
            generators=(own,) if isinstance(own, torch.Generator) else (),
            precision=precision,
            accumulate=accumulate,
            ema=ema,
            channels_last=channels_last,
            cuda_graph=cuda_graph,
            augment=augment,
        )
        self.loss, self.penalty, self.noise, self.from_logits = adversarial, penalty, noise, logits
        self.n_critic = whole("n_critic", n_critic)
        self.penalty_every = whole("penalty_every", penalty_every)
        self.clip_weights = positive_or_none("clip_weights", clip_weights)
        self.reuse_fakes, self.eval_fakes, self.shared = reuse, in_eval, shared
        self.labelling, self.fields = labelling, labelling.fields
        if labelling.classifies:
            self.metrics = {**self.metrics, **CLASS_METRICS}
        self.critic, self._range_seen = Critic(D, self.run, labelling, asked), False
        self._d_weights: list[Tensor] = list(D.parameters())

    @classmethod
    def from_parts(
        cls, parts: Parts, *, z_distribution: Distribution = "normal", **knobs: Any
    ) -> GANStep:
        """Two networks, an optimizer each; ``loss`` and ``penalty`` may be import paths.

        Args:
            z_distribution: of the noise: ``"normal"``, N(0, 1), or ``"uniform"``, U[-1, 1).
        """
        G, D = parts.generator(), parts.discriminator()
        if "loss" in knobs:
            precision = parts.execution["precision"]
            logits = reads_logits(D, knobs.get("from_logits", "auto"), precision)
            knobs["loss"] = parts.loss(knobs["loss"], from_logits=logits)
        if "penalty" in knobs:
            knobs["penalty"] = parts.penalty(knobs["penalty"])
        g_optimizer, d_optimizer = parts.optimizer(G), parts.optimizer(D, lr=parts.d_lr)
        knobs["noise"] = noise_for(G, z_distribution)
        return cls(G, D, g_optimizer, d_optimizer, **knobs, **parts.execution)

    def schedule(self, call: int) -> tuple[Phase, ...]:
        d = _D if self.penalty is None or call % self.penalty_every else _PENALIZED
        return (d, _G) if call % self.n_critic == 0 else (d,)

    def all_phases(self) -> tuple[Phase, ...]:
        return (_D if self.penalty is None else _PENALIZED, _G)

    def forward(  # type: ignore[override]
        self, real: Tensor | Resident | Batch, labels: Tensor | None = None
    ) -> Scalars:
        """Train on one batch of real images ``[N, ...]`` (floating point, on D's device), or on a
        dict or a ``gankit.data.Batch`` as for :class:`gankit.training.Step`.

        With ``labels`` ``[N, ...]`` both networks are conditional (Mirza and Osindero, 2014, arXiv
        1411.1784): G is called as ``G(z, labels)``, D as ``D(images, labels)``, and the penalty is
        given ``critic_args=(labels,)``.

        Returns detached 0-d tensors without synchronizing with the device: ``d_loss``; ``g_loss``
        of G's latest update (NaN before its first, which happens only with n_critic > 1);
        ``d_real`` and ``d_fake``, the mean probability that D, before its update, gives to the real
        and to the generated images, or its mean score where the loss is one of scores; with a class
        head its cross entropies ``class_real`` and ``class_fake``, parts of ``d_loss``.
        """
        return super().forward(real, _labels(labels))

    def dry_run(  # type: ignore[override]
        self, real: Tensor | Resident | Batch, labels: Tensor | None = None
    ) -> None:
        """All phases up to their gradients without learning; see :meth:`Step.dry_run`.

        G's images must have as many values as the real ones, D's output be one of scores.
        """
        super().dry_run(real, _labels(labels))

    def draw(self, phase: str, n: int) -> Batch:
        reused = self.reuse_fakes and "G" in self.phases
        return {"z": self.noise(n)} if reused == (phase == "prepare") else {}

    def prepare(self, batch: Batch) -> None:
        if "z" in batch:
            batch["fake"] = self._generate(batch)

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        return self._g_loss(batch) if phase == "G" else self._d_loss(phase, batch)

    def _d_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        real, fake = batch["image"], batch.get("fake")
        if fake is None:
            with torch.no_grad(), eval_mode(self.G) if self.eval_fakes else nullcontext():
                fake = self._generate(batch)
        real, fake = self.shown(real, batch), self.shown(fake.detach(), batch)
        real_out, fake_out = self.critic.both(real, fake, batch)
        if self.augmentation is not None:
            self.observe_real(real_out.per_image(), self.loss.boundary)
        self.stage = f"D's side of the loss {self.loss.name!r}"
        loss = self.d_objective(real_out, fake_out)
        reported = {"d_real": real_out.mean(self.read), "d_fake": fake_out.mean(self.read)}
        if self.labelling.classifies:
            classes = [classification_loss(o, batch["label"]) for o in (real_out, fake_out)]
            loss = loss + classes[0] + classes[1]
            reported |= {"class_real": classes[0], "class_fake": classes[1]}
        if phase == _PENALIZED.name and self.penalty is not None:
            self.stage = "the penalty"
            penalty = self.critic.penalty(self.penalty, real, fake, batch, alone=real_out.alone)
            loss = loss + self.penalty_every * penalty
        return loss, {name: x.detach() for name, x in {"d_loss": loss, **reported}.items()}

    def _g_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        fake_out, real_out = self.critic(self.shown(self.fakes(batch), batch), batch), None
        if self.loss.relativistic:
            real_out = self.critic(self.shown(batch["image"], batch), batch)
        self.stage = f"G's side of the loss {self.loss.name!r}"
        loss = self.g_objective(fake_out, real_out)
        if self.labelling.classifies:
            loss = loss + classification_loss(fake_out, batch["label"])
        return loss, {"g_loss": loss.detach()}

    def d_objective(self, real: Output, fake: Output) -> Tensor:
        """D's side of the adversarial loss."""
        return over_scales(self.loss.discriminator, real, fake)

    def g_objective(self, fake: Output, real: Output | None) -> Tensor:
        """G's side of it; ``real`` is there for relativistic losses."""
        return over_scales(self.loss.generator, *((fake,) if real is None else (fake, real)))

    def after_update(self, phase: str) -> None:
        if phase != "G" and self.clip_weights is not None:
            with torch.no_grad():
                torch._foreach_clamp_max_(self._d_weights, self.clip_weights)
                torch._foreach_clamp_min_(self._d_weights, -self.clip_weights)

    def loss_words(self, phase: str) -> str:
        return "G's loss" if phase == "G" else "D's loss"

    def fakes(self, batch: Batch) -> Tensor:
        """The images that G learns from: those of D's update, or of new noise."""
        fake = batch.get("fake")
        fake = self._generate(batch) if fake is None else fake
        if not self._range_seen:
            self._range_seen = True
            warn_of_range(batch["image"], fake, self.G)
        return fake

    def shown(self, images: Tensor, batch: Batch) -> Tensor:
        """Real or generated ``images`` as D is given them, augmented in the shape of the real ones.

        A penalty is given them too: what it keeps smooth is D, whose input they are.
        """
        if self.augmentation is None:
            return images
        return self.augmented(images.reshape(batch["image"].shape))

    def _generate(self, batch: Batch) -> Tensor:
        real, z = batch["image"], batch["z"]
        fake = self.run_tensor(self.G, z, *self.labelling.of_g(batch))
        # A fully convolutional D takes images of any size, and tells them apart by it.
        if fake.shape[:1] != z.shape[:1] or fake.numel() * len(real) != real.numel() * len(z):
            raise ConfigError(
                f"G returned images of shape {list(fake.shape)} for {len(z)} noise vectors; "
                f"allowed is the shape of the real ones, {list(real.shape)}"
            )
        return fake

    def _check_fields(self, batch: Any) -> Batch:
        given = super()._check_fields(batch)
        if "label" in given:
            self.labelling.check(given["label"])
        return given


def _labels(labels: Tensor | None) -> Batch:
    return {} if labels is None else {"label": labels}
