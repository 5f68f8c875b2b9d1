"""Torch's own data sets and loaders as what training asks of a data set.

They live on the host: samples are fetched and collated there, then moved to the networks' device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from gankit.data.images import normalize_bytes
from gankit.data.sampler import BatchSampler
from gankit.errors import DataError
from gankit.scalars import is_integer

__all__ = ["LoaderData", "LoaderOrder", "MapData"]


class MapData:
    """A map-style ``torch.utils.data.Dataset``, each of whose samples is fetched when it is due.

    A sample is a tensor, a tuple or a dict of tensors, arrays and numbers. The entries of a tuple
    are the fields ``names`` in their order, then ``label``; what is left over is not looked at.
    uint8 images become floats in [-1, 1]; floats are taken to lie there.

    Args:
        dataset: has ``__getitem__`` and ``__len__``.
        names: the fields that the step reads.
        device: where batches are moved to.

    Raises:
        DataError: no samples, or samples of another kind.
    """

    def __init__(
        self, dataset: Dataset[Any], names: Sequence[str], device: torch.device | str = "cpu"
    ) -> None:
        self.dataset, self.device = dataset, torch.device(device)
        self.name = type(dataset).__name__
        self._names = (*names, *(() if "label" in names else ("label",)))
        count: Any = getattr(dataset, "__len__", None)
        self._count = 0 if count is None else int(count())
        if self._count < 1:
            what = "has no length" if count is None else "is empty"
            raise DataError(f"{self.name} {what}; expected a map-style Dataset of samples")
        with torch.random.fork_rng(devices=[]):  # a look at a sample changes no run
            first = self.batch(torch.zeros(1, dtype=torch.int64))
        self.fields = {name: tuple(value.shape[1:]) for name, value in first.items()}

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples at ``indices`` int64 ``[B]``: floats as they are, labels int64."""
        samples = [self.dataset[index] for index in indices.tolist()]
        try:
            collated = default_collate(samples)
        except (TypeError, RuntimeError) as error:
            raise DataError(
                f"{self.name}: its samples do not make a batch: {' '.join(str(error).split())}"
            ) from error
        return named_fields(collated, self._names, self.name, self.device)

    def to(self, device: str | torch.device) -> MapData:
        """The same set, whose batches are moved to another device."""
        return MapData(self.dataset, self._names, device)

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> BatchSampler:
        """A ``BatchSampler`` over the set; arguments and errors are those of that class."""
        return BatchSampler(len(self), batch_size, generator=generator, replacement=replacement)


class LoaderData:
    """A ``DataLoader``, whose batches are taken as they come.

    Its own samples are those of one batch, drawn at the beginning, for pictures; training takes the
    batches of ``order``. Fields are named as by :class:`MapData`.

    Args:
        loader: of a known length.
        names: the fields that the step reads.
        device: where batches are moved to.

    Raises:
        DataError: the loader has no length or no batch, or batches of another kind.
    """

    def __init__(
        self, loader: DataLoader[Any], names: Sequence[str], device: torch.device | str = "cpu"
    ) -> None:
        self.loader, self.device = loader, torch.device(device)
        self.name = f"DataLoader of {type(loader.dataset).__name__}"
        self._names = (*names, *(() if "label" in names else ("label",)))
        try:
            batches = len(loader)
        except TypeError as error:
            raise DataError(
                f"{self.name} has no length; expected a loader that says how many batches an epoch "
                "has"
            ) from error
        with torch.random.fork_rng(devices=[]):  # a look at a batch changes no run
            first = next(iter(loader), None)
        if first is None:
            raise DataError(f"{self.name} gives no batch")
        self._first = named_fields(first, self._names, self.name, self.device)
        self.fields = {name: tuple(value.shape[1:]) for name, value in self._first.items()}
        self.steps_per_epoch = max(1, batches - self._is_last_short())

    def __len__(self) -> int:
        return len(next(iter(self._first.values())))

    def _is_last_short(self) -> bool:
        size, count = self.loader.batch_size, getattr(self.loader.dataset, "__len__", None)
        if size is None or count is None or self.loader.drop_last:
            return False
        return bool(count() % size)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """Samples of the batch that was drawn at the beginning."""
        places = indices.to(self.device) % len(self)
        return {name: value[places] for name, value in self._first.items()}

    def to(self, device: str | torch.device) -> LoaderData:
        """The same loader, whose batches are moved to another device."""
        return LoaderData(self.loader, self._names, device)

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> BatchSampler:
        """A ``BatchSampler`` over the samples that :meth:`batch` knows."""
        return BatchSampler(len(self), batch_size, generator=generator, replacement=replacement)

    def order(self) -> LoaderOrder:
        """The batches of the loader, epoch after epoch."""
        return LoaderOrder(self)

    def epoch(self) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch; one smaller than the first is left out, as others leave out the
        rest of an epoch."""
        for batch in self.loader:
            found = named_fields(batch, self._names, self.name, self.device)
            if len(next(iter(found.values()))) >= len(self):
                yield found


class LoaderOrder(Iterator[dict[str, Tensor]]):
    """An infinite iterator over the batches of a loader, in the loader's own order.

    After ``load_state_dict`` it begins a new epoch, since a loader cannot be put back.
    """

    def __init__(self, data: LoaderData) -> None:
        self._data, self._batches = data, 0
        self._epoch: Iterator[dict[str, Tensor]] = iter(())
        self.steps_per_epoch = data.steps_per_epoch

    def __next__(self) -> dict[str, Tensor]:
        batch = next(self._epoch, None)
        if batch is None:
            self._epoch = self._data.epoch()
            batch = next(self._epoch, None)
        if batch is None:
            raise DataError(f"{self._data.name} gives no batch as large as its first")
        self._batches += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """How many batches were taken."""
        return {"batches": self._batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Count on from ``state``."""
        batches = state.get("batches")
        self._batches = int(batches) if is_integer(batches) else 0
        self._epoch = iter(())


def named_fields(
    collated: Any, names: Sequence[str], owner: str, device: torch.device
) -> dict[str, Tensor]:
    """A batch as fields on ``device``: the entries of a dict, or of a tuple in the order of
    ``names``, or one tensor as the first of them. Bytes of images become floats in [-1, 1].

    Raises DataError if an entry is no tensor.
    """
    if isinstance(collated, Mapping):
        found = dict(collated)
    elif isinstance(collated, (tuple, list)):
        found = dict(zip(names, collated, strict=False))
    else:
        found = {names[0]: collated}
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise DataError(
                f"{owner}: {name} is a {type(value).__name__} in a batch; expected tensors, arrays "
                "or numbers"
            )
        if name == "label":
            value = value if value.is_floating_point() else value.long()
        elif value.dtype == torch.uint8:
            value = normalize_bytes(value)
        found[name] = value.to(device, non_blocking=True)
    return found
