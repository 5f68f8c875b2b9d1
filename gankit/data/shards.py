"""``wds:URLS``: images in tar shards, read from the beginning to the end, over and over."""

from __future__ import annotations

import dataclasses
import itertools
import tarfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from gankit.data.file_set import ImageSize, height_and_width
from gankit.data.image_files import Fit, check_background
from gankit.data.image_set import ImageSet, mirror_some
from gankit.data.images import normalize_bytes
from gankit.data.sampler import BatchSampler
from gankit.data.shard_stream import Packed, ShardStream, endings_by_sample, raw_samples
from gankit.data.streamed import LoadedAhead, leave_signals_alone
from gankit.errors import (
    CheckpointError,
    DataError,
    GankitWarning,
    MissingExtra,
    outside_gankit,
    shortened,
)
from gankit.scalars import is_integer

__all__ = ["ShardData", "ShardOrder", "ShardSampler", "load_shards"]

# Samples that are held for pictures.
_HELD = 256
_NAMED = 5


class ShardSampler(BatchSampler):
    """Counts the batches of an epoch of shards, whose order is their own.

    As an iterator it gives indices of the samples that the set holds, drawn at random.

    Args:
        length: samples in an epoch.
        held: samples that the set holds.
        batch_size: samples in a batch, 1 to ``length``.
        generator: as ``BatchSampler``; its seed is that of the order of the shards.
    """

    def __init__(
        self,
        length: int,
        held: int,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(length, batch_size, generator=generator)
        self.held = held

    def __next__(self) -> Tensor:
        device = self.generator.device
        return torch.randint(self.held, (self.batch_size,), generator=self.generator, device=device)


@dataclass(frozen=True, eq=False)
class ShardData(ImageSet):
    """Images in tar shards.

    Training takes the batches of ``order``. The samples that ``batch`` and ``len`` know are some
    of the first shard, which are held in memory for pictures.

    Args:
        urls: the shards.
        packed: how their samples are read.
        length: samples in an epoch.
        held: some images, uint8 ``[N, C, H, W]``.
        held_labels: their classes, int64 ``[N]``, or None without labels.
        shuffle: samples of which a reader shuffles the order.
        name: what messages call the set.
        class_names: the names of the classes, or none.
        notes: sentences on how the set was read.
        flip: ``batch`` and ``order`` mirror every second image on average, left to right.
        workers: processes that read.
    """

    urls: tuple[str, ...]
    packed: Packed
    length: int
    held: Tensor
    labels: Tensor | None = None
    shuffle: int = 1000
    name: str = "shards"
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    flip: bool = False
    workers: int = 2

    def __len__(self) -> int:
        return len(self.held)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of one image."""
        return self.packed.shape

    @property
    def device(self) -> torch.device:
        """Where batches are brought."""
        return self.held.device

    @property
    def classes(self) -> list[int]:
        """The classes that there may be."""
        return [*range(self.packed.classes)]

    def to(self, device: str | torch.device) -> ShardData:
        """The same set, whose batches are brought to another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return dataclasses.replace(self, held=self.held.to(device), labels=labels)

    def with_labels(self, labels: Tensor) -> ShardData:
        """Not for shards, whose labels are in them: raises DataError."""
        raise DataError(f"{self.name}: the labels of shards cannot be changed")

    def flipped(self, flip: bool = True) -> ShardData:
        """The same set, of which batches mirror every second image on average, or none."""
        return dataclasses.replace(self, flip=flip)

    def holding(self, count: int) -> ShardData:
        """The same set, which holds the first ``count`` samples, or all, in the host's memory."""
        held, labels = _first(self.urls, self.packed, min(count, self.length), self.name)
        return dataclasses.replace(
            self, held=held, labels=None if self.packed.label is None else labels
        )

    def gather(self, indices: Tensor) -> Tensor:
        """The held images at ``indices`` (int64 ``[B]``, any device), float32 ``[B, C, H, W]``."""
        return normalize_bytes(self.held.index_select(0, indices.to(self.device)))

    def sampler(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        replacement: bool = False,
    ) -> ShardSampler:
        """A ``ShardSampler``; its errors are those of ``BatchSampler``.

        Raises DataError with ``replacement``.
        """
        if replacement:
            raise DataError(f"{self.name}: shards are read in turn; replacement must be false")
        return ShardSampler(self.length, len(self), batch_size, generator=generator)

    def order(self, sampler: BatchSampler) -> ShardOrder:
        """The batches of training, as large as those of ``sampler``."""
        return ShardOrder(self, sampler)


class ShardOrder(LoadedAhead):
    """The batches of the shards, as dicts of fields on the device.

    Its state says where each process, and each that reads for it, stands in its shards.

    Raises DataError if there are fewer shards than processes.
    """

    def __init__(self, data: ShardData, sampler: BatchSampler) -> None:
        super().__init__(data.name, sampler)
        self.data, self._broken = data, 0
        self._rank, self._size = _world()
        if len(data.urls) < self._size:
            raise DataError(
                f"{data.name}: {len(data.urls)} shards for {self._size} processes, each of which "
                "needs one of its own"
            )
        self._seed = sampler.generator.initial_seed()
        self._loader = self._made()

    def __next__(self) -> dict[str, Tensor]:
        read, data = self._take(), self.data
        if "error" in read:
            raise DataError(f"{data.name}: {read['error']}")
        for reason in read["broken"]:
            self._leave_out(reason)
        images = normalize_bytes(read["images"].to(data.device, non_blocking=True))
        found = {"image": mirror_some(images) if data.flip else images}
        if data.labels is not None:
            found["label"] = read["labels"].to(data.device, non_blocking=True)
        return found

    def _leave_out(self, reason: str) -> None:
        self._broken += 1
        if self._broken <= _NAMED:
            more = "" if self._broken < _NAMED else "; others will not be named"
            warnings.warn(
                f"{self.name}: skipped a sample: {reason}{more}",
                GankitWarning,
                stacklevel=outside_gankit(),
            )

    def _made(self) -> Any:
        try:
            from torchdata.stateful_dataloader import StatefulDataLoader
        except ImportError as error:
            raise MissingExtra("torchdata", "stream") from error
        data, sampler = self.data, self.sampler
        stream = ShardStream(
            data.urls,
            data.packed,
            sampler.batch_size // self._size,
            shuffle=data.shuffle,
            seed=self._seed,
            rank=self._rank,
            size=self._size,
        )
        with _without_advice():
            return StatefulDataLoader(
                stream,
                batch_size=None,
                # Each has shards of its own.
                num_workers=min(data.workers, len(data.urls) // self._size),
                pin_memory=data.device.type == "cuda",
                worker_init_fn=leave_signals_alone,
                generator=torch.Generator(),  # so that it draws no number of the run's
            )

    def _start(self) -> Any:
        with _without_advice():
            return iter(self._loader)

    def close(self) -> None:
        """End the processes; the next batch starts them again."""
        if self._batches is not None:
            state = self._loader.state_dict()
            super().close()
            self._loader = self._made()
            self._loader.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """Where each process stands. In a run of many all must call it."""
        with _without_advice():
            readers = _gathered(self._loader.state_dict())
        return {"shards": list(self.data.urls), "seed": self._seed, "readers": readers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where the order that gave ``state`` stood.

        Raises:
            CheckpointError: the state is that of other shards or of another number of processes.
        """
        readers, seed = state.get("readers"), state.get("seed")
        same = state.get("shards") == list(self.data.urls)
        if not same or not isinstance(readers, list) or not is_integer(seed):
            raise CheckpointError("the sampler's state is not that of these shards")
        if len(readers) != self._size:
            raise CheckpointError(
                f"the shards were read in {len(readers)} processes, and cannot be in {self._size}"
            )
        super().close()
        self._seed = int(seed)
        self._loader = self._made()
        self._loader.load_state_dict(readers[self._rank])


@contextmanager
def _without_advice() -> Iterator[None]:
    """Its warnings speak to whoever writes a loader: of a call into torch, of the processors."""
    with warnings.catch_warnings():
        for message in ("'set_vital' is deprecated", "This DataLoader will create"):
            warnings.filterwarnings("ignore", message)
        yield


def _world() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _gathered(value: Any) -> list[Any]:
    size = _world()[1]
    if size == 1:
        return [value]
    everyone: list[Any] = [None] * size
    dist.all_gather_object(everyone, value)
    return everyone


def load_shards(
    urls: str,
    *,
    image_size: ImageSize = 28,
    split: str = "train",
    image: str | None = None,
    label: str | None = None,
    classes: int | Sequence[str] | None = None,
    length: int | None = None,
    shuffle: int = 1000,
    channels: Literal[1, 3, 4] = 3,
    resize: Fit = "crop",
    background: str = "white",
    workers: int = 2,
) -> ShardData:
    """Images in tar shards of the WebDataset format, files or URLs that webdataset opens.

    A sample is members in a row of one name up to the first dot: ``0001.jpg``, ``0001.cls``. Its
    image is the member ``0001.jpg`` (or another format), or the one like ``0001.left.jpg`` where
    there is one of that kind alone. Shards are read from the
    beginning to the end, by ``workers`` processes that have shards of their own; the order of the
    shards is another in every epoch, and each process shuffles ``shuffle`` samples at a time. A
    sample that cannot be read is left out with a warning (GankitWarning).

    Args:
        urls: the shards: ``shards-{000..009}.tar``, ``https://...``, ``pipe:command``; several
            with ``::`` between them.
        image_size: height and width, one number for both or two.
        split: ``"train"`` or ``"all"``, which are all shards.
        image: the ending of the members that are the image, where a sample has several:
            ``"left.jpg"``.
        label: the ending of the members that hold a class as text, such as ``"cls"``: its number,
            or its name if ``classes`` has names; they become the field ``label``.
        classes: with ``label``, how many classes there are, or their names.
        length: samples in all shards, an epoch; None counts those of local shards.
        shuffle: samples that a process holds, as files, to shuffle them; 1 keeps their order.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and opacity).
        resize: as for ``load_folder``.
        background: as for ``load_folder``.
        workers: processes that read; a run that goes on needs as many.

    Raises:
        DataError: an argument is not allowed, a local shard is absent, or nothing can be read.
        MissingExtra: webdataset or Pillow is not installed.
    """
    name = f"wds:{urls}"
    if split == "test":
        raise DataError(f"{name}: shards are one split, they have no split 'test'")
    size = height_and_width(image_size, name)
    if size is None:
        raise DataError(f"{name}: image_size is null, expected a number or [height, width]")
    if channels not in (1, 3, 4) or isinstance(channels, bool):
        raise DataError(f"{name}: channels is {shortened(channels)}, expected 1, 3 or 4")
    if resize not in ("crop", "stretch", "pad"):
        raise DataError(f"{name}: resize is {shortened(resize)}, expected crop, stretch, pad")
    check_background(background)
    for what, value in (("shuffle", shuffle), ("workers", workers), ("length", length)):
        if not (is_integer(value) and value >= 1) and not (what == "length" and value is None):
            raise DataError(f"{name}: {what} is {shortened(value)}, expected an integer from 1")
    names, count = _classes(label, classes, name)
    if not isinstance(image, (str, type(None))):
        raise DataError(f"{name}: image is {shortened(image)}, expected an ending such as left.jpg")
    shards = _expanded(urls, name)
    # webdataset makes endings small.
    image, label = (each and each.removeprefix(".").lower() for each in (image, label))
    packed = Packed(size, channels, resize, background, label, count, names, image)
    length = length or sum(_count(Path(_path(shard)), packed, name) for shard in shards)
    if length == 0:
        raise DataError(f"{name}: no sample in it has an image")
    held, labels = _first(shards, packed, min(_HELD, length), name)
    note = f"{name}: {length} images in {len(shards)} shards, "
    note += f"each {'x'.join(map(str, reversed(size)))}; they are streamed."
    return ShardData(
        shards,
        packed,
        length,
        held,
        labels if label is not None else None,
        shuffle,
        name,
        names,
        (note,),
        workers=workers,
    )


def _classes(label: object, classes: Any, name: str) -> tuple[tuple[str, ...], int]:
    """Names of classes, and how many there are."""
    if (label is None) != (classes is None) or not isinstance(label, (str, type(None))):
        raise DataError(
            f"{name}: label is {shortened(label)} and classes is {shortened(classes)}, expected "
            "both, such as cls and 1000, or neither"
        )
    if classes is None:
        return (), 0
    if isinstance(classes, (list, tuple)) and len(classes) > 1:
        return tuple(map(str, classes)), len(classes)
    if not is_integer(classes) or classes < 2:
        raise DataError(
            f"{name}: classes is {shortened(classes)}, expected an integer from 2 or a list of "
            "names"
        )
    return (), int(classes)


def _is_local(url: str) -> bool:
    return urlparse(url).scheme in ("", "file")


def _path(url: str) -> str:
    return urlparse(url).path if url.startswith("file:") else url


def _expanded(urls: str, name: str) -> tuple[str, ...]:
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise MissingExtra("webdataset", "stream") from error
    try:
        shards = [str(Path(u).expanduser()) if _is_local(u) else u for u in expand_urls(urls)]
    except Exception as error:  # of whoever expands braces
        raise DataError(f"{name}: not a list of shards ({error})") from error
    absent = [shard for shard in shards if _is_local(shard) and not Path(_path(shard)).is_file()]
    if absent or not shards:
        raise DataError(
            f"{name}: {absent[0] if absent else 'it'} does not exist, expected tar files, such as "
            "shards-{000..009}.tar"
        )
    return tuple(shards)


def _count(path: Path, packed: Packed, name: str) -> int:
    """The samples with an image of a local shard; its members' headers are read."""
    if not path.is_file():
        raise DataError(
            f"{name}: {path} is no local file, whose samples could be counted; length must say how "
            "many samples all shards have (--set data.length=100000)"
        )
    try:
        with tarfile.open(path) as shard:
            members = [each.name for each in shard if each.isreg()]
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(f"{name}: {path} is no tar file, or damaged ({error})") from error
    return sum(bool(packed.images(endings)) for endings in endings_by_sample(members))


def _first(shards: Sequence[str], packed: Packed, count: int, name: str) -> tuple[Tensor, Tensor]:
    """The first samples that can be read, ``count`` or as many as there are."""
    found: list[tuple[np.ndarray, int]] = []
    reasons: list[str] = []
    samples = itertools.chain.from_iterable(raw_samples(shard) for shard in shards)
    for sample in samples:
        try:
            found.append(packed.unpacked(sample))
        except DataError as error:
            reasons.append(str(error))
        if len(found) == count or (not found and len(reasons) > 100):
            break
    if not found:
        raise DataError(f"{name}: no sample can be read; {reasons[0] if reasons else 'none'}")
    images = torch.from_numpy(np.stack([image for image, _ in found]))
    return images, torch.tensor([label for _, label in found])
