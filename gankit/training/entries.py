"""What the entries of a checkpoint are, and what is wrong with a damaged one, in words."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gankit.errors import CheckpointError, shortened

_KINDS: dict[str, tuple[type | None, ...]] = {
    "gan_step": (dict,),
    "optimizers": (dict,),
    "sampler": (dict,),
    "rng": (dict,),
    "step": (int,),
    "epoch": (int,),
    "config": (dict,),
    "pending": (dict,),
    "generators": (list,),
    "schedulers": (list,),
    "callbacks": (dict,),
    "environment": (dict,),
}
REQUIRED = frozenset(_KINDS)
_INSIDE: dict[str, dict[str, tuple[type, ...]]] = {
    "gan_step": {"_extra_state": (dict,)},
    "rng": {"torch": (Tensor,), "python": (tuple, list)},
}
_OPTIMIZER: dict[str, tuple[type, ...]] = {"state": (dict,), "param_groups": (list,)}
_WORDS: dict[type | None, str] = {
    dict: "a dict",
    list: "a list",
    tuple: "a tuple",
    int: "an integer",
    Tensor: "a tensor",
    None: "None",
}
# Settings of an optimizer that may differ where a run goes on.
_OF_THE_DEVICE = ("capturable", "foreach", "fused")
# They keep, of each parameter, the same averages, in its shape.
_AVERAGING = (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad)


def check_entries(state: Mapping[str, Any]) -> None:
    """Raise CheckpointError, which names the entry, unless ``state`` has all of the right kind."""
    check_size(state)
    missing = sorted(REQUIRED - state.keys())
    if missing:
        raise CheckpointError(f"it lacks {', '.join(missing)}")
    for name, kinds in _KINDS.items():
        _check_kind(name, state[name], kinds)
        _check_inside(name, state[name], _INSIDE.get(name, {}))
    for name in ("gan_step", "optimizers"):
        for key in state[name]:
            if not isinstance(key, str):
                raise CheckpointError(
                    f"its entry {name} has the key {shortened(key)}; allowed are names"
                )
    for name, optimizer in state["optimizers"].items():
        _check_kind(f"optimizers.{name}", optimizer, (dict,))
        _check_inside(f"optimizers.{name}", optimizer, _OPTIMIZER)
    for name in ("step", "epoch"):
        if not 0 <= state[name] < 2**63:
            raise CheckpointError(
                f"its {name} is {state[name]}; allowed are integers from 0 and below 2**63"
            )
    check_without_tensors("environment", state["environment"])
    for name, kept in state["callbacks"].items():
        _check_kind(f"callbacks.{name}", kept, (dict,))
    for key, row in state["pending"].items():
        if not (isinstance(row, Tensor) and row.ndim == 1 and row.is_floating_point()):
            raise CheckpointError(f"its entry pending.{key} is not one row of numbers")


def _check_inside(name: str, entry: Any, kinds: Mapping[str, tuple[type | None, ...]]) -> None:
    for key, inner in kinds.items():
        if key not in entry:
            raise CheckpointError(f"its entry {name} lacks {key}")
        _check_kind(f"{name}.{key}", entry[key], inner)


# What torch.load(weights_only=True) gives back; of subclasses, such as np.float64, it does not.
_PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes),
    *(torch.Size, torch.dtype, torch.device),
)
_HOLDING = (dict, OrderedDict, Counter, list, tuple, set)


def check_plain(name: str, value: Any) -> None:
    """Raise CheckpointError, which names the place, unless a checkpoint with ``value`` can be read.

    Else a run would find out when it is resumed.
    """
    if isinstance(value, Tensor) or type(value) in _PLAIN:
        return
    if type(value) not in _HOLDING:
        raise CheckpointError(
            f"{name} is a {type(value).__name__}; allowed in a checkpoint are tensors and plain "
            "numbers, strings, lists and dicts"
        )
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inside:
        check_plain(f"{name}.{key}", item)
        if isinstance(value, dict):
            check_plain(f"a key of {name}", key)


def check_without_tensors(name: str, value: Any) -> None:
    """Raise CheckpointError, which names the entry, if ``value`` holds a tensor.

    What is compared must not: a comparison of tensors is one, and neither true nor false.
    """
    if isinstance(value, Tensor):
        raise CheckpointError(f"its entry {name} holds a tensor")
    if isinstance(value, (dict, list, tuple)):
        for item in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            check_without_tensors(name, item)


# A file of a few bytes can hold a list that contains itself, or doubles sixty times.
_MAX_VALUES, _MAX_DEPTH, _MAX_BITS = 2_000_000, 64, 128


def check_size(state: Mapping[str, Any]) -> None:
    """Raise CheckpointError, which names the entry, unless its values can be walked and printed."""
    sizes: dict[int, int] = {}
    for name, entry in state.items():
        if _size(str(name), entry, 0, sizes) > _MAX_VALUES:
            raise CheckpointError(f"its entry {name} has lists in lists without end")


def _size(name: str, value: Any, depth: int, sizes: dict[int, int]) -> int:
    """How many values a walk through ``value`` meets; ``sizes`` has those of the lists walked."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise CheckpointError(f"its entry {name} has an integer of {value.bit_length()} bits")
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if id(value) not in sizes:
        if depth == _MAX_DEPTH:
            raise CheckpointError(f"its entry {name} has lists in lists without end")
        inside = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_size(name, item, depth + 1, sizes) for item in inside)
    return sizes[id(value)]


