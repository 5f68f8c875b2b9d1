"""Samples of tar shards in a shuffled order that can be taken up at any point.

What reads shards reads them from the beginning, so an order over single samples is out of reach.
Here every epoch has an order of its own of the shards, which are dealt to the readers in turn; a
reader collects blocks of samples as they come and shuffles each block. Where a reader stands is
then four small numbers: the epoch, the shard and the sample at which its block began, and how much
of the block is used. From these it goes on by reading a part of one shard and one block, never
more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from gankit.data.image_files import SUFFIXES, Fit, decode_resized
from gankit.errors import DataError, MissingExtra

__all__ = ["Packed", "ShardStream", "endings_by_sample", "raw_samples"]

# The endings of members of a shard that are images.
_ENDINGS = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
_ANY = ", ".join(_ENDINGS)


@dataclass(frozen=True)
class Packed:
    """How a sample of a shard becomes an image and a label.

    Args:
        image_size: height and width.
        channels: 1, 3 or 4.
        fit: as ``gankit.data.image_files.resize``.
        background: the color under transparent pixels and around padded images.
        label: the ending of the members that hold a class as text, its number or name, or None.
        classes: class numbers are below it.
        class_names: the names of the classes, or none.
        image: the ending of the members that are the image; None where a sample has one image.
    """

    image_size: tuple[int, int]
    channels: int
    fit: Fit
    background: str
    label: str | None
    classes: int
    class_names: tuple[str, ...] = ()
    image: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of an image."""
        return self.channels, *self.image_size

    def unpacked(self, sample: Mapping[str, Any]) -> tuple[np.ndarray, int]:
        """uint8 ``[C, H, W]`` and the class, -1 without labels. Raises DataError for what is none
        of it."""
        name = f"{sample['__url__']}: {sample['__key__']}"
        ending = self._ending(sample, name)
        image = decode_resized(
            (f"{name}.{ending}", sample[ending]),
            self.image_size,
            channels=self.channels,
            fit=self.fit,
            background=self.background,
        )
        return image.numpy(), self._class(sample, name)

    def images(self, endings: Iterable[str]) -> list[str]:
        """Which of the ``endings`` of a sample's members may be that of its image: one, if it is
        clear."""
        if self.image is not None:
            return [each for each in endings if each == self.image]
        images = [each for each in endings if each.rpartition(".")[2] in _ENDINGS]
        # Beside 0001.jpg, 0001.mask.png is another thing.
        return [each for each in images if each in _ENDINGS] or images

    def _ending(self, sample: Mapping[str, Any], name: str) -> str:
        found = self.images(sample)
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
            raise DataError(
                f"{name} has {len(found)} images ({several}), expected one or that image says "
                "which (data.image=ENDING); a sample is what has one name up to its first dot"
            )
        raise DataError(f"{name} has no image, expected a member {self.image or _ANY}")

    def _class(self, sample: Mapping[str, Any], name: str) -> int:
        if self.label is None:
            return -1
        text = sample.get(self.label, b"nothing")[:200].decode(errors="replace").strip()
        if text in self.class_names:
            return self.class_names.index(text)
        try:
            number = int(text)
        except ValueError:
            number = -1
        if not 0 <= number < self.classes:
            named = ", or one of their names" if self.class_names else ""
            raise DataError(
                f"{name}.{self.label} is {text[:20]}, expected a class number from 0 to "
                f"{self.classes - 1}{named}"
            )
        return number


def endings_by_sample(names: Iterable[str]) -> list[set[str]]:
    """The endings of each sample of a shard whose members have ``names``, as webdataset has them.

    A sample is members in a row with one name up to the first dot behind the last slash.
    """
    from webdataset.tariterators import base_plus_ext

    found: list[set[str]] = []
    before = None
    for name in names:
        key, ending = base_plus_ext(name)
        if key is None or name.startswith("__"):
            continue
        if key != before:
            found.append(set())
            before = key
        found[-1].add(ending.lower())
    return found


def raw_samples(url: str, skip: int = 0) -> Iterator[dict[str, Any]]:
    """The samples of a shard as webdataset gives them, without the first ``skip``.

    Raises:
        DataError: it cannot be read.
        MissingExtra: webdataset is not installed.
    """
    try:
        from webdataset.tariterators import tarfile_samples
    except ImportError as error:
        raise MissingExtra("webdataset", "stream") from error
    try:
        for number, sample in enumerate(tarfile_samples([{"url": url}])):
            if number >= skip:
                yield sample
    except Exception as error:  # of tar files, programs and networks
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise DataError(f"{url} cannot be read ({reason or type(error).__name__})") from error


