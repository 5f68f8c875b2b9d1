"""What goes wrong in a GAN, said in words while it trains."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gankit.data import ImageSet
from gankit.data.labelled import UNLABELLED
from gankit.errors import CheckpointError, ConfigError
from gankit.training.callbacks import Callback
from gankit.training.gan_step import GANStep
from gankit.training.noise import Distribution
from gankit.training.pictures import generate

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer

_LOG = logging.getLogger(__name__)
_TINY = 1e-12


@dataclass(frozen=True)
class Health:
    """One look at a GAN, on ``samples`` real and generated images, both networks in eval mode.

    ``accuracy``, ``false_positives`` (generated images taken for real), ``false_negatives`` (real
    ones taken for generated) and ``logit_gap`` (mean logit of real less that of generated images)
    are NaN where D gives scores. ``diversity`` is the mean distance between two generated images
    over that between two real ones; ``distance`` is how far the means and the standard deviations
    of all pixels lie apart, over the spread of the real ones. ``modes`` counts the classes that
    have at least a tenth of their share of the generated images (by the nearest class mean),
    ``classes`` those of the labelled images; both are 0 without labels. ``g_gradient`` is the norm
    of G's latest gradient.
    """

    accuracy: float
    false_positives: float
    false_negatives: float
    logit_gap: float
    diversity: float
    distance: float
    modes: int
    classes: int
    g_gradient: float


class Diagnostics(Callback):
    """Warns, by ``logging``, of a D too strong or too weak, mode collapse, a vanishing gradient.

    Each is said once, with what to try, when ``patience`` looks in a row have shown it, and again
    only after it was gone. A look draws no global random number and changes nothing; it costs one
    forward of G and two of D. NaN and infinite values end a run anyway (``DivergedError``).

    Args:
        every: logs between two looks.
        samples: images in a look.
        patience: looks in a row that must agree.
        after: updates of G before the first look; a G that has just begun makes one grey image.

    ``health`` is the latest look, ``said`` holds the warnings so far with their steps, also those
    before a resume. Raises ConfigError for arguments below 1.
    """

    def __init__(
        self, *, every: int = 4, samples: int = 128, patience: int = 3, after: int = 500
    ) -> None:
        given = (("every", every), ("samples", samples), ("patience", patience), ("after", after))
        for name, value in given:
            if value < 1:
                raise ConfigError(f"{name} is {value}; allowed are integers from 1")
        self.every, self.samples, self.patience, self.after = every, samples, patience, after
        self.health: Health | None = None
        self.said: list[tuple[int, str]] = []
        self._looks = 0
        self._classes: Classes | None = None
        self._logs = 0
        self._streaks: dict[str, int] = {}

    @property
    def found(self) -> list[str]:
        """The warnings so far."""
        return [sentence for _, sentence in self.said]

    def state_dict(self) -> dict[str, Any]:
        return {
            "logs": self._logs,
            "looks": self._looks,
            "streaks": dict(self._streaks),
            "said": [list(each) for each in self.said],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        logs, looks, streaks = state.get("logs", 0), state.get("looks", 0), state.get("streaks", {})
        said = warnings_in(state)
        if not isinstance(logs, int) or not isinstance(looks, int) or not isinstance(streaks, dict):
            raise CheckpointError("what it holds for the diagnostics is damaged")
        self._logs, self._looks, self._streaks, self.said = logs, looks, dict(streaks), said

    def on_start(self, trainer: Trainer) -> None:
        self._classes = None

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        step, data = trainer.gan_step, trainer.data
        if trainer.step % trainer.log_every:
            return  # the end of a run, which a longer one would not look at
        self._logs += 1
        if self._logs % self.every:
            return
        if not isinstance(step, GANStep) or not isinstance(data, ImageSet):
            return
        if trainer.step < self.after * step.n_critic:
            return
        if self._classes is None and data.labels is not None:
            self._classes = Classes.of(data)
        self._looks += 1
        self.health = look(trainer, self.samples, self._classes)
        found = complaints(self.health, step.loss.name)
        for name, sentence in found.items():
            self._streaks[name] = self._streaks.get(name, 0) + 1
            if self._streaks[name] == self.patience:
                self.said.append((trainer.step, sentence))
                _LOG.warning("step %d: %s", trainer.step, sentence)
        for name in self._streaks.keys() - found.keys():
            self._streaks[name] = 0


def warnings_in(state: Mapping[str, Any]) -> list[tuple[int, str]]:
    """The warnings, with their steps, in what ``Diagnostics.state_dict`` gave.

    Raises CheckpointError where it holds something else.
    """
    said = state.get("said", [])  # gankit 0.1.0 did not keep them
    try:
        found = [(step, sentence) for step, sentence in said]
    except (TypeError, ValueError):
        found = [("", "")]
    if not all(isinstance(step, int) and isinstance(text, str) for step, text in found):
        raise CheckpointError("what it holds for the diagnostics is damaged")
    return found


def complaints(health: Health, loss: str = "") -> dict[str, str]:
    """What is wrong, by name, each in words and with what to try other than ``loss``, the name."""
    found = {}
    if health.accuracy >= 0.995 and health.logit_gap >= 12:
        found["strong D"] = (
            f"D is too strong: it takes {health.accuracy:.0%} of the images for what they are, "
            f"with logits {health.logit_gap:.0f} apart, so G learns little. Try a lower learning "
            "rate for D, dropout or label smoothing in D, or a Wasserstein loss with a penalty."
        )
    blind = health.accuracy <= 0.6 or abs(health.logit_gap) <= 0.1
    # Games on points swing: their averages lie up to 0.8 apart for a while and come back.
    if blind and health.distance >= 0.9:
        found["weak D"] = (
            f"D is too weak: it takes {health.false_positives:.0%} of the generated images for "
            f"real and {health.false_negatives:.0%} of the real ones for generated, though they "
            "differ in their mere averages. Try a larger D or a higher learning rate for it, less "
            "dropout in it, or more updates of D for each of G (n_critic)."
        )
    few = health.classes > 1 and health.modes <= max(1, health.classes // 5)
    if health.diversity <= 0.3 or (few and health.diversity <= 0.8):
        seen = f" of {health.modes} of {health.classes} classes" if health.classes else ""
        found["mode collapse"] = (
            f"Mode collapse: generated images{seen} are {health.diversity:.0%} as far from each "
            "other as real ones. Try a lower learning rate, a larger batch, or another loss "
            "(wgan-gp covers the data best); an earlier checkpoint may be better."
        )
    if health.g_gradient < 3e-4:
        first = "a lower learning rate"
        if loss == "minimax":
            first = "the non-saturating loss in place of the minimax one"
        last = "" if loss == "wasserstein" else ", or a Wasserstein loss with a penalty"
        found["vanishing gradient"] = (
            f"G's gradient vanishes: its norm is {health.g_gradient:.1g}. Try {first}, a weaker "
            f"D{last}."
        )
    return found


@dataclass(frozen=True)
class Classes:
    """The mean image of each class ``[n_classes, pixels]`` in float64, and how many it is of."""

    means: Tensor
    counts: Tensor

    @classmethod
    def of(cls, data: ImageSet) -> Classes:
        """Those of the same 2000 random labelled images in every run.

        A set may be sorted by class, and unlabelled images are of no class.
        """
        every = data.gather_labels(torch.arange(len(data))).cpu()
        known = (every != UNLABELLED).nonzero().flatten()
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
        picks = known[order[:2000]]
        x = data.gather(picks).flatten(1).double()
        labels = data.gather_labels(picks).to(x.device)
        _, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
        sums = x.new_zeros(len(counts), x.shape[1]).index_add_(0, inverse, x)
        return cls(sums / counts[:, None], counts)


@torch.no_grad()
def look(trainer: Trainer, samples: int = 128, classes: Classes | None = None) -> Health:
    """Look at the networks of ``trainer``, whose step must be a ``GANStep``.

    ``classes`` are those of its data, found out here where they are not given.
    """
    step = trainer.gan_step
    assert isinstance(step, GANStep)
    assert isinstance(trainer.data, ImageSet)
    noise: Distribution = getattr(step.noise, "distribution", "normal")
    n = min(samples, len(trainer.data))
    random = torch.Generator().manual_seed(trainer.step)
    picks = torch.randperm(len(trainer.data), generator=random)[:n]
    device = next(step.D.parameters()).device
    real = step.seen(trainer.data.gather(picks).to(device))
    labels = trainer.data.gather_labels(picks) if "label" in step.fields else None
    fake = generate(step.G, n, seed=trainer.step, distribution=noise, labels=labels)
    fake = fake.to(real).view_as(real)
    accuracy = positives = negatives = gap = math.nan
    if not step.loss.scores:
        answers = [step.critic.scores(x.to(step.dtype), labels).double() for x in (real, fake)]
        positives, negatives, gap = _rates(*answers, from_logits=step.from_logits)
        accuracy = 1 - (positives + negatives) / 2
    a, b = real.flatten(1).double(), fake.flatten(1).double()
    spread = float(_apart(a))
    if classes is None and trainer.data.labels is not None:
        classes = Classes.of(trainer.data)
    if classes is not None:
        means = step.seen(classes.means.view(-1, *trainer.data.shape)).flatten(1)
        classes = Classes(means, classes.counts)
    return Health(
        accuracy,
        positives,
        negatives,
        gap,
        diversity=float(_apart(b)) / max(spread, _TINY),
        distance=float(
            ((a.mean(0) - b.mean(0)).square() + (a.std(0) - b.std(0)).square()).sum().sqrt()
        )
        / max(spread / math.sqrt(2), _TINY),
        modes=0 if classes is None else _modes(b, classes),
        classes=0 if classes is None else len(classes.counts),
        g_gradient=_gradient(step),
    )


def _rates(real: Tensor, fake: Tensor, *, from_logits: bool) -> tuple[float, float, float]:
    if not from_logits:
        real, fake = real.logit(1e-12), fake.logit(1e-12)
    positives, negatives = float((fake > 0).double().mean()), float((real <= 0).double().mean())
    gap = float(real.mean() - fake.mean())
    return positives, negatives, gap


def _apart(x: Tensor) -> Tensor:
    """The mean distance between a row and the next, which is another random one."""
    return (x - x.roll(1, 0)).norm(dim=1).mean()


def _modes(fake: Tensor, classes: Classes) -> int:
    """How many classes are nearest to a tenth of their share of ``fake``, and to one at least."""
    if len(classes.counts) == 0:  # no image is labelled
        return 0
    means, counts = classes.means.to(fake.device), classes.counts.to(fake.device)
    nearest = torch.cdist(fake, means).argmin(1).bincount(minlength=len(counts))
    share = 0.1 * len(fake) * counts / counts.sum()
    return int((nearest >= share.clamp_min(1)).sum())


def _gradient(step: GANStep) -> float:
    """The norm of the gradient of G's latest turn, before any clipping; infinite before it."""
    clipped = getattr(step.g_optimizer, "gradient_norm", None)
    if clipped is not None:
        return float(clipped)
    found = [p.grad for p in step.G.parameters() if p.grad is not None]
    if not found:
        return math.inf
    return float(torch.stack([g.double().norm() for g in found]).norm())
