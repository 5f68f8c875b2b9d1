"""The discriminator of semi-supervised GANs: K classes of real images, and one of generated ones.

Salimans et al., 2016, arXiv:1606.03498, section 5; Odena, 2016, arXiv:1606.01583. The generator is
any, such as :class:`gankit.models.mlp.Generator`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from gankit.models import mlp
from gankit.models.checks import check_image_shape, check_images, check_positive
from gankit.models.initialization import Init
from gankit.nn import Linear
from gankit.nn.linear_stack import run_linear_stack
from gankit.nn.traits import declares
from gankit.scalars import integers

__all__ = ["Discriminator"]


@declares(per_sample=True, any_layout=True)
class Discriminator(nn.Module):
    """Linear layers with LeakyReLU and dropout, to K logits and to one.

    Only differences between logits count, so that of class K + 1, "generated", is fixed at 0
    (Salimans et al., 2016). The probability of being real is then that of all other classes,
    ``Z / (Z + 1)`` with ``Z = sum(exp(logits))``, and its logit is ``logsumexp(logits)``.

    Args:
        n_classes: K.
        image_shape, hidden, negative_slope, dropout, init, norm: as for
            :class:`gankit.models.mlp.Discriminator`.

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
        norm: str = "none",
    ) -> None:
        super().__init__()
        check_positive("n_classes", n_classes)
        check_image_shape(image_shape)
        self.n_classes = int(n_classes)
        self.image_shape = integers(image_shape)
        pixels = math.prod(image_shape)
        layers = mlp.hidden_layers(pixels, hidden, negative_slope, dropout, norm)
        self.main = nn.Sequential(*layers, Linear(hidden[-1], n_classes))
        mlp.initialise(self, self.main, init)

    def classify(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to the logits of the K classes, ``[N, K]``."""
        check_images(images, self.image_shape)
        return run_linear_stack(self.main, images.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to the logit of being real, ``[N, 1]``."""
        return self.classify(images).logsumexp(dim=1, keepdim=True)
