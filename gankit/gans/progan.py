"""ProGAN: both networks grow, from 4x4 pixels on (Karras et al., 2017, arXiv 1710.10196)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import Batch as Resident
from gankit.errors import CheckpointError, ConfigError
from gankit.models.progan import at_level
from gankit.scalars import is_integer
from gankit.training.arguments import weight, whole
from gankit.training.config import Recipe, RunConfig
from gankit.training.distributed import world
from gankit.training.gan_step import GANStep
from gankit.training.outputs import Output
from gankit.training.phases import Batch, Scalars
from gankit.training.pictures import generate
from gankit.training.reports import Curves, Panel

_GROWS = ("grow", "level", "alpha", "levels", "image_shape", "current_shape")


@dataclass(frozen=True)
class Growth:
    """The level and alpha as a function of how many real images training has seen.

    Attributes:
        first: the level of the beginning.
        stable: for each level from ``first`` on, the images that it is trained with by itself; the
            last level goes on.
        fade: for each level after ``first``, the images during which it fades in before that.
    """

    first: int
    stable: tuple[int, ...]
    fade: tuple[int, ...]

    def at(self, images: int) -> tuple[int, float]:
        """The level and alpha of the batch that comes after ``images``."""
        level = self.first
        for stable, fade in zip(self.stable, self.fade, strict=False):
            if images < stable:
                break
            images -= stable
            level += 1
            if images < fade:
                return level, images / fade
            images -= fade
        return level, 1.0

    @property
    def grown_after(self) -> int:
        """The images after which the last level stands alone."""
        return sum(self.stable[:-1]) + sum(self.fade)


class ProGANStep(GANStep):
    """``GANStep`` with networks that grow by a schedule in images.

    The level and alpha follow from the number of real images seen, those of all processes. D sees
    the real images averaged down to the level and, while it fades in, blended as G's are.

    Args:
        G, D: networks that grow, such as those of :mod:`gankit.models.progan`.
        g_optimizer, d_optimizer: over all of their parameters, those of later levels too.
        stable_images: images that a level is trained with by itself, before the next one begins;
            or a list, one number for each level.
        fade_images: images during which a level fades in; or a list, one for each level but the
            first.
        initial_resolution: height and width of the first level; that of the data for networks that
            do not grow.
        drift: weight of the mean squared score of real images in D's loss.
        loss: as for ``GANStep``.
        settings: the others of ``GANStep``; no CUDA graph is made of a step that grows.

    ``resolution`` and ``alpha`` stand in each log. Raises ConfigError for arguments outside what is
    said here.
    """

    eager_reason: ClassVar[str] = "the layers that run, and the weight alpha, change as it grows"

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: Any,
        d_optimizer: Any,
        *,
        stable_images: int | Sequence[int] = 800_000,
        fade_images: int | Sequence[int] = 800_000,
        initial_resolution: int = 4,
        drift: float = 0.001,
        loss: Any = "wasserstein",
        **settings: Any,
    ) -> None:
        _check_grow(G, D)
        growth = _growth(G, stable_images, fade_images, initial_resolution)
        super().__init__(G, D, g_optimizer, d_optimizer, loss, **settings)
        self.growth, self.drift, self.images = growth, weight("drift", drift), 0
        self._grow(*growth.at(0))

    @property
    def resolution(self) -> int:
        """Height and width of the present level's images."""
        side: int = self.G.current_shape[1]  # type: ignore[index, assignment]
        return side

    @property
    def alpha(self) -> float:
        """How far the present level is faded in."""
        alpha: float = self.G.alpha  # type: ignore[assignment]
        return alpha

    def forward(  # type: ignore[override]
        self, real: Tensor | Resident | Batch, labels: Tensor | None = None
    ) -> Scalars:
        """Train on one batch of real images of the last level's shape; see ``GANStep``."""
        self._grow(*self.growth.at(self.images))
        scalars = super().forward(real, labels)
        self.images += _count(real) * world()[1]
        return scalars

    def dry_run(  # type: ignore[override]
        self, real: Tensor | Resident | Batch, labels: Tensor | None = None
    ) -> None:
        """As for ``GANStep``, at the present level and at the last, which takes the most memory."""
        now, last = (self.G.level, self.G.alpha), self.G.levels - 1  # type: ignore[operator]
        try:
            for level, alpha in dict.fromkeys((now, (last, 1.0 if now[0] == last else 0.5))):
                self._grow(level, alpha)  # type: ignore[arg-type]
                super().dry_run(real, labels)
        finally:
            self._grow(*now)  # type: ignore[arg-type]

    def _grow(self, level: int, alpha: float) -> None:
        for network in (self.G, self.D, *self.averages.values()):
            network.grow(level, alpha)  # type: ignore[operator]

    def seen(self, images: Tensor) -> Tensor:
        """Averaged down to the present level, and blended while it fades in."""
        return at_level(images, self.resolution, self.alpha)

    def _check_fields(self, batch: Any) -> Batch:
        given = super()._check_fields(batch)
        real, made = list(given["image"].shape[1:]), list(self.G.image_shape)  # type: ignore[arg-type]
        if real != made:
            raise ConfigError(
                f"real has images of shape {real}, and the networks grow to {made}; allowed is one "
                "shape, such as by image_size"
            )
        return given

    def prepare(self, batch: Batch) -> None:
        batch["image"] = self.seen(batch["image"])
        super().prepare(batch)

    def d_objective(self, real: Output, fake: Output) -> Tensor:
        """The adversarial loss, and the drift of real scores away from 0."""
        loss = super().d_objective(real, fake)
        return loss + self.drift * real.mean(Tensor.square) if self.drift else loss

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """With the present ``resolution`` and ``alpha``."""
        growth = {"resolution": float(self.resolution), "alpha": self.alpha}
        return {**super().summarize(means), **growth}

    def curves(self) -> tuple[Curves, ...]:
        return (
            *super().curves(),
            Curves("resolution", {"resolution": "height of the images"}),
            Curves("alpha", {"alpha": "weight of the new level"}, (0.0, 1.0)),
        )

    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        """Generated and real images of the present level, in the size of the last."""
        real = self.seen(batch["image"].float().cpu())
        fake = generate(self.sampled, len(real), seed=seed, distribution=self.z_distribution)
        size, caption = batch["image"].shape[2:], f"{self.resolution}x{self.resolution}"
        if self.alpha < 1.0:
            caption += f", alpha {self.alpha:.2f}"
        shown = (F.interpolate(images.reshape(real.shape), size=size) for images in (fake, real))
        return [Panel(f"generated, {caption}", next(shown)), Panel("real", next(shown))]

    @property
    def notes(self) -> tuple[str, ...]:
        first, last = 4 * 2**self.growth.first, self.G.image_shape[1]  # type: ignore[index]
        growth = (
            f"Images grow from {first}x{first} to {last}x{last}, which stands alone after "
            f"{self.growth.grown_after:,} real images."
        )
        return (growth if first < last else "Networks do not grow.", *super().notes)

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "images": self.images}

    def set_extra_state(self, state: Any) -> None:
        images = state["images"]
        if not is_integer(images) or images < 0:
            raise CheckpointError(f"the step's images are {images!r}; allowed are integers from 0")
        super().set_extra_state(state)
        self.images = int(images)