class ShardStream(IterableDataset[Any]):
    """An endless stream of batches out of shards, in the process of a loader.

    Args:
        urls: the shards.
        packed: how samples are read.
        batch_size: samples in a batch.
        shuffle: samples in a block, 1 for none.
        seed: of the order.
        rank: of this process, from 0 to ``size - 1``; the shards are dealt to them all, and to the
            processes that each has for reading.
        size: how many processes there are.
    """

    def __init__(
        self,
        urls: Sequence[str],
        packed: Packed,
        batch_size: int,
        *,
        shuffle: int,
        seed: int,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self.urls, self.packed, self.batch_size = tuple(urls), packed, batch_size
        self.shuffle, self.seed, self.rank, self.size = shuffle, seed, rank, size

    def __iter__(self) -> _Reader:
        worker = get_worker_info()
        own, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return _Reader(self, self.rank * count + own, self.size * count)


class _Reader(Iterator[dict[str, Any]]):
    """Reader ``number`` of ``count``. A batch is as ``FileImages.read`` gives it, with labels."""

    def __init__(self, stream: ShardStream, number: int, count: int) -> None:
        self._stream, self._number, self._count = stream, number, count
        self._epoch = self._shard = self._skip = self._used = 0
        self._start()

    def _start(self) -> None:
        """Forget what was read; the next sample is looked up."""
        self._block: list[dict[str, Any]] = []
        self._order: list[int] = []
        self._next = self._epoch, self._shard, self._skip
        self._open: Iterator[dict[str, Any]] | None = None

    def state_dict(self) -> dict[str, int]:
        """Where the reader stands."""
        return {
            "epoch": self._epoch,
            "shard": self._shard,
            "skip": self._skip,
            "used": self._used,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where the reader that gave ``state`` stood."""
        self._epoch, self._shard, self._skip = state["epoch"], state["shard"], state["skip"]
        self._start()
        if state["used"]:
            self._fill()
        self._used = state["used"]

    def __next__(self) -> dict[str, Any]:
        try:
            return self._batch()
        except (DataError, MissingExtra) as error:  # whose traceback says nothing more
            return {"error": str(error)}

    def _batch(self) -> dict[str, Any]:
        stream = self._stream
        images = np.empty((stream.batch_size, *stream.packed.shape), np.uint8)
        labels = np.empty(stream.batch_size, np.int64)
        broken: list[str] = []
        taken, tried = 0, 0
        while taken < stream.batch_size:
            if self._used == len(self._block):
                self._fill()
            sample = self._block[self._order[self._used]]
            self._used += 1
            tried += 1
            try:
                images[taken], labels[taken] = stream.packed.unpacked(sample)
            except DataError as error:
                broken.append(str(error))
                if tried >= 20 and len(broken) > tried / 2:
                    raise DataError(f"{len(broken)} of {tried} samples: {error}") from error
                continue
            taken += 1
        return {
            "images": torch.from_numpy(images),
            "labels": torch.from_numpy(labels),
            "broken": broken,
        }

    def _fill(self) -> None:
        """Read the next block, up to the end of the epoch."""
        (self._epoch, self._shard, self._skip), self._used = self._next, 0
        self._block = []
        epoch, shard, skip = self._next
        while True:
            own = self._own(epoch)
            while shard < len(own) and len(self._block) < self._stream.shuffle:
                if self._open is None:
                    self._open = raw_samples(self._stream.urls[own[shard]], skip)
                sample = next(self._open, None)
                if sample is None:
                    self._open, shard, skip = None, shard + 1, 0
                else:
                    self._block.append(sample)
                    skip += 1
            if shard == len(own):  # no block reaches into the next epoch
                epoch, shard, skip = epoch + 1, 0, 0
            if self._block:
                break
            if epoch > self._epoch + 1:
                raise DataError(f"{', '.join(self._stream.urls[:3])}: no sample in any shard")
        self._next = epoch, shard, skip
        where = self._stream.seed, self._number, self._epoch, self._shard, self._skip
        self._order = _permutation(len(self._block), where)

    def _own(self, epoch: int) -> list[int]:
        """The shards of this reader in ``epoch``."""
        order = _permutation(len(self._stream.urls), (self._stream.seed, epoch))
        return order[self._number :: self._count]


def _permutation(n: int, seeds: tuple[int, ...]) -> list[int]:
    seed = int.from_bytes(hashlib.sha256(repr(seeds).encode()).digest()[:8], "little") >> 1
    order: list[int] = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return order
