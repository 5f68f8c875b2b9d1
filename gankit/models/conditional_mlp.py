"""The conditional GAN of Mirza and Osindero (2014), arXiv:1411.1784, on labels.

Both networks are those of :mod:`gankit.models.mlp` with the label beside their input: as a one-hot
vector, or through a matrix that is learnt with the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import DataError
from gankit.models import mlp
from gankit.models.checks import check_image_shape, check_images, check_noise, check_positive
from gankit.models.initialization import Init
from gankit.nn import Linear
from gankit.nn.linear_stack import run_linear_stack
from gankit.nn.traits import declares
from gankit.scalars import integers

__all__ = ["Discriminator", "Generator"]


@declares(per_sample=True, output="main", any_layout=True)
class Generator(nn.Module):
    """Noise and a label to an image.

    Args:
        n_classes: labels are 0 to ``n_classes - 1``.
        z_dim, image_shape, hidden, negative_slope, init, norm: as for
            :class:`gankit.models.mlp.Generator`.
        embedding: length of a learnt vector per class; None takes the one-hot vector itself.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_classes: int,
        z_dim: int = 100,
        image_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (256, 512, 1024),
        negative_slope: float = 0.2,
        init: Init = "pytorch",
        embedding: int | None = None,
        norm: str = "none",
    ) -> None:
        super().__init__()
        check_positive("z_dim", z_dim)
        width = _label_width(n_classes, embedding)
        self.z_dim = int(z_dim)
        self.n_classes = int(n_classes)
        self.image_shape = integers(image_shape)
        inner = mlp.Generator(z_dim + width, image_shape, hidden, negative_slope, init, norm)
        self.main = inner.main
        self.label = _label_layer(n_classes, embedding, init)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """``z`` ``[N, z_dim]`` and int64 ``labels`` ``[N]`` to images ``[N, C, H, W]`` in [-1, 1].

        Raises DataError for other shapes, and on the CPU for a label that is no class.
        """
        check_noise(z, self.z_dim)
        condition = self.label(_one_hot(labels, self.n_classes, z))
        images = run_linear_stack(self.main, torch.cat([z, condition], dim=1))
        return images.view(-1, *self.image_shape)


@declares(per_sample=True, output="main", any_layout=True)
class Discriminator(nn.Module):
    """An image and its label to the probability that the pair is real.

    Args:
        n_classes: labels are 0 to ``n_classes - 1``.
        image_shape, hidden, negative_slope, dropout, init, output, norm: as for
            :class:`gankit.models.mlp.Discriminator`.
        embedding: as for :class:`Generator`.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        n_classes: int,
        image_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (1024, 512, 256),
        negative_slope: float = 0.2,
        dropout: float = 0.5,
        init: Init = "pytorch",
        output: str = "probability",
        embedding: int | None = None,
        norm: str = "none",
    ) -> None:
        super().__init__()
        check_image_shape(image_shape)
        width = _label_width(n_classes, embedding)
        self.n_classes = int(n_classes)
        self.image_shape = integers(image_shape)
        self.output = output
        self.label = _label_layer(n_classes, embedding, init)
        both = (1, 1, math.prod(image_shape) + width)
        inner = mlp.Discriminator(both, hidden, negative_slope, dropout, init, output, norm)
        self.main = inner.main

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` and int64 ``labels`` ``[N]`` to ``[N, 1]``.

        Raises DataError for other shapes, and on the CPU for a label that is no class.
        """
        check_images(images, self.image_shape)
        condition = self.label(_one_hot(labels, self.n_classes, images))
        return run_linear_stack(self.main, torch.cat([images.flatten(1), condition], dim=1))


def _label_width(n_classes: int, embedding: int | None) -> int:
    for name, value in (("n_classes", n_classes), ("embedding", embedding)):
        if value is not None:
            check_positive(name, value)
    return n_classes if embedding is None else embedding


def _label_layer(n_classes: int, embedding: int | None, init: Init) -> nn.Module:
    # A product with a one-hot vector picks a column: it is an embedding, twice differentiable.
    layer = nn.Identity() if embedding is None else Linear(n_classes, embedding, bias=False)
    return layer.apply(init) if callable(init) else layer


def _one_hot(labels: Tensor, n_classes: int, like: Tensor) -> Tensor:
    if labels.dtype != torch.int64 or labels.shape != like.shape[:1]:
        raise DataError(
            f"labels must be int64 of shape [{len(like)}], got {labels.dtype} of "
            f"{list(labels.shape)}"
        )
    # On other devices the check would wait for the device, and a graph cannot hold it.
    if (
        labels.is_cpu
        and not torch.compiler.is_compiling()
        and len(labels)
        and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes
    ):
        raise DataError(
            f"labels must lie in 0 to {n_classes - 1}, got {int(labels.min())} to "
            f"{int(labels.max())}"
        )
    return F.one_hot(labels, n_classes).to(like.dtype)
