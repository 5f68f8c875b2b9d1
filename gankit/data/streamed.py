"""Image files that are decoded when they are due, in processes beside the one that trains.

The order of training is a ``BatchSampler``'s, as for a set that is held in memory, and the images
are the same to the bit, so a streamed run is the run of the resident set, whatever the number of
processes that decode. Only the decoding runs ahead; what a checkpoint keeps is where training is.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import os
import signal
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gankit.data.image_files import Fit, decode_resized
from gankit.data.image_set import ImageSet
from gankit.data.images import normalize_bytes
from gankit.data.origin import FileNames, Origin
from gankit.data.read_ahead import ReadAhead
from gankit.data.rows import Rows
from gankit.data.sampler import BatchSampler
from gankit.errors import DataError, GankitWarning, outside_gankit

__all__ = [
    "MAX_BROKEN",
    "FileImages",
    "LoadedAhead",
    "StreamedData",
    "StreamedOrder",
    "default_workers",
    "leave_signals_alone",
]

# More broken files than this share are no accident.
MAX_BROKEN = 0.25
# Batches that each process has ready, at least.
_AHEAD = 4
_NAMED = 5
# A share of images that threads may decode beside those that they read.
_FEW = 0.05


def default_workers() -> int:
    """Processes that decode: this one's share of the processors under ``torchrun``, up to 8."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
    return min(8, max(1, processors // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class FileImages(Dataset[Any]):
    """Image files as uint8 ``[C, H, W]``, all of one shape, each decoded when it is asked for.

    Args:
        names: image files, at least one.
        listed: how many there were with those that have no readable header.
        image_size: height and width, or None for those of the files.
        channels: 1, 3 or 4.
        fit: as ``gankit.data.image_files.resize``.
        background: the color under transparent pixels and around padded images.
        shape: ``(C, H, W)``, of files that are resized or not.
        rows: keeps what was decoded.
    """

    def __init__(
        self,
        names: FileNames,
        *,
        listed: int,
        image_size: tuple[int, int] | None,
        channels: int,
        fit: Fit,
        background: str,
        shape: tuple[int, int, int],
        rows: Rows | None = None,
    ) -> None:
        self.names, self.listed, self.shape, self.rows = names, listed, shape, rows
        self._how: dict[str, Any] = {"channels": channels, "fit": fit, "background": background}
        self._size = image_size

    def __len__(self) -> int:
        return len(self.names)

    def is_kept(self) -> bool:
        """Whether few images, if any, are still to be decoded: the others are in ``rows``."""
        return self.rows is not None and self.rows.missing() <= _FEW * len(self)

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        """Called by torch's loader for a batch; see ``read``. An error comes back as text."""
        try:
            return self.read(numbers)
        except DataError as error:
            return {"error": str(error)}

    def read(self, numbers: Sequence[int]) -> dict[str, Any]:
        """The images of some files.

        In place of one that cannot be read stands the next one that can.

        Returns:
            ``images`` uint8 ``[B, C, H, W]``, ``numbers`` int64 ``[B]``, those that were read, and
            ``broken``, the number of each file that could not be read and why.

        Raises:
            DataError: an image of another shape, or no file can be read.
        """
        images = np.empty((len(numbers), *self.shape), np.uint8)
        taken, broken = np.empty(len(numbers), np.int64), {}
        for place, number in enumerate(numbers):
            for _ in range(len(self)):
                if number not in broken:
                    try:
                        self._read(number, images[place])
                        break
                    except _BrokenError as error:
                        broken[number] = str(error).removeprefix(f"{self.names.folder}{os.sep}")
                number = (number + 1) % len(self)
            else:
                raise DataError(f"no image can be read; {next(iter(broken.values()))}")
            taken[place] = number
        return {
            "images": torch.from_numpy(images),
            "numbers": torch.from_numpy(taken),
            "broken": broken,
        }

    def _read(self, number: int, out: np.ndarray) -> None:
        if self.rows is not None and self.rows.read(number, out):
            return
        file = self.names.path(number)
        try:
            image = decode_resized(file, self._size, **self._how)
        except DataError as error:
            raise _BrokenError(str(error)) from error
        if tuple(image.shape) != self.shape:
            found, expected = (f"{s[2]}x{s[1]}" for s in (image.shape, self.shape))
            raise DataError(f"{file}: {found}, where others are {expected}; give an image_size")
        out[...] = image.numpy()
        if self.rows is not None:
            try:
                self.rows.write(number, out)
            except OSError as error:
                raise DataError(
                    f"{self.rows.path}: decoded images cannot be kept there "
                    f"({error.strerror or error}); data.cache=false trains without"
                ) from error


class _BrokenError(DataError):
    """A file that is left out."""


@dataclass(frozen=True, eq=False)
class StreamedData(ImageSet):
    """Images that are read from their files whenever a batch needs them.

    Training takes the batches of ``order``; ``batch`` reads in the calling process.

    Args:
        source: the files.
        labels: int64 ``[N]`` on ``device``, from 0, or -1 for an unlabelled image; or None.
        name: what messages call the set.
        class_names: the names of labels 0, 1, ..., or none.
        notes: sentences on how the set was read.
        attributes: uint8 ``[N, K]`` of 0 and 1 on ``device``, or None.
        attribute_names: K names.
        flip: ``batch`` and ``order`` mirror every second image on average, left to right.
        origin: the files, for runs that go on.
        workers: processes that decode.
        place: where batches are brought.
    """

    source: FileImages
    labels: Tensor | None = None
    name: str = "files"
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    flip: bool = False
    origin: Origin | None = None
    workers: int = 1
    place: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _broken: dict[int, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._check_annotations()

    def __len__(self) -> int:
        return len(self.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of one image."""
        return self.source.shape

    @property
    def device(self) -> torch.device:
        """Where batches are brought."""
        return self.place

    def to(self, device: str | torch.device) -> StreamedData:
        """The same set, whose batches are brought to another device."""
        labels, attributes = (
            None if each is None else each.to(device) for each in (self.labels, self.attributes)
        )
        return dataclasses.replace(
            self, place=torch.device(device), labels=labels, attributes=attributes
        )

    def with_labels(self, labels: Tensor) -> StreamedData:
        """The same images with other labels."""
        return dataclasses.replace(self, labels=labels)

    def flipped(self, flip: bool = True) -> StreamedData:
        """The same set, of which batches mirror every second image on average, or none."""
        return dataclasses.replace(self, flip=flip)

    def gather(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 ``[B]``, any device), float32 ``[B, C, H, W]``."""
        return self._arrived(self.source.__getitems__(indices.tolist()))[0]

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """As of ``ImageSet``; in place of an image that cannot be read stands the next one."""
        return self._samples(*self._arrived(self.source.__getitems__(indices.tolist())))

    def order(self, sampler: BatchSampler) -> StreamedOrder:
        """The batches of training, those that ``sampler`` says, decoded ahead."""
        return StreamedOrder(self, sampler)

    def _arrived(self, read: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Images and their numbers on ``device``, of what ``source`` gave."""
        if "error" in read:
            raise DataError(f"{self.name}: {read['error']}")
        for number, reason in read["broken"].items():
            self._leave_out(number, reason)
        images = read["images"].to(self.place, non_blocking=True)
        return normalize_bytes(images), read["numbers"].to(self.place, non_blocking=True)

    def _leave_out(self, number: int, reason: str) -> None:
        if number in self._broken:
            return
        self._broken[number] = reason
        listed = self.source.listed
        broken = listed - len(self) + len(self._broken)
        if broken > MAX_BROKEN * listed:
            raise DataError(
                f"{self.name}: {broken} of {listed} images cannot be read, which is "
                f"more than a quarter: {'; '.join([*self._broken.values()][:3])}"
            )
        if len(self._broken) <= _NAMED:
            more = "" if len(self._broken) < _NAMED else "; others will not be named"
            warnings.warn(
                f"{self.name}: skipped a file, in its place stands the next: {reason}{more}",
                GankitWarning,
                stacklevel=outside_gankit(),
            )


class LoadedAhead(Iterator[dict[str, Tensor]], ABC):
    """The batches of a loader whose processes read them before they are due.

    Args:
        name: what messages call the set.
        sampler: says how many batches an epoch has.
    """

    def __init__(self, name: str, sampler: BatchSampler) -> None:
        self.name, self.sampler = name, sampler
        self._batches: Any = None

    @abstractmethod
    def _start(self) -> Any:
        """Start the processes: the iterator of a loader that has some."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch."""
        return self.sampler.steps_per_epoch

    def close(self) -> None:
        """End the processes; the next batch starts them again."""
        batches, self._batches = self._batches, None
        if isinstance(batches, ReadAhead):
            batches.close()
        elif batches is not None:
            batches._shutdown_workers()

    def _take(self) -> Mapping[str, Any]:
        """What the loader gives next. Raises DataError if a process was ended."""
        if self._batches is None:
            self._batches = self._start()
            # Before Python's own end of children, which waits for those that ignore SIGTERM.
            atexit.register(_close, weakref.ref(self))
        try:
            read: Mapping[str, Any] = next(self._batches)
            return read
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                f"{self.name}: a process that decodes images was ended, maybe for lack of memory; "
                "data.workers=1 takes less"
            ) from error


class StreamedOrder(LoadedAhead):
    """The batches of ``data`` that ``sampler`` says, as dicts of fields on the device.

    Its state is that of ``sampler``, as if nothing had been read ahead.
    """

    def __init__(self, data: StreamedData, sampler: BatchSampler) -> None:
        super().__init__(data.name, sampler)
        self.data, self._taken = data, 0

    def __next__(self) -> dict[str, Tensor]:
        read = self._take()
        next(self.sampler)
        self._taken += 1
        data = self.data
        decoding = not isinstance(self._batches, ReadAhead)
        if decoding and self._taken % self.steps_per_epoch == 0 and data.source.is_kept():
            self.close()  # the next batch is read by threads
        return data._samples(*data._arrived(read))

    def _start(self) -> Any:
        # A copy runs ahead of what training has taken.
        ahead: Any = _Lists(copy.deepcopy(self.sampler))
        if self.data.source.is_kept():
            return ReadAhead(self._read, iter(ahead), self.data.workers, _AHEAD)
        loader: DataLoader[Any] = DataLoader(
            self.data.source,
            batch_sampler=ahead,
            num_workers=self.data.workers,
            collate_fn=_as_it_is,
            pin_memory=self.data.device.type == "cuda",
            prefetch_factor=_AHEAD,
            worker_init_fn=leave_signals_alone,
            generator=torch.Generator(),  # so that it draws no number of the run's
        )
        return iter(loader)

    def _read(self, numbers: list[int]) -> dict[str, Any]:
        read = self.data.source.__getitems__(numbers)
        if self.data.device.type != "cuda":
            return read
        return {k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in read.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the coming batches depend on."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where the order that gave ``state`` stood, resident or streamed.

        Raises CheckpointError as ``BatchSampler`` does.
        """
        self.close()
        self.sampler.load_state_dict(state)


def leave_signals_alone(worker: int) -> None:
    """Let the process that trains decide what ends the run.

    Ctrl-C and a scheduler's SIGTERM reach all processes, and it writes a checkpoint first.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # not all on Windows
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _close(order: weakref.ref[LoadedAhead]) -> None:
    there = order()
    if there is not None:
        there.close()


class _Lists:
    """The batches of a sampler as lists, which torch's loader hands to its processes."""

    def __init__(self, sampler: BatchSampler) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._sampler:
            yield batch.tolist()


def _as_it_is(batch: Any) -> Any:
    return batch
