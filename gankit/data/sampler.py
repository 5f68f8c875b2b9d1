"""Which images make the next batch: shuffled epochs or draws with replacement, resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gankit.errors import CheckpointError, DataError
from gankit.scalars import is_integer


class BatchSampler(Iterator[Tensor]):
    """An infinite iterator of int64 index tensors ``[batch_size]``.

    Without replacement every epoch is a fresh permutation of 0..n-1 cut into ``n // batch_size``
    batches; the rest is dropped. With replacement each index is drawn on its own.

    Args:
        n: number of images.
        batch_size: images in a batch, 1 to n.
        generator: source of randomness; indices live on its device. None makes one on the CPU,
            seeded from torch's default generator.
        replacement: draw with replacement.

    Raises:
        DataError: batch_size below 1 or above n.
    """

    # What a state must have in common with the sampler that goes on from it.
    _fixed: tuple[str, ...] = ("n", "batch_size", "replacement")

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> None:
        for name, value in (("n", n), ("batch_size", batch_size)):
            if not is_integer(value):
                raise DataError(f"{name} must be an integer, got {value!r}")
        n, batch_size, replacement = int(n), int(batch_size), bool(replacement)
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, got {batch_size}")
        if batch_size > n:
            raise DataError(
                f"batch_size is {batch_size} but the data has only {n} samples, "
                f"at most {n} is allowed"
            )
        if generator is None:
            generator = torch.Generator()
            generator.manual_seed(int(torch.randint(2**62, ())))
        self.n = n
        self.batch_size = batch_size
        self.replacement = replacement
        self.generator = generator
        self._permutation = torch.empty(0, dtype=torch.int64, device=generator.device)
        self._position = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch: ``n // batch_size``."""
        return self.n // self.batch_size

    def __iter__(self) -> BatchSampler:
        return self

    def __next__(self) -> Tensor:
        device = self.generator.device
        if self.replacement:
            return torch.randint(
                self.n, (self.batch_size,), generator=self.generator, device=device
            )
        end = self._position + self.batch_size
        if end > len(self._permutation):
            self._permutation = torch.randperm(self.n, generator=self.generator, device=device)
            self._position, end = 0, self.batch_size
        batch = self._permutation[self._position : end]
        self._position = end
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Everything the coming batches depend on, as CPU tensors and plain numbers."""
        return {
            "n": self.n,
            "batch_size": self.batch_size,
            "replacement": self.replacement,
            "generator": self.generator.get_state(),
            "permutation": self._permutation.cpu().clone(),
            "position": self._position,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues exactly where the sampler that gave ``state`` stood.

        Raises:
            CheckpointError: the state is incomplete or belongs to other data or another batch size.
        """
        missing = sorted(set(self.state_dict()) - set(state))
        if missing:
            raise CheckpointError(f"the sampler's state lacks {', '.join(missing)}")
        for key in self._fixed:
            if state[key] != getattr(self, key):
                raise CheckpointError(
                    f"the sampler's state was saved with {key}={state[key]}, "
                    f"this run has {key}={getattr(self, key)}"
                )
        permutation, position = state["permutation"], state["position"]
        if not _is_permutation(permutation, self.n) or not 0 <= position <= len(permutation):
            raise CheckpointError(
                f"the sampler's state is damaged: its permutation of {self.n} images is not one"
            )
        try:
            self.generator.set_state(state["generator"])
        except (RuntimeError, TypeError) as error:
            raise CheckpointError(
                f"the sampler's generator state does not fit a {self.generator.device.type} "
                "generator"
            ) from error
        self._permutation = permutation.to(self.generator.device, copy=True)
        self._position = int(position)


def _is_permutation(value: object, n: int) -> bool:
    """True for an int64 permutation of 0..n-1, or for the empty one of a fresh sampler."""
    if not isinstance(value, Tensor) or value.dtype != torch.int64 or value.dim() != 1:
        return False
    return len(value) == 0 or torch.equal(value.sort().values.cpu(), torch.arange(n))
