"""A history of generated images, from which a discriminator learns beside the newest ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import CheckpointError, ConfigError, shortened
from gankit.scalars import is_integer


class ImagePool(nn.Module):
    """Up to ``size`` images that a generator made earlier (Shrivastava et al., 2017, 1612.07828).

    As in CycleGAN (Zhu et al., 2017, arXiv 1703.10593), one image after the other: while the pool
    is not full, an image is stored and returned; then every second one on average takes the place
    of a stored one, which is returned for it. A batch gives exactly what its images would give one
    by one. The images are buffers, so a state dict has them, and nothing waits for the device.

    Args:
        size: the number of images, from 0; 0 returns each image as it is.
        shape: of one image, ``(C, H, W)``.
        device, dtype: of the images.

    Raises:
        ConfigError: a size below 0.
    """

    images: Tensor
    filled: Tensor

    def __init__(
        self,
        size: int,
        shape: tuple[int, ...],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if not is_integer(size) or size < 0:
            raise ConfigError(f"pool_size is {size!r}; allowed are integers from 0")
        self.size = int(size)
        # The last row takes what is not stored: which rows are written is decided on the device.
        rows = self.size + 1 if size else 0
        self.register_buffer("images", torch.zeros(rows, *shape, device=device, dtype=dtype))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64, device=device))

    @torch.no_grad()
    def forward(self, images: Tensor, u: Tensor) -> Tensor:
        """``images`` ``[n, C, H, W]`` into the pool, and as many out of it.

        ``u`` ``[n, 2]``, uniform in [0, 1), decides which are exchanged, and for which.
        """
        if images.shape[1:] != self.images.shape[1:]:
            raise ConfigError(
                f"the pool keeps images of shape {list(self.images.shape[1:])}, as its shapes "
                f"say, got {list(images.shape[1:])}"
            )
        if not self.size:
            return images
        number = torch.arange(len(images), device=images.device)
        row = self.filled + number
        stored = row < self.size
        exchanged = ~stored & (u[:, 0] < 0.5)
        chosen = (u[:, 1] * self.size).long().clamp_(max=self.size - 1)
        slot = torch.where(stored, row, torch.where(exchanged, chosen, self.size))
        # Who else of the batch has this slot: the last one before takes the pool's place, and the
        # last one of all stays in it.
        same = slot[:, None] == slot
        before = torch.where(same & (number < number[:, None]), number, -1).amax(1)
        last = torch.where(same, number, -1).amax(1)
        old = torch.where(
            _each(before >= 0, images), images[before.clamp_min(0)], self.images[slot]
        )
        out = torch.where(_each(exchanged, images), old, images)
        self.images.index_copy_(0, slot, images[last].to(self.images.dtype))
        self.filled.add_(len(images)).clamp_(max=self.size)
        return out

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        filled = state_dict.get(f"{prefix}filled")
        # It says where images are written.
        if isinstance(filled, Tensor) and (filled.ndim or not 0 <= filled.item() <= self.size):
            raise CheckpointError(
                f"{prefix}filled is {shortened(filled)}; allowed are 0 to {self.size}"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"{self.size}, {tuple(self.images.shape[1:])}"


def _each(condition: Tensor, images: Tensor) -> Tensor:
    return condition.view(-1, *(1,) * (images.ndim - 1))
