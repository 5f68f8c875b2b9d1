"""CycleGAN: images to images without pairs (Zhu, Park, Isola and Efros, 2017, 1703.10593)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.gans.image_pool import ImagePool
from gankit.training.arguments import weight
from gankit.training.config import Recipe, RunConfig
from gankit.training.phases import Batch, Phase, Scalars
from gankit.training.translation import TranslationStep

# Half way between the targets of generated and real images.
_UNDECIDED = 0.5


class CycleGANStep(TranslationStep):
    """Trains G_ab and G_ba, which turn images a into b and b into a, before D_a and D_b.

    Both generators learn in one update on ``(D_b(G_ab(a)) - 1)^2 + cycle_weight |G_ba(G_ab(a)) - a|
    + cycle_weight identity |G_ab(b) - b|`` plus the same of the other direction. Then both
    discriminators do on half of ``(D_b(b) - 1)^2 + D_b(G_ab(a))^2`` and the like, where the
    generated images come from a pool (:class:`gankit.gans.image_pool.ImagePool`).

    Args:
        G_ab, G_ba: generators, images in [-1, 1] to images.
        D_a, D_b: discriminators of the images of a domain, to a score, or to a map of scores.
        g_optimizer, d_optimizer: over the parameters of both generators, of both discriminators.
        shapes: of an image a and an image b, ``{"a": (C, H, W), "b": (C, H, W)}``, as the attribute
            ``fields`` of a data set.
        cycle_weight: of the cycle consistency, from 0.
        identity: weight of the identity relative to ``cycle_weight``; 0 leaves it out.
        pool_size: how many images of a domain the pool keeps; 0: D sees the newest alone.
        execution: precision, accumulate, ema (of the generators), channels_last, cuda_graph and
            augment, as for :class:`gankit.training.Step`; one p of ADA is that of both D.

    A call returns each network's adversarial loss, before D's is halved, and the mean absolute
    differences ``cycle`` and ``identity`` over both domains, without their weights.
    Raises ConfigError for arguments outside what is said here.
    """

    metrics: Mapping[str, str] = {name: name for name in ("g_ab", "g_ba", "d_a", "d_b", "cycle")}
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
        shapes: Mapping[str, tuple[int, ...]],
        cycle_weight: float = 10.0,
        identity: float = 0.5,
        pool_size: int = 50,
        **execution: Any,
    ) -> None:
        networks = {"G_ab": G_ab, "G_ba": G_ba, "D_a": D_a, "D_b": D_b}
        optimizers = {"G": g_optimizer, "D": d_optimizer}
        super().__init__(networks, optimizers, averaged={"G_ab": "G", "G_ba": "G"}, **execution)
        self.cycle_weight = weight("cycle_weight", cycle_weight)
        self.identity = weight("identity", identity)
        if identity and shapes["a"][0] != shapes["b"][0]:
            raise ConfigError(
                f"identity is {identity}, which feeds G_ab images b too, but images a have "
                f"{shapes['a'][0]} channels and images b {shapes['b'][0]}; allowed is 0"
            )
        self.metrics = {**self.metrics, **({"identity": "identity"} if identity else {})}
        where: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        pools = {name: ImagePool(pool_size, tuple(shapes[name]), **where) for name in "ab"}
        self.pools = nn.ModuleDict(pools)

    @classmethod
    def from_parts(cls, parts: Any, **knobs: Any) -> CycleGANStep:
        shapes = parts.data.fields
        networks = []
        for x, y in ("ab", "ba"):
            offers = {"in_channels": shapes[x][0], "out_channels": shapes[y][0]}
            networks.append(parts.generator(f"G_{x}{y}", image_size=shapes[x][1], **offers))
        networks += [parts.discriminator(f"D_{x}", in_channels=shapes[x][0]) for x in "ab"]
        knobs |= {"g_optimizer": parts.optimizer(*networks[:2]), **parts.execution}
        knobs |= {"d_optimizer": parts.optimizer(*networks[2:], lr=parts.d_lr), "shapes": shapes}
        return cls(*networks, **knobs)

    def schedule(self, call: int) -> tuple[Phase, ...]:
        return Phase("G", "G"), Phase("D", "D")

    def draw(self, phase: str, n: int) -> Batch:
        return {f"u_{x}": torch.rand(n, 2, device=self.device) for x in "ab" if phase == "D"}

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        if phase == "D":
            return self._d_loss(batch)
        losses: dict[str, Tensor] = {}
        cycles, identities = [], []
        for x, y in ("ab", "ba"):
            fake = self._run(f"G_{x}{y}", batch[x])
            losses[f"g_{x}{y}"] = (self._run(f"D_{y}", self.augmented(fake)) - 1).square().mean()
            cycles.append(F.l1_loss(self._run(f"G_{y}{x}", fake), batch[x]))
            if self.identity:
                identities.append(F.l1_loss(self._run(f"G_{x}{y}", batch[y]), batch[y]))
            batch[f"fake_{y}"] = fake.detach()
        kept = sum(cycles) + self.identity * sum(identities)
        loss = losses["g_ab"] + losses["g_ba"] + self.cycle_weight * kept
        means = {"cycle": cycles, "identity": identities}
        losses |= {name: torch.stack(values).mean() for name, values in means.items() if values}
        return loss, {name: value.detach() for name, value in losses.items()}

    def _d_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        losses = {}
        for x in "ab":
            fake = self.pools[x](batch[f"fake_{x}"], batch[f"u_{x}"])
            both = (self.augmented(images) for images in (batch[x], fake))
            real_out, fake_out = (self._run(f"D_{x}", images) for images in both)
            self.observe_real(real_out.flatten(1).mean(1), _UNDECIDED)
            losses[f"d_{x}"] = (real_out - 1).square().mean() + fake_out.square().mean()
        reported = {name: loss.detach() for name, loss in losses.items()}
        return (losses["d_a"] + losses["d_b"]) / 2, reported

    def _run(self, name: str, images: Tensor) -> Tensor:
        return self.run_tensor(self.networks[name], images)


_D = {"class_path": "gankit.models.patch.PatchDiscriminator", "init_args": {"norm": "instance"}}
CYCLEGAN = Recipe(
    "cyclegan",
    "CycleGAN (Zhu et al., 2017), images from unpaired images: --data unpaired:PATH",
    RunConfig(
        "cyclegan",
        generator="gankit.models.resnet.ResNetGenerator",
        discriminator=_D,
        step="gankit.gans.cyclegan.CycleGANStep",
        data="toy:discs",
        image_size=256,
        epochs=200,
        batch_size=1,
        schedule="gankit.training.schedules.LinearDecay",
    ),
    (
        "Networks, least squares, cycle 10, pool of 50, identity 0.5, Adam 2e-4, batches of 1, 100 "
        "epochs and 100 of decay: Zhu et al., 2017, arXiv 1703.10593, sections 4, 5.2 and appendix",
        "Adam's betas (0.5, 0.999): https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix",
        "toy:discs in place of the paper's data: ours",
    ),
)
RECIPES = (CYCLEGAN,)
