"""One training step of a GAN: the textbook loop without its waste.

The textbook loop (Goodfellow et al. 2014, arXiv 1406.2661) trains D on a batch of real and a batch
of generated images, then G through D. Written plainly it computes gradients that are thrown away:
G's while D learns, and D's while G learns. ``GANStep`` computes the same updates without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gankit.data import Batch as Resident
from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss, resolve
from gankit.losses.wrapped import eagerly
from gankit.scalars import is_integer
from gankit.training.arguments import (
    Auto,
    auto,
    check_penalty,
    check_takes_labels,
    positive_or_none,
    truth,
    whole,
)
from gankit.training.batches import warn_of_range
from gankit.training.modules import eval_mode
from gankit.training.noise import NoiseSource, noise_for
from gankit.training.optimizers import check_owner
from gankit.training.pairing import ends_in_sigmoid, examine
from gankit.training.phases import Batch, Phase, Scalars
from gankit.training.pictures import generate
from gankit.training.reports import Curves, Panel
from gankit.training.sharing import shared_parameters
from gankit.training.step import Precision, Step

Penalty = Callable[..., Tensor]
_D, _PENALIZED, _G = Phase("D", "D"), Phase("D+penalty", "D"), Phase("G", "G")


class GANStep(Step):
    """Trains G and D by one step per call: D's update first, then G's.

    Args:
        G: generator, from noise to images. Needs an int attribute ``z_dim`` unless ``noise`` is
            given.
        D: discriminator, from images ``[N, ...]`` to one value per image ``[N, 1]`` or ``[N]``:
            a probability if it ends in ``nn.Sigmoid``, else a logit.
        g_optimizer, d_optimizer: optimizers over G's and over D's parameters.
        loss: name known to ``gankit.losses.resolve``, or an ``AdversarialLoss``.
        penalty: ``penalty(D, real, fake) -> 0-d tensor``, added to D's loss. ``fake`` is detached.
            It runs outside autocast.
        n_critic: D learns in every call, G in every ``n_critic``-th.
        paired: one pass of D over ``cat([real, fake])`` in place of two. "auto" does so only where
            every layer is known to treat each sample on its own (``gankit.training.pairing``): a
            known layer of torch or gankit without hooks, inside ``nn.Sequential`` or a model of
            ``gankit.models``. For a D with its own ``forward`` say ``paired=True`` if that holds.
            With dropout the two halves draw other masks than two passes would, from the same
            distribution.
        cuda_graph: "auto" replays the step as one CUDA graph per sequence of phases and batch shape
            where the networks are on CUDA (:mod:`gankit.training.graph`) and runs eagerly
            elsewhere; True is an error elsewhere; False runs eagerly.
        precision: "fp32" leaves the models' dtype alone; "bf16" runs each forward in its own
            autocast block and computes the losses from D's logits in float32. It asks for a D that
            returns logits: a Sigmoid in bfloat16 rounds to 1, where its gradient is 0.
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
        conditional: the step reads ``label`` beside ``image``; "auto": iff G has an int attribute
            ``n_classes``.
        ema: decay of a moving average of G's weights, in [0, 1); after each of G's updates
            ``average = ema average + (1 - ema) G``. The attribute ``ema`` is that copy of G, or
            None.
        channels_last: keep 4-d weights and images channels last, in which the convolutions of
            oneDNN with AVX-512 and, in half precision, cuDNN run fastest. "auto" does so for
            networks of torch's and gankit's layers with 2-d convolutions, on CPUs with AVX-512 and
            for bf16 on CUDA; with large weights and a small batch False is faster. It changes the
            strides of G's and D's parameters, not their values.
        accumulate: gradient accumulation: each update works through the batch in that many equal
            micro-batches, one after the other: less memory, the same mathematics. What looks at a
            batch as a whole then looks at a micro-batch: batch norm takes its statistics, and
            moves the running ones, part by part; so take the relativistic average losses their
            means, and the pulling-away term its pairs. BEGAN's balance does not go in parts.
            Dropout draws other masks. With ``reuse_fakes`` the graphs of all of G's micro-batches
            stay in memory.

    Raises ConfigError for arguments outside what is said here.

    ``paired`` (attribute) says what happens now, and ``notes`` says why, in sentences.
    """

    G: nn.Module
    D: nn.Module
    metrics: Mapping[str, str] = {
        "d_loss": "D loss",
        "g_loss": "G loss",
        "d_real": "D(real)",
        "d_fake": "D(fake)",
    }
    _words: ClassVar[Mapping[str, str]] = {"image": "real", "label": "labels"}

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        loss: str | AdversarialLoss = "non-saturating",
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
    ) -> None:
        check_owner("g_optimizer", g_optimizer, "G", G)
        check_owner("d_optimizer", d_optimizer, "D", D)
        check_penalty(penalty)
        asked = auto("paired", paired)
        reuse, in_eval = truth("reuse_fakes", reuse_fakes), truth("eval_fakes", eval_fakes)
        shared = shared_parameters(G, D)
        if reuse and in_eval:
            raise ConfigError(
                "reuse_fakes=True and eval_fakes=True exclude each other: G learns from fakes made "
                "in training mode"
            )
        if reuse and shared:
            raise ConfigError(
                f"reuse_fakes=True needs a G whose weights stay as they are while D learns, but D "
                f"shares {', '.join(shared)} with it; allowed is False"
            )
        logits = auto("from_logits", from_logits)
        logits = not ends_in_sigmoid(D) if logits == "auto" else logits
        if precision == "bf16" and not logits:
            raise ConfigError(
                "precision='bf16' needs a D that returns logits, since in bfloat16 a probability "
                "near 1 rounds to 1 and its gradient to 0: build D with output='logit' or without "
                "its last nn.Sigmoid, or pass from_logits=True if it returns logits already"
            )
        game = resolve(loss, from_logits=logits)
        if accumulate != 1 and not game.in_parts:
            raise ConfigError(
                f"accumulate is {accumulate}; allowed with the loss {game.name!r} is 1"
            )
        noise = noise if noise is not None else noise_for(G)
        own = getattr(noise, "generator", None)
        critic, every = whole("n_critic", n_critic), whole("penalty_every", penalty_every)
        clip = positive_or_none("clip_weights", clip_weights)
        labelled = auto("conditional", conditional)
        if labelled == "auto":
            labelled = is_integer(getattr(G, "n_classes", None))
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
        )
        self.fields = ("image", "label") if labelled else ("image",)
        self.loss, self.penalty, self.noise = game, penalty, noise
        self.from_logits, self.n_critic, self.penalty_every = logits, critic, every
        self.reuse_fakes, self.eval_fakes, self.clip_weights = reuse, in_eval, clip
        self._asked, self._shared, self._pairing = asked, shared, examine(D)
        self._shapes_differ = self._range_seen = False
        self._d_weights: list[Tensor] = list(D.parameters())

    @property
    def g_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of G."""
        return self.optimizers["G"]

    @property
    def d_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of D."""
        return self.optimizers["D"]

    @property
    def ema(self) -> nn.Module | None:
        """The moving average of G, in eval mode; None without ``ema``."""
        return self.average_of("G") if "G" in self.averages else None

    @property
    def sampled(self) -> nn.Module:
        """The network to draw samples from: the moving average where there is one, else G."""
        return self.average_of("G")

    # --- what it computes ---------------------------------------------------------------------

    def schedule(self, call: int) -> tuple[Phase, ...]:
        d = _D if self.penalty is None or call % self.penalty_every else _PENALIZED
        return (d, _G) if call % self.n_critic == 0 else (d,)

    def all_phases(self) -> tuple[Phase, ...]:
        return (_D if self.penalty is None else _PENALIZED, _G)

    def forward(  # type: ignore[override]
        self, real: Tensor | Resident | Batch, labels: Tensor | None = None
    ) -> Scalars:
        """Train on one batch of real images ``[N, ...]`` (floating point, on D's device).

        A ``gankit.data.Batch`` in their place names images of a set on the device, which are then
        gathered by the step, as a part of its CUDA graph; a dict has ``image`` and, for conditional
        networks, ``label``.

        With ``labels`` ``[N, ...]`` both networks are conditional (Mirza and Osindero, 2014, arXiv
        1411.1784): G is called as ``G(z, labels)``, D as ``D(images, labels)``, and the penalty is
        given ``critic_args=(labels,)``.

        Returns detached 0-d tensors without synchronizing with the device: ``d_loss``; ``g_loss``
        of G's latest update (NaN before its first, which happens only with n_critic > 1);
        ``d_real`` and ``d_fake``, the mean probability that D, before its update, gives to the real
        and to the generated images, or its mean score where the loss is one of scores.
        """
        return super().forward(real, _labels(labels))

    def dry_run(  # type: ignore[override]
        self, real: Tensor | Resident | Batch, labels: Tensor | None = None
    ) -> None:
        """All phases up to their gradients without learning; see :meth:`Step.dry_run`.

        G's images must have as many values as the real ones, D's output one value per image.
        """
        super().dry_run(real, _labels(labels))

    def draw(self, phase: str, n: int) -> Batch:
        reused = self.reuse_fakes and "G" in self.phases
        return {"z": self.noise(n)} if reused == (phase == "prepare") else {}

    def prepare(self, batch: Batch) -> None:
        if "z" in batch:
            batch["fake"] = self._generate(batch)

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        if phase == "G":
            return self._g_loss(batch)
        real, fake = batch["image"], batch.get("fake")
        if fake is None:
            with torch.no_grad(), eval_mode(self.G) if self.eval_fakes else nullcontext():
                fake = self._generate(batch)
        fake = fake.detach()
        real_out, fake_out = self._discriminate_both(real, fake, batch)
        self.stage = f"D's side of the loss {self.loss.name!r}"
        loss = self.loss.discriminator(real_out, fake_out)
        if phase == _PENALIZED.name:
            loss = loss + self.penalty_every * self._checked_penalty(real, fake, batch)
        return loss, {
            "d_loss": loss.detach(),
            "d_real": self._mean_output(real_out),
            "d_fake": self._mean_output(fake_out),
        }

    def _g_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        real, fake = batch["image"], batch.get("fake")
        fake = self._generate(batch) if fake is None else fake
        if not self._range_seen:
            self._range_seen = True
            warn_of_range(real, fake, self.G)
        outputs = [self._discriminate(fake, batch)]
        if self.loss.relativistic:
            outputs.append(self._discriminate(real, batch))
        self.stage = f"G's side of the loss {self.loss.name!r}"
        loss = self.loss.generator(*outputs)
        return loss, {"g_loss": loss.detach()}

    def after_update(self, phase: str) -> None:
        if phase != "G" and self.clip_weights is not None:
            with torch.no_grad():
                torch._foreach_clamp_max_(self._d_weights, self.clip_weights)
                torch._foreach_clamp_min_(self._d_weights, -self.clip_weights)

    def loss_words(self, phase: str) -> str:
        return "G's loss" if phase == "G" else "D's loss"

    def check_outputs(self, batch: Batch) -> None:
        real = batch["image"]
        n = len(real)
        with torch.no_grad():
            fake = self._generate({**batch, "z": self.noise(n)})
        if fake.ndim == 0 or fake.shape[0] != n or fake[0].numel() != real[0].numel():
            raise ConfigError(
                f"G returned images of shape {list(fake.shape)} for {n} noise vectors; allowed is "
                f"the shape of the real ones, {list(real.shape)}"
            )

    def _generate(self, batch: Batch) -> Tensor:
        return self.run_tensor(self.G, batch["z"], *_condition(batch))

    def _discriminate(self, images: Tensor, batch: Batch) -> Tensor:
        return self._output(images, *_condition(batch))

    def _output(self, images: Tensor, *condition: Tensor) -> Tensor:
        out = self.run_tensor(self.D, images, *condition)
        n = images.shape[0]
        if out.ndim == 0 or out.shape[0] != n or out.numel() != n:
            raise ConfigError(
                f"D returned {list(out.shape)} for {n} images; allowed is one value per image, "
                f"[{n}, 1] or [{n}], such as the mean over the places of a patch discriminator"
            )
        return out

    def _discriminate_both(self, real: Tensor, fake: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        self._shapes_differ = real.shape != fake.shape
        if self._shapes_differ and self._asked is True:
            raise ConfigError(
                f"paired=True needs fakes shaped like the real images: G made {list(fake.shape)}, "
                f"real is {list(real.shape)}"
            )
        if self._reason_for_two_passes():
            return self._discriminate(real, batch), self._discriminate(fake, batch)
        both = [torch.cat([labels, labels]) for labels in _condition(batch)]
        with self._pairing.halves():
            out = self._output(torch.cat([real, fake.to(real.dtype)]), *both)
        real_out, fake_out = out.split(real.shape[0])
        return real_out, fake_out

    def _checked_penalty(self, real: Tensor, fake: Tensor, batch: Batch) -> Tensor:
        assert self.penalty is not None
        condition: dict[str, Any] = {}
        if "label" in batch:
            check_takes_labels(self.penalty)
            condition["critic_args"] = _condition(batch)
        self.stage = "the penalty"
        with eagerly():  # compiled code has no double backward
            value = self.penalty(self.D, real, fake, **condition)
        if not isinstance(value, Tensor) or value.ndim != 0:
            got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ConfigError(f"penalty returned {got}; allowed is a 0-d tensor")
        return value

    def _mean_output(self, out: Tensor) -> Tensor:
        out = out.detach()
        return (out.sigmoid() if self.from_logits and not self.loss.scores else out).mean()

    # --- what it reports ----------------------------------------------------------------------

    @property
    def paired(self) -> bool:
        """Whether D sees real and fake images in one pass, in D's present mode."""
        return not self._reason_for_two_passes()

    def _reason_for_two_passes(self) -> str:
        if self._asked is False:
            return "paired=False"
        if self._shapes_differ:
            return "G's images have another shape than the real ones"
        return "" if self._asked is True else self._pairing.reason_now()

    @property
    def notes(self) -> tuple[str, ...]:
        reason = self._reason_for_two_passes()
        if reason:
            first = f"D makes two passes, one over real and one over fake images: {reason}."
        elif self._asked is True:
            first = "D makes one pass over real and fake images: paired=True."
        else:
            first = (
                "D makes one pass over real and fake images: every layer treats each sample on its "
                "own."
            )
        kind = "logits" if self.from_logits else "probabilities"
        kind = "scores" if self.loss.scores else kind
        graph, *others = super().notes
        notes = [first, f"D's output is read as {kind}.", graph, *others]
        if self._shared:
            notes.append(
                f"G and D share {len(self._shared)} parameters, which learn in the updates whose "
                "optimizer holds them."
            )
        return tuple(notes)

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """With ``critic_distance``, ``d_real - d_fake``: for a Wasserstein critic its estimate of
        the distance between the images, the curve that says when to stop (Arjovsky et al., 2017,
        arXiv 1701.07875)."""
        return {**means, "critic_distance": means["d_real"] - means["d_fake"]}

    def curves(self) -> tuple[Curves, ...]:
        losses = Curves("loss", {"d_loss": "D loss", "g_loss": "G loss"})
        outputs = {"d_real": "D(real)", "d_fake": "D(fake)"}
        if not self.loss.scores:
            return losses, Curves("mean probability of real", outputs, (0.0, 1.0))
        outputs["critic_distance"] = "D(real) - D(fake)"
        return losses, Curves("mean energy" if self.loss.energies else "mean score", outputs)

    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        real = batch["image"].float().cpu()
        fake = generate(
            self.sampled,
            len(real),
            seed=seed,
            distribution=getattr(self.noise, "distribution", "normal"),
            labels=batch.get("label"),
        )
        return [Panel("generated", fake.reshape(real.shape)), Panel("real", real)]

    @torch.no_grad()
    def answer(self, samples: Tensor) -> Tensor:
        """D's probabilities, or scores, of ``samples`` in eval mode, on the CPU."""
        with eval_mode(self.D):
            out = self.D(samples.to(self.device)).float().cpu()
        return out.sigmoid() if self.from_logits and not self.loss.scores else out


def _labels(labels: Tensor | None) -> Batch:
    return {} if labels is None else {"label": labels}


def _condition(batch: Batch) -> tuple[Tensor, ...]:
    return (batch["label"],) if "label" in batch else ()