def _check_grow(G: nn.Module, D: nn.Module) -> None:
    for name, network in (("G", G), ("D", D)):
        missing = [each for each in _GROWS if not hasattr(network, each)]
        if missing:
            raise ConfigError(
                f"{name} ({type(network).__name__}) has no {', '.join(missing)}; allowed are "
                "networks that grow, such as those of gankit.models.progan"
            )
    shapes = [tuple(network.image_shape) for network in (G, D)]  # type: ignore[arg-type]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"G grows to images of shape {list(shapes[0])}, and D to {list(shapes[1])}; allowed is "
            "one shape"
        )


def _growth(G: Any, stable: Any, fade: Any, initial: Any) -> Growth:
    sides = [4 * 2**level for level in range(G.levels)]
    if not is_integer(initial) or initial not in sides:
        raise ConfigError(
            f"initial_resolution is {initial!r}; allowed are {', '.join(map(str, sides))}"
        )
    first = sides.index(initial)
    count = G.levels - first
    return Growth(
        first,
        _per_level("stable_images", stable, count),
        _per_level("fade_images", fade, count - 1),
    )


def _per_level(name: str, given: Any, count: int) -> tuple[int, ...]:
    many = list(given) if isinstance(given, (list, tuple)) else [given] * count
    if len(many) != count:
        raise ConfigError(
            f"{name} has {len(many)} numbers; allowed are one number, and {count}, one for each "
            "level"
        )
    return tuple(whole(name, each, least=0) for each in many)


