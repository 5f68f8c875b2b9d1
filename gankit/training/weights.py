"""State dicts into networks, also those of a network that was wrapped or compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def load_weights(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """``module.load_state_dict(weights)``, whatever of the two is compiled or wrapped.

    ``torch.compile`` puts ``_orig_mod`` into the keys, ``DataParallel`` and
    ``DistributedDataParallel`` put ``module`` in front of them. Raises what torch raises if the
    rest differs.
    """
    module.load_state_dict(_renamed(module, weights))


def check_sizes(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Raise what torch raises unless ``module``, on the meta device, could be given ``weights``.

    They become its parameters.
    """
    if not _occupy_their_size(weights):
        raise RuntimeError("the weights are not whole tensors")
    # A dict of its own: torch notes the assignment in the metadata of the one it is given, and the
    # next load from that would replace parameters, those of a built optimizer too.
    given = dict(_renamed(module, weights))
    module.load_state_dict(given, assign=True)


def weights_under(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The state dict of the submodule ``prefix`` in ``state``, that of a step."""
    start = f"{prefix}."
    return {name[len(start) :]: value for name, value in state.items() if name.startswith(start)}


def _renamed(module: nn.Module, weights: Mapping[str, Any]) -> Mapping[str, Any]:
    own = {bare: name for name, bare in _bare(module.state_dict()).items()}
    given = _bare(weights)
    if set(given) == set(own.values()) or len(set(given.values())) < len(given):
        return weights
    return {own.get(bare, bare): weights[name] for name, bare in given.items()}


def _bare(names: Iterable[str]) -> dict[str, str]:
    """Each name without what a wrapper has put into it."""
    parts = {name: [part for part in name.split(".") if part != "_orig_mod"] for name in names}
    while parts and all(len(path) > 1 and path[0] == "module" for path in parts.values()):
        parts = {name: path[1:] for name, path in parts.items()}
    return {name: ".".join(path) for name, path in parts.items()}


def _occupy_their_size(weights: Mapping[str, Any]) -> bool:
    """Whether all are plain tensors that share no memory, so that a copy is no larger than they."""
    stores, size = {}, 0
    for value in weights.values():
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_meta:
            return False
        store = value.untyped_storage()
        stores[store.data_ptr()] = store.nbytes()
        size += value.numel() * value.element_size()
    return size <= sum(stores.values())
