"""What a GAN of two networks reports: its metrics, sentences, curves and pictures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gankit.losses import AdversarialLoss
from gankit.training.critic import Critic
from gankit.training.labelling import Labelling
from gankit.training.noise import Distribution, NoiseSource
from gankit.training.phases import Batch
from gankit.training.pictures import generate
from gankit.training.reports import Curves, Panel
from gankit.training.step import Step

# Those of a class head.
CLASS_METRICS = {"class_real": "classes of real", "class_fake": "classes of generated"}


class GANReports(Step):
    """The half of :class:`gankit.training.GANStep` that computes nothing to train with."""

    G: nn.Module
    D: nn.Module
    loss: AdversarialLoss
    noise: NoiseSource
    critic: Critic
    labelling: Labelling
    from_logits: bool
    shared: tuple[str, ...]
    metrics: Mapping[str, str] = {
        "d_loss": "D loss",
        "g_loss": "G loss",
        "d_real": "D(real)",
        "d_fake": "D(fake)",
    }

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

    @property
    def z_distribution(self) -> Distribution:  # type: ignore[override]
        return getattr(self.noise, "distribution", "normal")

    @property
    def paired(self) -> bool:
        """Whether D sees real and fake images in one pass, in D's present mode."""
        return not self.critic.passes.reason()

    @property
    def notes(self) -> tuple[str, ...]:
        kind = "logits" if self.from_logits else "probabilities"
        kind = "scores" if self.loss.scores else kind
        found = [self.critic.passes.note(), f"D's output is read as {kind}.", *super().notes]
        if self.labelling.classifies:
            found.append("D has a class head, whose cross entropy joins both losses.")
        if self.shared:
            found.append(
                f"G and D share {len(self.shared)} parameters, which learn in the updates whose "
                "optimizer holds them."
            )
        return tuple(found)

    def seen(self, images: Tensor) -> Tensor:
        """Real ``images`` ``[N, ...]`` as D is given them, but for augmentations; linear in them.

        By default they themselves.
        """
        return images

    def read(self, score: Tensor) -> Tensor:
        """D's output, detached, as probabilities, or as it is where the loss is one of scores."""
        score = score.detach()
        return score.sigmoid() if self.from_logits and not self.loss.scores else score

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """With ``critic_distance``, ``d_real - d_fake``: for a Wasserstein critic its estimate of
        the distance between the images, the curve that says when to stop (Arjovsky et al., 2017,
        arXiv 1701.07875)."""
        return {**means, "critic_distance": means["d_real"] - means["d_fake"]}

    def curves(self) -> tuple[Curves, ...]:
        outputs = {"d_real": "D(real)", "d_fake": "D(fake)"}
        found = [Curves("loss", {"d_loss": "D loss", "g_loss": "G loss"})]
        if self.loss.scores:
            outputs["critic_distance"] = "D(real) - D(fake)"
            found.append(Curves("mean energy" if self.loss.energies else "mean score", outputs))
        else:
            found.append(Curves("mean probability of real", outputs, (0.0, 1.0)))
        if self.labelling.classifies:
            found.append(Curves("cross entropy", CLASS_METRICS))
        if self.augmentation is not None and self.augmentation.metrics:
            found.append(Curves("augmentation", self.augmentation.metrics, (-1.0, 1.0)))
        return tuple(found)

    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        real = batch["image"].float().cpu()
        fake = generate(
            self.sampled,
            len(real),
            seed=seed,
            distribution=self.z_distribution,
            labels=batch.get("label"),
        )
        return [Panel("generated", fake.reshape(real.shape)), Panel("real", real)]

    def answer(self, samples: Tensor) -> Tensor:
        """D's probability, or score, of each of ``samples`` in eval mode, ``[N]`` on the CPU."""
        return self.read(self.critic.scores(samples.to(self.device, self.dtype)).float().cpu())