def _count(real: Any) -> int:
    if isinstance(real, Resident):
        return len(real.indices)
    return len(next(iter(real.values()))) if isinstance(real, dict) else len(real)


_STEP = "gankit.gans.progan.ProGANStep"
_CODE = "https://github.com/tkarras/progressive_growing_of_gans"
_PAPER = "Karras et al., 2017, arXiv 1710.10196"
PROGAN = Recipe(
    "progan",
    "ProGAN (Karras et al., 2017), growing from 4x4 to 128x128: --data folder:PATH",
    RunConfig(
        "progan",
        data="toy:shapes",
        image_size=128,
        generator="gankit.models.progan.Generator",
        discriminator="gankit.models.progan.Discriminator",
        step={
            "class_path": _STEP,
            "init_args": {
                "penalty": {
                    "class_path": "gankit.losses.gradient_penalty",
                    "init_args": {"weight": 10.0},
                },
                "stable_images": 800_000,
                "fade_images": 800_000,
            },
        },
        z_dim=512,
        epochs=None,
        steps=550_000,
        batch_size=16,
        lr=1e-3,
        betas=(0.0, 0.99),
        ema=0.999,
        sample_every=100,
        grid_rows=4,
    ),
    (
        f"Layers, 512 feature maps halved from 64x64 on, z of 512 numbers: {_PAPER}, table 2",
        "800,000 images for each fade and each level, Adam 1e-3 with betas (0, 0.99), penalty 10, "
        "drift 0.001, one update of D per update of G, batch 16, moving average 0.999: the same, "
        "appendix A.1",
        "The deviation is that of the whole batch, as in the paper; the authors' code takes groups "
        f"of 4, and begins Adam's averages anew at each level, which gankit does not: {_CODE}",
        "550,000 steps of 16 are the schedule's 8,800,000 images; drawn shapes as data: ours",
    ),
)
PROGAN_DIGITS = Recipe(
    "progan-digits",
    "ProGAN (Karras et al., 2017), small, on digits from 4x4 to 32x32: minutes on a CPU",
    PROGAN.config.updated(
        recipe="progan-digits",
        data="digits",
        image_size=32,
        generator={
            "class_path": "gankit.models.progan.Generator",
            "init_args": {"width": 64, "halved_from": 8},
        },
        discriminator={
            "class_path": "gankit.models.progan.Discriminator",
            "init_args": {"width": 64, "halved_from": 8},
        },
        stable_images=8_000,
        fade_images=8_000,
        z_dim=64,
        steps=5000,
        batch_size=16,
        lr=2e-3,
        ema=0.99,
        sample_every=10,
        grid_rows=8,
    ),
    (
        f"Layers, growth, loss and Adam's betas: as in the recipe progan, {_PAPER}",
        "64 feature maps halved from 8x8 on, z of 64 numbers, 8,000 images for each fade and "
        "each level, batches of 16, Adam 2e-3, moving average 0.99: ours",
    ),
)
RECIPES = (PROGAN, PROGAN_DIGITS)
