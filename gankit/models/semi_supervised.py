"""The discriminator of semi-supervised GANs: K classes of real images, and one of generated ones.

Salimans et al., 2016, arXiv:1606.03498, section 5; Odena, 2016, arXiv:1606.01583. The generator is
any, such as :class:`gankit.models.mlp.Generator`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.models import mlp
from gankit.nn import Linear
from gankit.nn.linear_stack import run_linear_stack

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """Linear layers with LeakyReLU and dropout, to K logits and to one.

    Only differences between logits count, so that of class K + 1, "generated", is fixed at 0
    (Salimans et al., 2016). The probability of being real is then that of all other classes,
    ``Z / (Z + 1)`` with ``Z = sum(exp(logits))``, and its logit is ``logsumexp(logits)``.

    Args:
        n_classes: K.
        image_shape, hidden, negative_slope, dropout, init: as for
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
        init: mlp.Init = "pytorch",
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise ConfigError(f"n_classes must be at least 1, got {n_classes}")
        self.n_classes = n_classes
        self.image_shape = tuple(image_shape)
        layers = mlp.Discriminator(image_shape, hidden, negative_slope, dropout, init).main[:-2]
        self.main = nn.Sequential(*layers, Linear(hidden[-1], n_classes))

    def classify(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to the logits of the K classes, ``[N, K]``."""
        if images.dim() != 4 or tuple(images.shape[1:]) != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise DataError(f"images must have shape [N, {expected}], got {list(images.shape)}")
        return run_linear_stack(self.main, images.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` to the logit of being real, ``[N, 1]``."""
        return self.classify(images).logsumexp(dim=1, keepdim=True)
