"""One run in many processes: who trains on what, and how they stay one run.

Every process holds the whole networks and takes its share of each batch. Their gradients are
averaged in one flat all-reduce right before each optimizer step, as StyleGAN does; the hooks of
DistributedDataParallel do not stand several forwards and double backward. Gradient penalties are
part of the loss, and so included.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gankit.data import BatchSampler
from gankit.errors import ConfigError
from gankit.nn import BatchNormAct1d, BatchNormAct2d, ConditionalBatchNormAct2d
from gankit.training.noise import NoiseSource

# A process that waits longer than this for the others takes them for dead.
TIMEOUT = timedelta(seconds=45)


def world() -> tuple[int, int]:
    """This process's rank, and how many processes there are: ``(0, 1)`` without a group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def joined(timeout: timedelta = TIMEOUT) -> Iterator[tuple[int, int]]:
    """Join the processes that ``torchrun`` started, and leave them at the end: rank and number.

    NCCL where each process can have a GPU of its own, else gloo. Without torchrun's variables, or
    where the group is there already, nothing happens. A collective that waits longer than
    ``timeout`` raises RuntimeError, so that one process that dies ends all.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or world()[1] > 1:
        yield world()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    on_cuda = torch.cuda.is_available() and torch.cuda.device_count() >= count
    if on_cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_cuda else "gloo", timeout=timeout)
    try:
        yield world()
    finally:
        with suppress(RuntimeError):  # a dead peer must not hide the error that killed it
            dist.destroy_process_group()


def average_gradients(optimizer: torch.optim.Optimizer) -> None:
    """From now on each ``optimizer.step()`` begins with one all-reduce of all its gradients.

    The gradients of all processes are flattened into one buffer per dtype, summed and divided by
    the number of processes, so a loss that is a mean over a process's share becomes the mean over
    the whole batch. Every process must have gradients of the same parameters.
    """

    def reduce(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        for dtype in dict.fromkeys(g.dtype for g in gradients):
            same = [g for g in gradients if g.dtype == dtype]
            flat = torch.cat([g.reshape(-1) for g in same])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            parts = flat.split([g.numel() for g in same])
            for gradient, part in zip(same, parts, strict=True):
                gradient.copy_(part.view(gradient.shape))

    optimizer.register_step_pre_hook(reduce)


@torch.no_grad()
def broadcast_state(*modules: nn.Module, buffers_only: bool = False) -> None:
    """Give every process rank 0's parameters and buffers, or its buffers alone."""
    for module in modules:
        for tensor in module.buffers() if buffers_only else module.state_dict().values():
            if not isinstance(tensor, Tensor):  # of a step, what stands beside its tensors
                continue
            if tensor.is_contiguous():
                dist.broadcast(tensor, 0)
            else:
                dense = tensor.contiguous()
                dist.broadcast(dense, 0)
                tensor.copy_(dense)


def synchronise_batch_norm(module: nn.Module) -> None:
    """Let every batch norm of ``module`` take its statistics over all processes, in place.

    Those of gankit are told to; plain ``nn.BatchNorm1d`` and ``nn.BatchNorm2d`` become gankit's,
    with the same parameters, buffers and keys. Works on gloo too, and with double backward.
    ``nn.SyncBatchNorm`` does so already. Raises ConfigError, before anything is changed, for a
    batch norm of another class, whose statistics would stay those of one process.
    """
    known = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
    ours = (BatchNormAct1d, BatchNormAct2d, ConditionalBatchNormAct2d)
    for name, child in module.named_modules():
        norms = isinstance(child, nn.modules.batchnorm._BatchNorm)
        if norms and not isinstance(child, ours) and type(child) not in known:
            raise ConfigError(
                "sync_batch_norm: expected batch norms of the classes BatchNorm1d, BatchNorm2d "
                f"or SyncBatchNorm, or gankit's, got {type(child).__name__} at {name!r} of "
                f"{type(module).__name__}"
            )
    kinds: dict[type[nn.Module], Any] = {
        nn.BatchNorm1d: BatchNormAct1d,
        nn.BatchNorm2d: BatchNormAct2d,
    }
    for child in list(module.modules()):
        if isinstance(child, ours):
            child.process_group = "world"
        for name, norm in list(child.named_children()):
            kind = kinds.get(type(norm))
            if kind is not None:
                made = kind(1, activation="none", process_group="world")
                own = {key: made.__dict__[key] for key in ("activation", "negative_slope")}
                own |= {"groups": 1, "process_group": "world"}
                made.__dict__.update(norm.__dict__)
                made.__dict__.update(own)
                setattr(child, name, made)


@dataclass(frozen=True)
class ShareOfNoise:
    """This process's share of noise that all draw alike.

    Each process draws the noise of the whole batch from a generator that stands the same in all of
    them, and keeps its rows: the run sees the noise that one process alone would have drawn.
    """

    noise: NoiseSource

    def __call__(self, n: int) -> Tensor:
        rank, size = world()
        return self.noise(n * size)[rank * n : (rank + 1) * n]

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "noise"), name)


class ShareOfBatches(BatchSampler):
    """This process's share of the batches of ``sampler``, which stands the same in all processes.

    Its state is that of ``sampler``, so a run may go on in another number of processes. Raises
    ConfigError if the batch cannot be divided.
    """

    def __init__(self, sampler: BatchSampler) -> None:
        rank, size = world()
        if sampler.batch_size % size:
            raise ConfigError(
                f"batch_size is {sampler.batch_size}, the images of all {size} processes together; "
                f"allowed are multiples of {size}"
            )
        self.sampler = sampler
        share = sampler.batch_size // size
        self._own = slice(rank * share, (rank + 1) * share)
        self.n, self.replacement = sampler.n, sampler.replacement
        self.batch_size, self.generator = sampler.batch_size, sampler.generator

    def __next__(self) -> Tensor:
        return next(self.sampler)[self._own]

    def state_dict(self) -> dict[str, Any]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sampler.load_state_dict(state)


def all_reduce_mean(value: Tensor) -> Tensor:
    """The mean of ``value``, a detached tensor on the networks' device, over all processes."""
    size = world()[1]
    if size > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= size
    return value


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum of ``value``, a detached tensor on the networks' device, over all processes."""
    if world()[1] > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def mean_over_processes(values: list[float], device: torch.device) -> list[float]:
    """The mean of each value over all processes."""
    _, size = world()
    if size == 1:
        return values
    table = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(table)
    return [float(value) for value in table / size]


def largest_over_processes(values: list[int], device: torch.device) -> list[int]:
    """The largest of each value that a process has."""
    if world()[1] == 1:
        return values
    table = torch.tensor(values, device=device)
    dist.all_reduce(table, op=dist.ReduceOp.MAX)
    return [int(value) for value in table.tolist()]


def gathered(value: Any) -> list[Any]:
    """What each process has, in the order of their ranks."""
    size = world()[1]
    if size == 1:
        return [value]
    everyone: list[Any] = [None] * size
    dist.all_gather_object(everyone, value)
    return everyone
