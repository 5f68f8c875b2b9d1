"""Where a generator's input comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.scalars import is_integer

Distribution = Literal["normal", "uniform"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "uniform")
NoiseSource = Callable[[int], Tensor]


@dataclass(frozen=True)
class Noise:
    """``noise(n)`` draws z of shape ``[n, *shape]``.

    "normal" is N(0, 1), "uniform" is U[-1, 1). Without a generator it follows
    ``torch.manual_seed``. A generator must live on ``device``.
    """

    shape: tuple[int, ...]
    distribution: Distribution = "normal"
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.distribution not in DISTRIBUTIONS:
            raise ConfigError(
                f"z_distribution is {self.distribution!r}; allowed are 'normal' and 'uniform'"
            )

    def __call__(self, n: int) -> Tensor:
        if self.distribution == "normal":
            return torch.randn(
                n, *self.shape, device=self.device, dtype=self.dtype, generator=self.generator
            )
        z = torch.rand(
            n, *self.shape, device=self.device, dtype=self.dtype, generator=self.generator
        )
        return z.mul_(2).sub_(1)


def noise_for(
    generator: nn.Module,
    distribution: Distribution = "normal",
    *,
    device: torch.device | str | None = None,
    random: torch.Generator | None = None,
) -> Noise:
    """The noise ``generator`` asks for through its ``z_dim`` (an int), in its own dtype.

    It is drawn on ``device`` (default: where the generator's parameters are). Raises ConfigError if
    the generator has no ``z_dim``.
    """
    z_dim = getattr(generator, "z_dim", None)
    if not is_integer(z_dim) or z_dim < 1:
        raise ConfigError(
            f"the generator {type(generator).__name__} has no attribute z_dim (a positive int); "
            "add one, or pass noise=, a function from a batch size to a tensor"
        )
    like = next(generator.parameters(), torch.empty(0))
    return Noise((int(z_dim),), distribution, device or like.device, like.dtype, random)
