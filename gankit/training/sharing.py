"""What two networks hold together, and which of D's parameters G's update leaves alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

Span = tuple[int, int]


def shared_parameters(G: nn.Module, D: nn.Module) -> tuple[str, ...]:
    """The names in D of the parameters that are G's too, or lie in memory of G's.

    A layer may stand in both networks, or a weight of one may be a view of the other's.
    """
    own = list(G.parameters())
    known, spans = {id(p) for p in own}, [s for s in map(_span, own) if s is not None]
    return tuple(
        name for name, p in D.named_parameters() if id(p) in known or _overlaps(_span(p), spans)
    )


def tied_images_weights(modules: Iterable[nn.Module]) -> bool:
    """Whether two different 4-d parameters lie in the same memory.

    Another memory format would give each memory of its own, and part them.
    """
    every = {id(p): p for module in modules for p in module.parameters() if not is_lazy(p)}
    spans = [s for p in every.values() if p.ndim == 4 and (s := _span(p)) is not None]
    return any(_overlaps(a, [b]) for a, b in combinations(spans, 2))


def alone_in(parameters: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Those of D's ``parameters`` that G's ``optimizer`` does not train."""
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [p for p in parameters if id(p) not in trained]


@contextmanager
def frozen(parameters: list[Tensor]) -> Iterator[None]:
    """Take ``parameters`` out of autograd; those that were in it are put back, whatever happens."""
    trainable = [p for p in parameters if p.requires_grad]
    try:
        for p in trainable:
            p.requires_grad_(False)
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


def _span(p: Tensor) -> Span | None:
    """The addresses from the first to past the last element; None where there are none."""
    if is_lazy(p) or p.layout is not torch.strided or p.device.type == "meta" or not p.numel():
        return None
    last = sum((size - 1) * stride for size, stride in zip(p.shape, p.stride(), strict=True))
    return p.data_ptr(), p.data_ptr() + (last + 1) * p.element_size()


def _overlaps(span: Span | None, others: list[Span]) -> bool:
    return span is not None and any(span[0] < end and start < span[1] for start, end in others)
