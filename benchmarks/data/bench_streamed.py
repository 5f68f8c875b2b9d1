"""An epoch of images from files: torchvision's ImageFolder and torch's DataLoader, and gankit.

All have two processes that decode, with as many batches ahead, and the same transforms; what is
kept on the disk two threads read. What runs ahead would take the processors from the contender
whose turn it is, so the processes of the others are stopped meanwhile; the threads wait then.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.replay import CLOCK, report_race
from gankit.bench.races import Call, Contender, Race, Role, Settings
from gankit.data import StreamedData, load

COUNT, SIDE, SOURCE = 1024, 64, (128, 192)
WORKERS, AHEAD = 2, 4


@pytest.mark.benchmark(timer=CLOCK)
def test_streamed(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race per batch size."""
    for size in settings.batch_sizes:
        name = f"An epoch of {COUNT} JPEG files at {SIDE}x{SIDE}, batch {size}"
        yield Race(name, _contenders(settings.device, size), settings.device, settings.seconds)


def _contenders(device: torch.device, size: int) -> tuple[Contender, ...]:
    epochs: dict[str, tuple[Role, type[_Epoch]]] = {
        "ImageFolder and DataLoader": ("plain", _Torchvision),
        "gankit, streamed, decoded every time": ("gankit", _Streamed),
        "gankit, streamed, from the second epoch": ("gankit", _Kept),
    }
    made = []
    for name, (role, kind) in epochs.items():
        epoch = kind(device, size)
        info = {"images": COUNT // size * size}
        made.append(Contender(name, role, epoch.build, epoch.running, info))
    return tuple(made)


class _Epoch(ABC):
    """A loader whose processes run in its turns alone."""

    def __init__(self, device: torch.device, size: int) -> None:
        self.device, self.size = device, size
        self.processes: list[int] = []

    @abstractmethod
    def batches(self) -> Iterator[Tensor]:
        """Batches without end."""

    def build(self) -> Call:
        before = _children()
        batches, steps = self.batches(), COUNT // self.size
        self.check(next(batches))

        def call() -> None:
            for _ in range(steps):
                next(batches)

        self.processes = sorted(_children() - before)
        atexit.register(self._wake)  # else whoever ends them waits for them without end
        return call

    def _wake(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def check(self, batch: Tensor) -> None:
        """Images of the size asked for, in [-1, 1], and not all the same."""
        assert batch.shape == (self.size, 3, SIDE, SIDE)
        assert -1 <= batch.min() < -0.2 < 0.2 < batch.max() <= 1

    @contextmanager
    def running(self) -> Iterator[None]:
        self._wake()
        try:
            yield
        finally:
            for process in self.processes:
                os.kill(process, signal.SIGSTOP)


class _Torchvision(_Epoch):
    def batches(self) -> Iterator[Tensor]:
        from torchvision import datasets, transforms

        bicubic = transforms.InterpolationMode.BICUBIC
        steps = [
            transforms.Resize(SIDE, bicubic),
            transforms.CenterCrop(SIDE),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
        images = datasets.ImageFolder(_folder(), transforms.Compose(steps))
        ours = _loaded(cache=False).batch(torch.arange(4))["image"]
        theirs = torch.stack([images[number][0] for number in range(4)])
        assert (ours - theirs).abs().mean() < 0.02
        loader = torch.utils.data.DataLoader(
            images,
            self.size,
            shuffle=True,
            drop_last=True,
            num_workers=WORKERS,
            prefetch_factor=AHEAD,
            persistent_workers=True,
            pin_memory=self.device.type == "cuda",
        )
        while True:
            for batch, _ in loader:
                yield batch.to(self.device, non_blocking=True)


class _Streamed(_Epoch):
    cache = False

    def batches(self) -> Iterator[Tensor]:
        data = _loaded(cache=self.cache).to(self.device)
        if self.cache:  # the first epoch
            data.batch(torch.arange(COUNT))
        for batch in data.order(data.sampler(self.size)):
            yield batch["image"]


class _Kept(_Streamed):
    cache = True


def _loaded(cache: bool) -> StreamedData:
    folder = _folder()
    data = load(
        f"folder:{folder}",
        image_size=SIDE,
        resident=False,
        cache=cache,
        workers=WORKERS,
        root=folder.with_name("data"),
    )
    assert isinstance(data, StreamedData)
    return data


_MADE: list[tempfile.TemporaryDirectory[str]] = []


def _folder() -> Path:
    """Pictures that are smooth, as photographs are, in two classes; removed at the end."""
    if not _MADE:
        from PIL import Image

        _MADE.append(tempfile.TemporaryDirectory())
        random = np.random.default_rng(0)
        for number in range(COUNT):
            path = Path(_MADE[0].name, "images", "ab"[number % 2], f"{number:04}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            colors = random.integers(0, 256, (10, 13, 3), dtype=np.uint8)
            size = SOURCE[::-1]
            Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return Path(_MADE[0].name, "images")


def _children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid is not None}
