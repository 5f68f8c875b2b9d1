"""Adaptive discriminator augmentation (Karras et al., 2020, arXiv 2006.06676)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from gankit.errors import CheckpointError, ConfigError, shortened
from gankit.scalars import is_number
from gankit.training.arguments import whole
from gankit.training.augmentation import Augmentation, Numbers, colors_of
from gankit.training.distributed import all_reduce_sum
from gankit.training.resample import BILINEAR, REFLECTION, places, resample

# Updates of the discriminators between two changes of p.
_INTERVAL = 4
_GATES = 13


class ADA(Augmentation):
    """Transforms, each with probability p, which follows how far D has learnt the images by heart.

    The sign of D's output on real images (+1 where it takes one for real), its mean r over four
    updates of D, says so. Where r is above ``target`` p rises, else it falls, at a rate that takes
    it from 0 to 1 within ``images`` real images. p stays in [0, 1]; while it is below about 0.8 the
    transforms cannot leak into what G makes (section 2.2 of the paper).

    =============  ===============================================================================
    ``blit``       mirrored, turned by 90 degrees, shifted by up to an eighth in whole pixels
    ``geometry``   scaled, turned by any angle, stretched, shifted by any part of a pixel; the
                   image goes on as its mirror image
    ``color``      brightness, contrast, inverted luma, turned hue, saturation
    =============  ===============================================================================

    The distributions are those of the paper's appendix B. Geometry is sampled once and bilinearly,
    where the paper takes a sharper filter. Images of one channel, and of other numbers than three
    and four, have no hue.

    p and what it follows are buffers, which all processes of a run have alike: the signs are added
    up as integers over all of them.

    Args:
        policy: any of ``blit``, ``geometry`` and ``color``, with commas between. Mirrored and
            turned digits or letters are other ones: leave out ``blit``.
        target: the mean sign that p is to bring about, in [-1, 1]; None leaves p as it is.
        images: real images within which p can go from 0 to 1, at least 1.
        p: where it begins, in [0, 1].

    Raises ConfigError for arguments outside what is said here.
    """

    name: ClassVar[str] = "ada"
    groups: ClassVar[tuple[str, ...]] = ("blit", "geometry", "color")
    metrics: ClassVar[Mapping[str, str]] = {"augment_p": "p of ADA", "real_sign": "sign of D(real)"}
    uniforms: ClassVar[int] = _GATES + 8
    normals: ClassVar[int] = 7
    p: Tensor
    counts: Tensor
    updates: Tensor

    def __init__(
        self,
        policy: str = "blit,geometry,color",
        target: float | None = 0.6,
        images: int = 500_000,
        p: float = 0.0,
    ) -> None:
        super().__init__(policy)
        if target is not None and not (is_number(target) and -1 <= target <= 1):
            raise ConfigError(f"target is {target!r}; allowed are None and numbers in [-1, 1]")
        if not is_number(p) or not 0 <= p <= 1:
            raise ConfigError(f"p is {p!r}; allowed are numbers in [0, 1]")
        self.target = None if target is None else float(target)
        self.images = whole("images", images)
        self.register_buffer("p", torch.tensor(float(p)))
        # Sum of signs and number of images since the last change of p.
        self.register_buffer("counts", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._seen: list[Tensor] = []
        self._told = False

    def begin(self, part: int, parts: int) -> None:
        if part == 0:
            self._seen.clear()
        super().begin(part, parts)

    def check_observed(self, step: object) -> None:
        if not self._told:
            raise ConfigError(
                f"augment is 'ada', but {type(step).__name__} does not call observe_real with D's "
                "output on real images; allowed are 'diffaugment' and 'none'"
            )

    def observe(self, scores: Tensor, boundary: float | None) -> None:
        self._told = True
        if boundary is None:
            raise ConfigError(
                "augment is 'ada', whose p follows the sign of D's output on real images, but the "
                "loss has no output at which D is undecided; allowed are 'diffaugment' and 'none'"
            )
        signs = (scores - boundary).sign().to(torch.int64).sum()
        self._seen.append(torch.stack([signs, torch.full_like(signs, len(scores))]))

    @torch.no_grad()
    def adapt(self) -> dict[str, Tensor]:
        if not self._seen:
            return {}
        counts = all_reduce_sum(torch.stack(self._seen).sum(0))
        self._seen.clear()
        now = counts.to(self.p.dtype)
        reported = {"real_sign": now[0] / now[1]}
        self.counts += counts
        self.updates += 1
        if self.target is not None:
            signs, seen = self.counts.to(self.p.dtype)
            change = (signs - self.target * seen).sign() * (seen / self.images)
            due = self.updates >= _INTERVAL
            self.p.copy_(torch.where(due, (self.p + change).clamp(0.0, 1.0), self.p))
        waiting = self.updates < _INTERVAL
        self.counts *= waiting
        self.updates *= waiting
        return {"augment_p": self.p.clone(), **reported}

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name, most in (("p", 1), ("updates", _INTERVAL - 1)):
            value = state_dict.get(f"{prefix}{name}")
            if isinstance(value, Tensor) and (value.ndim or not 0 <= value.item() <= most):
                raise CheckpointError(
                    f"{prefix}{name} is {shortened(value)}; allowed are 0 to {most}"
                )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def transform(self, images: Tensor, numbers: Numbers) -> Tensor:
        p = self.p.to(images.dtype)
        gates, u = numbers.uniform[:, :_GATES], numbers.uniform[:, _GATES:]
        # A turn before and one after the stretch: together with probability p.
        turning = 1 - (1 - p).sqrt()
        chances = [turning if number in (4, 6) else p for number in range(_GATES)]
        on = gates < torch.stack(chances)
        if "blit" in self.policy or "geometry" in self.policy:
            images = self._moved(images, on, u, numbers.normal)
        if "color" in self.policy:
            images = _colored(images, on[:, 8:], u[:, 6:], numbers.normal[:, 4:])
        return images

    def _moved(self, images: Tensor, on: Tensor, u: Tensor, normal: Tensor) -> Tensor:
        """One resampling by the product of all maps, from the result's places to the image's."""
        height, width = images.shape[2:]
        zero, one = torch.zeros_like(u[:, 0]), torch.ones_like(u[:, 0])
        matrix = _Affine(one, zero, zero, zero, one, zero)
        used = torch.zeros_like(on[:, 0])
        if "blit" in self.policy:
            matrix = matrix.scaled(torch.where(on[:, 0] & (u[:, 0] < 0.5), -one, one), one)
            quarter = (u[:, 1] * 4).floor() * (math.pi / 2) * on[:, 1]
            matrix = matrix.turned(quarter.cos().round(), quarter.sin().round())
            shift = [
                ((2 * u[:, 2 + place] - 1) * 0.125 * size).round() * on[:, 2]
                for place, size in enumerate((width, height))
            ]
            matrix, used = matrix.shifted(*shift), used | on[:, :3].any(1)
        if "geometry" in self.policy:
            strength = 0.2 * math.log(2)
            scale = (-strength * normal[:, 0] * on[:, 3]).exp()
            matrix = matrix.scaled(scale, scale)
            angle = (2 * u[:, 4] - 1) * math.pi * on[:, 4]
            matrix = matrix.turned(angle.cos(), angle.sin())
            stretch = (strength * normal[:, 1] * on[:, 5]).exp()
            matrix = matrix.scaled(1 / stretch, stretch)
            angle = (2 * u[:, 5] - 1) * math.pi * on[:, 6]
            matrix = matrix.turned(angle.cos(), angle.sin())
            shift = [
                normal[:, 2 + place] * (0.125 * size) * on[:, 7]
                for place, size in enumerate((width, height))
            ]
            matrix, used = matrix.shifted(*shift), used | on[:, 3:8].any(1)
        moved = resample(images, *matrix(*places(images)), mode=BILINEAR, padding=REFLECTION)
        return torch.where(used[:, None, None, None], moved, images)


class _Affine:
    """For each sample x' = ``a`` x + ``b`` y + ``c``, y' = ``d`` x + ``e`` y + ``f``, ``[N]`` each.

    Its methods put another map before it. They are sums and products of few numbers, not products
    of matrices, which a GPU may round to ten bits.
    """

    def __init__(self, *entries: Tensor) -> None:
        self.entries = entries

    def scaled(self, x: Tensor, y: Tensor) -> _Affine:
        a, b, c, d, e, f = self.entries
        return _Affine(a * x, b * y, c, d * x, e * y, f)

    def turned(self, cos: Tensor, sin: Tensor) -> _Affine:
        a, b, c, d, e, f = self.entries
        return _Affine(
            a * cos + b * sin, b * cos - a * sin, c, d * cos + e * sin, e * cos - d * sin, f
        )

    def shifted(self, x: Tensor, y: Tensor) -> _Affine:
        a, b, c, d, e, f = self.entries
        return _Affine(a, b, c - a * x - b * y, d, e, f - d * x - e * y)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c, d, e, f = (entry[:, None, None] for entry in self.entries)
        return a * x + b * y + c, d * x + e * y + f


def _colored(images: Tensor, on: Tensor, u: Tensor, normal: Tensor) -> Tensor:
    """Grey, the mean of the colors, and what is beside it are what each map scales or turns."""
    colors, opacity = colors_of(images)
    on, u, normal = (x[:, :, None, None, None] for x in (on, u, normal))
    grey = colors.mean(1, keepdim=True)
    beside = colors - grey
    contrast = (0.5 * math.log(2) * normal[:, 1] * on[:, 1]).exp()
    inverted = torch.where(on[:, 2] & (u[:, 0] < 0.5), -contrast, contrast)
    grey = (grey + 0.2 * normal[:, 0] * on[:, 0]) * inverted
    if colors.shape[1] > 1:
        if colors.shape[1] == 3:
            angle = (2 * u[:, 1] - 1) * math.pi * on[:, 3]
            across = (beside.roll(1, 1) - beside.roll(-1, 1)) / math.sqrt(3)
            beside = beside * angle.cos() + across * angle.sin()
        beside = beside * contrast * (math.log(2) * normal[:, 2] * on[:, 4]).exp()
    else:
        beside = torch.zeros_like(beside)
    changed = torch.where(on.any(1), grey + beside, colors)
    return changed if opacity is None else torch.cat([changed, opacity], dim=1)
