"""The space of a generator's input: walks, directions with a meaning, and the way back into it.

Functions of any generator ``G(z)`` or, with ``n_classes``, ``G(z, labels)``, z ``[N, z_dim]``. None
of them changes the generator's modes, parameters or gradients, or a global random state. z is
N(0, 1) (``"normal"``) or U[-1, 1) (``"uniform"``).
"""

from __future__ import annotations

from gankit.latent.directions import (
    Arithmetic,
    arithmetic,
    linear_probe,
    mean_difference,
    sefa,
    terms_of,
)
from gankit.latent.inversion import Inversion, invert, nearest
from gankit.latent.paths import bilinear, move, truncated, walk
from gankit.latent.statistics import standing_statistics

__all__ = [
    "Arithmetic",
    "Inversion",
    "arithmetic",
    "bilinear",
    "invert",
    "linear_probe",
    "mean_difference",
    "move",
    "nearest",
    "sefa",
    "standing_statistics",
    "terms_of",
    "truncated",
    "walk",
]
