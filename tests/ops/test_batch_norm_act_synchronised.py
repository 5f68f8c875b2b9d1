"""Synchronised statistics: two gloo processes give what one process with both batches gives."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from gankit.ops import batch_norm_act

SIZES = (3, 5)  # samples of each process: unequal on purpose


def everything(
    x: torch.Tensor,
    group: str | None,
    coefficients: torch.Tensor,
    channels_last: bool,
    each: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """y, first and second gradients and running statistics; the losses are sums over samples.

    ``each`` is a scale and a shift for each sample, [2, N, 3].
    """
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
        coefficients = coefficients.contiguous(memory_format=torch.channels_last)
    x = x.requires_grad_()
    weight = torch.linspace(0.5, 2, 3, dtype=torch.float64).requires_grad_()
    bias = torch.linspace(-1, 1, 3, dtype=torch.float64).requires_grad_()
    if each is not None:
        weight, bias = (p.clone().requires_grad_() for p in each)
    mean, var = torch.zeros(3).double(), torch.ones(3).double()
    y = batch_norm_act(
        x, mean, var, weight, bias, True, 0.3, activation="tanh", process_group=group
    )
    (first,) = torch.autograd.grad((y * coefficients).sum(), x, create_graph=True)
    second = torch.autograd.grad(first.pow(3).sum(), (x, weight, bias))
    third = torch.autograd.grad((y.square() * coefficients).sum(), (weight, bias))
    return [t.detach() for t in (y, first, second[0], second[1], second[2], *third, mean, var)]


def scales() -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn((2, sum(SIZES), 3), generator=generator, dtype=torch.float64)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (sum(SIZES), 3, 4, 2)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 1
    return x, torch.randn(shape, generator=generator, dtype=torch.float64)


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=len(SIZES)
    )
    for channels_last in (False, True):
        x, coefficients = (part.split(SIZES)[rank] for part in inputs())
        results = everything(x, "world", coefficients, channels_last)
        torch.save(results, Path(folder) / f"{rank}-{channels_last}.pt")
        own = scales().split(SIZES, 1)[rank]
        results = everything(x.detach(), "world", coefficients, channels_last, own)
        torch.save(results, Path(folder) / f"{rank}-{channels_last}-each.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch is built without torch.distributed")
def test_two_processes_equal_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(process, (port, str(tmp_path)), nprocs=len(SIZES))
    for channels_last in (False, True):
        wanted = everything(inputs()[0], None, inputs()[1], channels_last)
        ranks = [torch.load(tmp_path / f"{r}-{channels_last}.pt") for r in range(len(SIZES))]
        for k in range(3):  # y and the gradients of x lie with the samples
            found = torch.cat([r[k] for r in ranks])
            torch.testing.assert_close(found, wanted[k], rtol=1e-10, atol=1e-10)
        for k in range(3, 7):  # those of weight and bias add up
            found = sum(r[k] for r in ranks)
            torch.testing.assert_close(found, wanted[k], rtol=1e-10, atol=1e-10)
        for rank in ranks:  # running statistics are the same everywhere
            torch.testing.assert_close(rank[7:], wanted[7:], rtol=1e-10, atol=1e-10)
        wanted = everything(inputs()[0], None, inputs()[1], channels_last, scales())
        ranks = [torch.load(tmp_path / f"{r}-{channels_last}-each.pt") for r in range(len(SIZES))]
        for k in range(7):  # a scale and a shift for each sample lie with the samples too
            found = torch.cat([r[k] for r in ranks])
            torch.testing.assert_close(found, wanted[k], rtol=1e-10, atol=1e-10)
