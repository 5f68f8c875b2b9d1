"""Images out of a generator, and onto a page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError, MissingExtra
from gankit.training.atomic import atomic_write
from gankit.training.modules import eval_mode
from gankit.training.noise import Distribution, noise_for


@torch.no_grad()
def generate(
    G: nn.Module,
    n: int,
    *,
    seed: int,
    distribution: Distribution = "normal",
    batch: int = 256,
    labels: Tensor | None = None,
) -> Tensor:
    """``n`` images of G in eval mode, float32 on the CPU, decided by ``seed`` alone.

    Neither G's mode nor any global random state is changed. z is drawn on the CPU, so that one seed
    means the same z on every device.

    A conditional G, one with an int attribute ``n_classes``, is called as ``G(z, labels)`` with
    ``labels`` (int64 ``[n]``), by default 0, 1, ... and over again. Raises ConfigError if n < 1 or
    the labels do not fit.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; allowed are integers from 1")
    n_classes = getattr(G, "n_classes", None)
    if n_classes is None and labels is not None:
        raise ConfigError(f"labels are given, but {type(G).__name__} is not conditional")
    if n_classes is not None:
        labels = torch.arange(n) % n_classes if labels is None else labels.cpu()
        if labels.shape != (n,) or not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
            raise ConfigError(
                f"labels must be {n} of 0 to {n_classes - 1}, got {list(labels.shape)} of "
                f"{int(labels.min())} to {int(labels.max())}"
            )
    random = torch.Generator().manual_seed(seed)
    z = noise_for(G, distribution, device="cpu", random=random)(n)
    device = next(G.parameters()).device
    with eval_mode(G), _seeded(seed, device):
        inputs = (z,) if labels is None else (z, labels)
        parts = zip(*(x.to(device).split(batch) for x in inputs), strict=True)
        return torch.cat([G(*part).float().cpu() for part in parts])


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of the CPU and of ``device``, and put their states back at the end."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def save_grid(
    path: str | os.PathLike[str],
    panels: list[Tensor],
    *,
    columns: int,
    inverted: bool = False,
) -> None:
    """Write a PNG of one or more grids side by side.

    Each panel is float ``[N, C, H, W]`` in [-1, 1] on the CPU. Raises MissingExtra without
    torchvision or Pillow, OSError if the file cannot be written.
    """
    try:
        from torchvision.utils import make_grid, save_image
    except ImportError as error:
        raise MissingExtra("torchvision", "train") from error
    grids = []
    for panel in panels:
        images = (panel.clamp(-1, 1) + 1) / 2
        if inverted:
            images = 1 - images
        grids.append(make_grid(images, nrow=columns, padding=2, pad_value=1.0 if inverted else 0.0))
    picture = grids[0]
    for grid in grids[1:]:
        gap = torch.full((*picture.shape[:2], 12), 0.5)
        picture = torch.cat([picture, gap, grid], dim=2)
    with atomic_write(path) as file:
        save_image(picture, file, format="png")
