"""How a ``GANStep`` is shown: sentences, curves and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gankit.training.phases import Batch
from gankit.training.pictures import generate
from gankit.training.reports import Curves, Panel

if TYPE_CHECKING:
    from gankit.training.gan_step import GANStep

# Those of a class head.
CLASS_METRICS = {"class_real": "classes of real", "class_fake": "classes of generated"}


def notes(step: GANStep, passes: str, others: tuple[str, ...]) -> tuple[str, ...]:
    """What was decided and why: ``passes``, how D is read, ``others`` of any step."""
    kind = "logits" if step.from_logits else "probabilities"
    kind = "scores" if step.loss.scores else kind
    found = [passes, f"D's output is read as {kind}.", *others]
    if step.labelling.classifies:
        found.append("D has a class head, whose cross entropy joins both losses.")
    if step.shared:
        found.append(
            f"G and D share {len(step.shared)} parameters, which learn in the updates whose "
            "optimizer holds them."
        )
    return tuple(found)


def curves(step: GANStep) -> tuple[Curves, ...]:
    """The losses, what D returns, and the cross entropies of a class head."""
    outputs = {"d_real": "D(real)", "d_fake": "D(fake)"}
    found = [Curves("loss", {"d_loss": "D loss", "g_loss": "G loss"})]
    if step.loss.scores:
        outputs["critic_distance"] = "D(real) - D(fake)"
        found.append(Curves("mean energy" if step.loss.energies else "mean score", outputs))
    else:
        found.append(Curves("mean probability of real", outputs, (0.0, 1.0)))
    if step.labelling.classifies:
        found.append(Curves("cross entropy", CLASS_METRICS))
    return tuple(found)


def panels(step: GANStep, batch: Batch, seed: int) -> list[Panel]:
    """Images that G makes, of the classes of ``batch``, and those of ``batch``."""
    real = batch["image"].float().cpu()
    fake = generate(
        step.sampled,
        len(real),
        seed=seed,
        distribution=step.z_distribution,
        labels=batch.get("label"),
    )
    return [Panel("generated", fake.reshape(real.shape)), Panel("real", real)]
