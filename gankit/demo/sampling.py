"""What a page asks of a generator of images out of noise: the same as ``gankit sample`` draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.errors import ConfigError
from gankit.latent import move, sefa, truncated, walk
from gankit.latent.paths import inside
from gankit.loaded import LoadedGenerator
from gankit.training.image_files import save_npz
from gankit.training.movies import save_movie
from gankit.training.noise import Distribution, noise_for
from gankit.training.pictures import generate_batches, generate_from, save_grid
from gankit.training.seeds import stream

# Places of a walk, of its slider and of its film.
STEPS, FRAMES = 101, 60
_DIRECTIONS = 5


class Samples(NamedTuple):
    """Noise float ``[n, z_dim]``, images float32 ``[n, C, H, W]`` and int64 labels ``[n]``."""

    z: Tensor
    images: Tensor
    labels: Tensor | None


class Sampler:
    """The generator ``G`` with the choices of a page.

    Attributes:
        G: what ``gankit.load`` returned.
        distribution: of its noise.
        classes: what may be chosen, names with their labels; empty where there are no classes.
        directions: of SeFa, float ``[k, z_dim]``; k is 0 where the first layer is not a matrix.
    """

    def __init__(self, G: LoadedGenerator) -> None:
        assert G.z_distribution is not None  # open_model refuses the others
        self.G = G
        self.distribution: Distribution = G.z_distribution
        labels = G.classes or range(G.n_classes or 0)
        self.classes = [(G.interface.class_name(label), label) for label in labels]
        try:
            found, _ = sefa(G.network, min(_DIRECTIONS, G.z_dim))
        except ConfigError:
            found = torch.empty(0, G.z_dim)
        self.directions = found.cpu()

    def draw(
        self, n: int, seed: int, truncation: float | None = None, label: int | None = None
    ) -> Samples:
        """Those of ``gankit sample --n n --seed seed --truncation T --label L``.

        ``label`` None stands for the classes in turn, ``truncation`` None for none.
        """
        if truncation is None:
            z = self._noise(n, seed)
        else:
            z = truncated(n, self.G.z_dim, truncation, distribution=self.distribution, seed=seed)
        labels = self.G.interface.labels(n, label)
        made = generate_batches(
            self.G.network, n, seed=seed, distribution=self.distribution, labels=labels, z=z
        )
        return Samples(z, torch.cat(list(made)).reshape(n, *self.G.image_shape), labels)

    def one(self, seed: int) -> Tensor:
        """The noise ``[z_dim]`` of the first image of ``seed``."""
        return self._noise(1, seed)[0]

    def image(self, z: Tensor, label: int | None = None) -> Tensor:
        """``[C, H, W]`` of noise ``[z_dim]``; the first class where ``label`` is None."""
        return self.images(z[None], label)[0]

    def images(self, z: Tensor, label: int | None = None) -> Tensor:
        """``[N, C, H, W]`` of noise ``[N, z_dim]``; the first class where ``label`` is None."""
        if self.classes and label is None:
            label = self.classes[0][1]
        labels = self.G.interface.labels(len(z), label)
        return generate_from(self.G.network, z, labels).reshape(-1, *self.G.image_shape)

    def between(self, a: Tensor, b: Tensor, spherical: bool, steps: int = STEPS) -> Tensor:
        """The ``steps`` points ``[steps, z_dim]`` of ``gankit sample --walk``."""
        return walk(a, b, steps, spherical=spherical, distribution=self.distribution)

    def moved(self, z: Tensor, amounts: Sequence[float]) -> Tensor:
        """``z`` ``[z_dim]`` by ``amounts`` along the directions."""
        for direction, amount in zip(self.directions, amounts, strict=True):
            z = move(z[None], direction, [amount])[0, 0]
        return inside(z, self.distribution)

    def write(self, samples: Samples, columns: int, grid: Path, arrays: Path) -> None:
        """The picture of all, and the .npz of ``gankit sample``."""
        save_grid(grid, [samples.images], columns=columns)
        save_npz(arrays, [samples.images], tuple(samples.images.shape), samples.labels)

    def film(self, a: Tensor, b: Tensor, spherical: bool, label: int | None, out: Path) -> None:
        """A GIF of the walk from ``a`` to ``b``, and back."""
        images = self.images(self.between(a, b, spherical, FRAMES), label)
        frames = list(torch.cat([images, images[1:-1].flip(0)])[:, None])
        scale = max(1, min(-(-112 // min(self.G.image_shape[1:])), 8))
        save_movie(out, frames, scale=scale, frames_per_second=15)

    def _noise(self, n: int, seed: int) -> Tensor:
        noise = noise_for(self.G.network, self.distribution, device="cpu", random=stream(seed, "z"))
        return noise(n)