def _check_kind(name: str, value: Any, kinds: tuple[type | None, ...]) -> None:
    fits = any(value is None if kind is None else isinstance(value, kind) for kind in kinds)
    if not fits or isinstance(value, bool):
        came = shortened(value) if isinstance(value, (int, float, str)) else type(value).__name__
        came = "None" if value is None else came
        allowed = " or ".join(_WORDS[kind] for kind in kinds)
        raise CheckpointError(f"its entry {name} is {came}; allowed is {allowed}")


def check_optimizer(
    name: str, optimizer: torch.optim.Optimizer, before: list[dict[str, Any]], *, updates: int
) -> None:
    """Raise CheckpointError unless what ``optimizer`` was just given lets it go on.

    Torch takes any state, and fails, or begins its averages anew, in the next step. ``before`` are
    its groups as they were, ``updates`` the steps that it had made where the state was taken.
    """
    for group, old in zip(optimizer.param_groups, before, strict=True):
        check_alike(name, group, {key: old[key] for key in old if key not in _OF_THE_DEVICE})
    if not isinstance(optimizer, _AVERAGING):  # what others keep, they know
        return
    if updates and not optimizer.state:
        raise CheckpointError(
            f"its entry {name} has no averages, and {type(optimizer).__name__} had made "
            f"{updates} steps"
        )
    every = {key for kept in optimizer.state.values() for key in kept}
    for parameter, kept in optimizer.state.items():
        lost = sorted(every - kept.keys())
        if lost:
            raise CheckpointError(f"its entry {name} lacks {lost[0]} of a parameter")
        for key, value in kept.items():
            shape = torch.Size() if key == "step" else parameter.shape
            if not isinstance(value, Tensor) or value.is_complex() or value.shape != shape:
                actual = list(value.shape) if isinstance(value, Tensor) else shortened(value)
                raise CheckpointError(
                    f"its entry {name} has {key} of shape {actual} for a parameter of shape "
                    f"{list(parameter.shape)}"
                )
    bad = average_not_finite(optimizer)
    if bad is not None:
        raise CheckpointError(f"its entry {name} has NaN or infinity in {bad}")


def check_alike(name: str, now: Any, before: Any) -> None:
    """Raise CheckpointError, which begins with entry ``name``, unless ``now`` is like ``before``.

    That is, a number where that is one, the same bool, and a dict or list of such as are alike.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        lost = sorted(map(str, before.keys() - now.keys()))
        if lost:
            raise CheckpointError(f"its entry {name} lacks {', '.join(lost)}")
        for key, value in before.items():
            check_alike(f"{name}.{key}", now[key], value)
    elif isinstance(before, (list, tuple)) and isinstance(now, (list, tuple)):
        if len(now) != len(before):
            raise CheckpointError(f"its entry {name} has {len(now)} values, not {len(before)}")
        for index, value in enumerate(before):
            check_alike(f"{name}.{index}", now[index], value)
    elif not _is_alike(now, before):
        raise CheckpointError(
            f"its entry {name} is {shortened(now)}; expected one such as {shortened(before)}"
        )


def _is_alike(now: Any, before: Any) -> bool:
    if before is None:
        return now is None or isinstance(now, (bool, int, float))
    if isinstance(before, bool):
        return now is before
    if isinstance(before, (int, float)):
        return isinstance(now, (int, float)) and not isinstance(now, bool)
    return isinstance(now, type(before))


def average_not_finite(optimizer: torch.optim.Optimizer) -> str | None:
    """The name of an average of ``optimizer`` that is NaN or infinite, if there is one.

    Waits for the device. A weight whose squared gradient has overflowed stands still and is finite.
    """
    if not isinstance(optimizer, _AVERAGING):
        return None
    for kept in optimizer.state.values():
        for key, value in kept.items():
            if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
                return str(key)
    return None


@contextmanager
def named(entry: str) -> Iterator[None]:
    """Say which entry it was when something in the block does not take it."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # damaged content makes torch raise a dozen kinds
        if isinstance(error, KeyError):
            raise CheckpointError(f"its entry {entry} lacks {error.args[0]}") from error
        what = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"its entry {entry}: {what}") from error
