"""The forward of an accelerated ``nn.Sequential``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ..nn.traits import has_global_hooks, is_altered
from ..ops import backends
from ..ops.autograd import is_row_major, row_major
from .layout import CONVOLUTIONS, convolve, may_be_channels_last, plan, to_channels_last
from .patterns import Children, match

_PLAIN = (Tensor, nn.Parameter)
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_transforming = torch._C._are_functorch_transforms_active
_dispatch_modes = torch._C._len_torch_dispatch_stack

# Their result is a new tensor that nothing else holds, and they leave their input as it is.
_MAKES_NEW = frozenset(
    {
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.BatchNorm3d,
        nn.InstanceNorm2d,
        nn.GroupNorm,
        nn.LayerNorm,
        nn.Sigmoid,
        nn.Tanh,
        nn.MaxPool2d,
        nn.AvgPool2d,
        nn.ReflectionPad2d,
        nn.Upsample,
    }
)
_ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.ELU)
_DROPOUTS = (nn.Dropout, nn.Dropout2d)
# Their backward reads their result.
_SAVES_RESULT = (nn.ReLU, nn.Tanh, nn.Sigmoid)

_served: dict[str, bool] = {}


def _choose() -> None:
    for device_type in ("cpu", "cuda"):
        chosen = backends.servable(device_type) and backends.choose(device_type)[0]
        _served[device_type] = chosen in ("native", "triton")


backends.on_change.append(_choose)
_choose()


def serve_reference() -> None:
    """Take the ops on the reference backend too, to compare with: until the backend changes."""
    for device_type in _served:
        _served[device_type] = True


def served(device_type: str) -> bool:
    """Whether fused kernels, not just the reference, are there for this kind of device."""
    return _served.get(device_type, False)


Ran = Counter[tuple[int, int, str]]


def run_children(children: Children, x: Any, ran: Ran | None = None) -> Any:
    """``for child in children: x = child(x)``, with the matched runs as single ops.

    ``ran`` counts them: the index of a run's first child, of the one behind its last, and the op.
    """
    if not usable(x):
        for child in children:
            x = child(x)
        return x
    compiling = torch.compiler.is_compiling()
    start, count = 0, len(children)
    fresh = channels_last = saved = False
    enter = leave = planned = 0
    while start < count:
        child = children[start]
        kind = type(child)
        if channels_last and start >= leave:
            x, channels_last = row_major(x), False
        suits = type(x) in _PLAIN and x.dtype in _DTYPES
        if kind in CONVOLUTIONS and suits and not compiling:
            if start >= planned and may_be_channels_last(x):
                enter, leave, planned = plan(children, start, x)
            if start == enter < leave:
                x, channels_last = to_channels_last(x), True
        found = match(children, start, fresh) if suits else None
        if found is not None and kind is nn.ConvTranspose2d and not channels_last:
            found = found if is_row_major(x) else None  # its result lies as torch's then
        if found is not None and found.fits(x):
            if ran is not None:
                ran[start, found.stop, found.op] += 1
            if not channels_last:
                x = as_torch_reads(kind, x)
            x = found.run(x, _keeps_input(children, found.stop))
            saved = _is_saved(children[found.stop - 1], False)
            start, fresh = found.stop, True
            continue
        if fresh and saved and _overwrites(child) and suits:
            x = _spared(x)
        x = convolve(child, x) if channels_last and kind in CONVOLUTIONS else child(x)
        start += 1
        fresh, saved = gives_new(child, fresh), _is_saved(child, saved)
    # Whoever calls gets the layout that plain torch would give, and may call view() on it.
    return row_major(x) if channels_last else x


def as_torch_reads(kind: type[nn.Module], x: Tensor) -> Tensor:
    """``x`` in the layout that the result of torch's layer of this kind has.

    InstanceNorm makes its input contiguous. The strides of one channel, or of one pixel, may be
    those of both layouts: torch's layers, but for Dropout2d, then give a contiguous result, and
    ops one that lies as x.
    """
    both = x.dim() == 4 and x.is_contiguous() and kind is not nn.Dropout2d
    return row_major(x) if both or kind is nn.InstanceNorm2d else x


def gives_new(child: Any, fresh: bool) -> bool:
    """Whether nobody else holds what ``child`` returns, for an input that is so or not."""
    kind = type(child)
    if is_altered(child):
        return False
    if kind in _ELEMENTWISE or (kind in _DROPOUTS and child.training and child.p > 0):
        return fresh or not child.inplace
    if kind in _DROPOUTS:
        return fresh
    return kind in _MAKES_NEW or (fresh and kind is nn.Identity)


def _overwrites(child: Any) -> bool:
    """Whether ``child`` is one of torch's in-place layers that runs as such."""
    kind = type(child)
    return (kind in _ELEMENTWISE or kind in _DROPOUTS) and child.inplace and not is_altered(child)


def _is_saved(child: Any, before: bool) -> bool:
    """Whether the backward of ``child``, or of what it hands on, reads the tensor it returned."""
    kind = type(child)
    if kind is nn.Identity or (kind in _DROPOUTS and not (child.training and child.p > 0)):
        return before
    return kind in _SAVES_RESULT or (kind in _ELEMENTWISE and child.inplace)


def _spared(x: Tensor) -> Tensor:
    """What an in-place layer may overwrite, where a backward needs x and nobody else holds it.

    On large tensors an op takes the place of such layers and makes a new tensor; with this they can
    be differentiated at every size.
    """
    return x.clone() if x.requires_grad and torch.is_grad_enabled() else x


def usable(x: Any) -> bool:
    """Whether fused ops may take ``x`` now: no mode or transform is on that they do not know."""
    if torch.compiler.is_exporting() or type(x) not in _PLAIN:
        return False
    if not _served.get(x.device.type, False) or has_global_hooks():
        return False
    if torch.compiler.is_compiling():
        return True
    return not (
        torch._C._get_tracing_state() is not None
        or _transforming()
        or _dispatch_modes() > 0
        or forward_ad._current_level >= 0
    )


def takes(x: Any) -> bool:
    """Whether fused ops may take ``x`` now, and its dtype is one of theirs."""
    return usable(x) and x.dtype in _DTYPES


def _keeps_input(children: Children, index: int) -> bool:
    """Whether the child at ``index`` leaves its input as it is and does not hand it on."""
    if index >= len(children):
        return False
    child = children[index]
    return type(child) in _MAKES_NEW and not is_altered(child)
