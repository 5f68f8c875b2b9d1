"""SEGAN: speech out of noisy speech (Pascual, Bonafonte and Serra, 2017, 1703.09452)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.gans.pix2pix import Pix2PixStep
from gankit.losses import AdversarialLoss
from gankit.training.config import Recipe, RunConfig
from gankit.training.enhancement import enhance_windows, pre_emphasis, spectrograms
from gankit.training.phases import Batch
from gankit.training.reports import Panel
from gankit.training.seeds import stream


class SEGANStep(Pix2PixStep):
    """Trains G to turn noisy speech into clean speech, before a D that sees both.

    D learns first, on ``((D(clean) - 1)^2 + D(G(noisy))^2) / 2``; then G does, from the very
    windows that D has seen, on ``(D(G(noisy)) - 1)^2 / 2 + l1_weight |clean - G(noisy)|``. Both see
    sound behind the pre-emphasis that G asks for.

    Args:
        G: from noisy windows, and z if it has a method ``z_shape``
            (:class:`gankit.models.segan.Generator`), to clean ones.
        D: from a clean or enhanced window and the noisy one, two channels, to a score.
        g_optimizer, d_optimizer: optimizers over G's and over D's parameters.
        loss: name known to ``gankit.losses.resolve``, or an ``AdversarialLoss``.
        l1_weight, gan_weight: of the two parts of G's loss, from 0.
        execution: precision, accumulate, ema, channels_last and cuda_graph, as for ``Step``.

    A call returns D's loss, and the two parts of G's without their weights.
    Raises ConfigError for arguments outside what is said here.
    """

    fields = ("noisy", "clean")
    supplied: ClassVar[tuple[str, ...]] = ("direction",)
    d_share = 1.0
    augments = False  # they are transforms of images

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        loss: str | AdversarialLoss = "least-squares",
        l1_weight: float = 100.0,
        gan_weight: float = 1.0,
        **execution: Any,
    ) -> None:
        super().__init__(G, D, g_optimizer, d_optimizer, loss, l1_weight, gan_weight, **execution)
        self.directions: Mapping[str, str] = {"enhance": "G"}
        self._from, self._to = self.fields
        self.preemphasis = float(getattr(G, "preemphasis", 0.0))

    @classmethod
    def from_parts(cls, parts: Any, *, loss: Any = "least-squares", **knobs: Any) -> SEGANStep:
        data, window = parts.data, parts.data.fields["noisy"][1]
        G = parts.generator(window=window)
        D = parts.discriminator(window=window, in_channels=2)
        knobs |= {"loss": parts.loss(loss), **parts.execution}
        step = cls(G, D, parts.optimizer(G), parts.optimizer(D, lr=parts.d_lr), **knobs)
        if hasattr(D, "set_reference"):
            random, n = stream(parts.seed, "reference batch"), len(D.reference)
            picks = next(data.sampler(min(n, len(data)), generator=random))
            D.set_reference(step.pairs_of(data.batch(picks[torch.arange(n) % len(picks)])))
        return step

    def pairs_of(self, batch: Batch) -> Tensor:
        """What D sees of real speech, ``[N, 2, L]``: noisy and clean windows, emphasized."""
        both = torch.cat([batch[name] for name in self.fields], 1)
        return pre_emphasis(both, self.preemphasis)

    @torch.no_grad()
    def check_outputs(self, batch: Batch) -> None:
        noisy, clean = batch["noisy"], batch["clean"]
        shape = self.run_tensor(self.networks["G"], noisy, *self._z(len(noisy))).shape
        if shape != clean.shape:
            raise ConfigError(
                f"G turned noisy windows of shape {list(noisy.shape)} into {list(shape)}; allowed "
                f"is {list(clean.shape)}, that of the clean ones"
            )

    def draw(self, phase: str, n: int) -> Batch:
        return dict(zip("z", self._z(n), strict=False)) if phase == "prepare" else {}

    def _z(self, n: int) -> list[Tensor]:
        """The noise of ``n`` windows, if G takes any."""
        G: Any = self.networks["G"]
        if not hasattr(G, "z_shape"):
            return []
        return [torch.randn(n, *G.z_shape(G.window), device=self.device, dtype=self.dtype)]

    def prepare(self, batch: Batch) -> None:
        for name in self.fields:
            batch[name] = pre_emphasis(batch[name], self.preemphasis)
        z = [batch["z"]] if "z" in batch else []
        batch["fake"] = self.run_tensor(self.networks["G"], batch["noisy"], *z)

    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        shown = {name: pre_emphasis(batch[name], self.preemphasis) for name in self.fields}
        enhanced = enhance_windows(self.average_of("G"), shown["noisy"], seed=seed)
        panels = {"noisy": shown["noisy"], "enhanced": enhanced, "clean": shown["clean"]}
        return [
            Panel(name, spectrograms(windows.float().cpu())) for name, windows in panels.items()
        ]


SEGAN = Recipe(
    "segan",
    "SEGAN (Pascual et al., 2017), speech out of noise: --data audio:PATH",
    RunConfig(
        "segan",
        generator="gankit.models.segan.Generator",
        discriminator="gankit.models.segan.Discriminator",
        step="gankit.gans.segan.SEGANStep",
        data="toy:speech",
        epochs=86,
        batch_size=50,
        optimizer="rmsprop",
        lr=2e-4,
        grid_rows=2,
        grid_columns=2,
    ),
    (
        "Networks, least squares, virtual batch norm, L1 100, RMSprop 2e-4, 86 epochs, "
        "pre-emphasis 0.95, windows of 16,384 at 16 kHz with half overlap: Pascual et al., 2017, "
        "arXiv 1703.09452, sections 3 to 5",
        "No bias, skips in front of PReLU, initial weights: https://github.com/santi-pdp/segan",
        "Batches of 50 in place of 400, 16 windows as the reference batch: ours",
        "toy:speech in place of the paper's data: ours",
    ),
)
SEGAN_TOY = Recipe(
    "segan-toy",
    "SEGAN (Pascual et al., 2017) on voices that are computed: minutes on a CPU",
    SEGAN.config.updated(
        recipe="segan-toy",
        data={
            "class_path": "toy:speech",
            "init_args": {"window": 512, "sample_rate": 8000, "n": 200},
        },
        generator={
            "class_path": "gankit.models.segan.Generator",
            "init_args": {"width": 8, "levels": 4, "preemphasis": 0.7, "init": "pytorch"},
        },
        discriminator={
            "class_path": "gankit.models.segan.Discriminator",
            "init_args": {"width": 2, "references": 4, "init": "pytorch"},
        },
        epochs=1,
        batch_size=8,
        optimizer="adam",
        lr=1.5e-3,
        d_lr=1e-3,
        schedule="gankit.training.schedules.LinearDecay",
        grid_columns=4,
    ),
    (
        "Losses and their weights, virtual batch norm, half overlap: as in the recipe segan, arXiv "
        "1703.09452",
        "Windows of 512 at 8 kHz, pre-emphasis 0.7, small networks, batches of 8, Adam and linear "
        "decay: ours",
    ),
)
RECIPES = (SEGAN, SEGAN_TOY)
