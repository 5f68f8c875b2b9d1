"""The semi-supervised GAN: a classifier that learns from unlabelled and generated images too.

K classes of real images and one of generated ones (Odena, 2016, arXiv 1606.01583; Salimans et al.,
2016, arXiv 1606.03498, section 5): D's loss is the cross entropy of "real or generated" on all
images, and that of the classes on the few that are labelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import ImageSet
from gankit.data.labelled import UNLABELLED, keep_labels
from gankit.errors import ConfigError, DataError
from gankit.losses.scores import widened
from gankit.training.arguments import weight, whole
from gankit.training.config import Recipe, RunConfig
from gankit.training.gan_step import GANStep
from gankit.training.parts import Parts
from gankit.training.phases import Batch, Scalars
from gankit.training.reports import Curves


class SGANStep(GANStep):
    """GANStep whose D also learns, in each of its updates, to classify a batch of labelled images.

    Args:
        G, D, g_optimizer, d_optimizer: as for ``GANStep``; D has a method ``classify``, from images
            to the logits ``[N, K]`` of the real classes, such as
            :class:`gankit.models.semi_supervised.Discriminator`.
        labelled: images ``[M, ...]`` and their classes int64 ``[M]``, from 0, M >= 1.
        labelled_batch: labelled images in an update of D, drawn with replacement by torch's global
            generator; a multiple of ``accumulate``.
        class_weight: of the cross entropy of the classes, finite and at least 0.
        settings: those of ``GANStep``.

    A call returns besides ``classification``, that cross entropy, not yet times its weight, and
    ``accuracy``, the part of the labelled batch that D calls right, before its update.

    Raises ConfigError for settings outside what is said here, DataError for other labelled images.
    """

    metrics: Mapping[str, str] = {
        **GANStep.metrics,
        "classification": "classification loss",
        "accuracy": "accuracy on labelled images",
    }
    labelled_images: Tensor
    labelled_classes: Tensor

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        *,
        labelled: tuple[Tensor, Tensor],
        labelled_batch: int = 50,
        class_weight: float = 1.0,
        **settings: Any,
    ) -> None:
        if not callable(getattr(D, "classify", None)):
            raise ConfigError(
                f"D ({type(D).__name__}) has no method classify; expected one from images to the "
                "logits of the classes, such as gankit.models.semi_supervised.Discriminator has"
            )
        class_weight = weight("class_weight", class_weight)
        super().__init__(G, D, g_optimizer, d_optimizer, **settings)
        self.labelled_batch = whole("labelled_batch", labelled_batch)
        self.class_weight = class_weight
        if self.labelled_batch % self.accumulate:
            raise ConfigError(
                f"labelled_batch is {labelled_batch}; expected a multiple of accumulate, which is "
                f"{self.accumulate}"
            )
        images, classes = labelled
        if len(images) == 0 or classes.shape != images.shape[:1] or classes.dtype != torch.int64:
            raise DataError(
                f"labelled must be images and an int64 class each, got {list(images.shape)} and "
                f"{classes.dtype} {list(classes.shape)}"
            )
        # A checkpoint leaves them out: they are the data's.
        for name, value in (("images", images.to(self.dtype)), ("classes", classes)):
            self.register_buffer(f"labelled_{name}", value.to(self.device), persistent=False)

    @classmethod
    def from_parts(cls, parts: Parts, *, labelled: int = 100, **knobs: Any) -> SGANStep:
        """The parts of a GAN, and the labels of a few images of the data.

        Args:
            labelled: how many images keep their label, spread evenly over the classes.
        """
        if not isinstance(parts.data, ImageSet):
            raise ConfigError(f"{parts.data.name} has no labels, and {cls.__name__} needs some")
        data = keep_labels(parts.data, whole("labelled", labelled), seed=parts.seed)
        assert data.labels is not None
        known = torch.ne(data.labels, UNLABELLED).nonzero().flatten()
        pairs = data.gather(known), data.gather_labels(known)
        step = super().from_parts(parts, labelled=pairs, **knobs)
        assert isinstance(step, cls)
        return step

    def draw(self, phase: str, n: int) -> Batch:
        drawn = super().draw(phase, n)
        if phase in ("D", "D+penalty"):
            size, device = (self.labelled_batch,), self.device
            drawn["labelled"] = torch.randint(len(self.labelled_images), size, device=device)
        return drawn

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        loss, reported = super().phase_loss(phase, batch)
        if phase == "G":
            return loss, reported
        places = batch["labelled"]
        D: Any = self.D
        logits = widened(self.run_tensor(D.classify, self.labelled_images[places]))
        classes = self.labelled_classes[places]
        self.stage = "the classification loss"
        term = F.cross_entropy(logits, classes)
        loss = loss + self.class_weight * term
        accuracy = (logits.detach().argmax(1) == classes).to(logits.dtype).mean()
        own = {"d_loss": loss.detach(), "classification": term.detach(), "accuracy": accuracy}
        return loss, {**reported, **own}

    def curves(self) -> tuple[Curves, ...]:
        entropy = Curves("cross entropy", {"classification": "labelled images"})
        right = Curves("accuracy", {"accuracy": "labelled images"}, (0.0, 1.0))
        return (*super().curves(), entropy, right)


SGAN = Recipe(
    name="sgan",
    summary="semi-supervised GAN of K+1 classes (Odena, 2016; Salimans et al., 2016), 100 labels",
    config=RunConfig(
        recipe="sgan",
        generator="gankit.models.mlp.Generator",
        discriminator={
            "class_path": "gankit.models.semi_supervised.Discriminator",
            "init_args": {"dropout": 0.5},
        },
        step={
            "class_path": "gankit.gans.sgan.SGANStep",
            "init_args": {"loss": "non-saturating", "labelled": 100},
        },
        z_dim=100,
        epochs=100,
        batch_size=60,
        lr=5e-4,
        betas=(0.5, 0.999),
    ),
    sources=(
        "K+1 classes, of which one is 'generated': Odena, 2016, https://arxiv.org/abs/1606.01583",
        "The last class's logit fixed at 0, 100 labels: Salimans et al., 2016, arXiv 1606.03498, "
        "section 5; its G matches features, ours takes the non-saturating loss as Odena's does",
        "Layers and batch: those of the recipe gan; Adam 5e-4, labelled batches of 50: ours",
    ),
)
RECIPES = (SGAN,)
