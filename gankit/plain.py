"""A network of torch's own layers that computes what one of ours does in eval mode."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from gankit.loaded import LoadedGenerator
from gankit.nn import (
    BatchNormAct1d,
    BatchNormAct2d,
    ConvTransposeAct2d,
    ConvTransposeBNAct2d,
    InstanceNormAct2d,
    LeakyReLUDropout,
    Linear,
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
)
from gankit.nn.convert import activation_layer
from gankit.nn.traits import DROPOUTS

_NORMS = {
    nn.Linear: nn.BatchNorm1d,
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
}
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def plain_copy(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in eval mode in which layers of gankit are layers of torch.

    It computes the same without gankit, so it can be pickled, scripted and traced for programs that
    have torch alone. Dropout is gone, and inside ``nn.Sequential`` batch norm is folded into the
    linear layer or convolution before it. Layers keep their places: one that is gone is an
    ``nn.Identity``. Layers with hooks, parametrizations or a second place in the network stay as
    they are. ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` are taken off.
    """
    copied = unwrapped_copy(module).eval().requires_grad_(False)
    places = Counter(id(child) for parent in copied.modules() for child in parent._modules.values())
    return _rebuilt(copied, places)


def unwrapped_copy(module: nn.Module) -> nn.Module:
    """A copy of ``module`` without ``torch.compile``, ``DataParallel`` and their like in it."""
    copied = copy.deepcopy(_inside(module))
    for parent in list(copied.modules()):
        for name, child in parent._modules.items():
            if child is not None:
                parent._modules[name] = _inside(child)
    return copied


def _inside(module: nn.Module) -> nn.Module:
    while True:
        if isinstance(module, LoadedGenerator):
            module = module.network
        elif isinstance(module, (nn.DataParallel, DistributedDataParallel)):
            module = module.module
        elif "_orig_mod" in module._modules:  # of torch.compile
            module = module.get_submodule("_orig_mod")
        else:
            return module


def _rebuilt(module: nn.Module, places: Counter[int]) -> nn.Module:
    if not _may_change(module, places):
        return module
    if type(module) is not nn.Sequential:
        parts = _as_torch(module)
        if parts != [module]:
            return parts[0] if len(parts) == 1 else nn.Sequential(*_folded([parts], places)[0])
    for name, child in module.named_children():
        setattr(module, name, _rebuilt(child, places))
    if type(module) is nn.Sequential:
        expanded = _folded([_opened(child) for child in module], places)
        for index, parts in enumerate(expanded):
            if len(parts) == 1:
                module[index] = parts[0]
            else:
                module[index] = nn.Sequential(*parts) if parts else nn.Identity()
    return module


def _opened(module: nn.Module) -> list[nn.Module]:
    return list(module) if type(module) is nn.Sequential else [module]


def _may_change(module: nn.Module, places: Counter[int]) -> bool:
    hooked = any(getattr(module, hook) for hook in _HOOKS) or "forward" in vars(module)
    return places[id(module)] <= 1 and not hooked and not parametrize.is_parametrized(module)


def _folded(lists: list[list[nn.Module]], places: Counter[int]) -> list[list[nn.Module]]:
    """The same lists without the batch norms that follow a layer that can take them in."""
    result: list[list[nn.Module]] = [[] for _ in lists]
    last: tuple[int, int] | None = None  # where the layer before lies
    for number, parts in enumerate(lists):
        for part in parts:
            before = None if last is None else result[last[0]][last[1]]
            if before is not None and last is not None and _folds(before, part, places):
                result[last[0]][last[1]] = _fold(before, part)
                continue
            result[number].append(part)
            if not isinstance(part, nn.Identity):
                last = number, len(result[number]) - 1
    return result


def _folds(layer: nn.Module, norm: nn.Module, places: Counter[int]) -> bool:
    return (
        _NORMS.get(type(layer)) is type(norm)
        and getattr(norm, "running_mean", None) is not None
        and _may_change(layer, places)
        and _may_change(norm, places)
    )


def _fold(layer: nn.Module, norm: nn.Module) -> nn.Module:
    if norm.weight is None:  # the fusion of torch's releases before 2.15 needs them
        norm.weight = nn.Parameter(norm.running_var.new_ones(norm.num_features))
        norm.bias = nn.Parameter(norm.running_var.new_zeros(norm.num_features))
    if type(layer) is nn.Linear:
        fused: nn.Module = fuse_linear_bn_eval(layer, norm)  # type: ignore
    else:
        fused = fuse_conv_bn_eval(layer, norm, isinstance(layer, _TRANSPOSED))  # type: ignore
    return fused.requires_grad_(False)


def _as_torch(module: nn.Module) -> list[nn.Module]:
    """Layers of torch that, one after the other, do what ``module`` does in eval mode."""
    kind = type(module)
    if kind in DROPOUTS:
        return [nn.Identity()]
    if isinstance(module, LeakyReLUDropout) and kind is LeakyReLUDropout:
        return [nn.LeakyReLU(module.negative_slope)]
    if isinstance(module, Linear) and kind is Linear:
        return [_same_state(nn.Linear(1, 1, device="meta"), module)]
    if isinstance(module, (BatchNormAct1d, BatchNormAct2d)) and kind in (
        BatchNormAct1d,
        BatchNormAct2d,
    ):
        norm = (nn.BatchNorm1d if kind is BatchNormAct1d else nn.BatchNorm2d)(1, device="meta")
        return [_same_state(norm, module), *_activation(module.activation, module.negative_slope)]
    if isinstance(module, InstanceNormAct2d) and kind is InstanceNormAct2d:
        instance = _same_state(nn.InstanceNorm2d(1, device="meta"), module)
        return [instance, *_activation(module.activation, module.negative_slope)]
    if isinstance(module, ConvTransposeAct2d) and kind is ConvTransposeAct2d:
        convolution = _same_state(nn.ConvTranspose2d(1, 1, 1, device="meta"), module)
        return [convolution, *_activation(module.activation, module.negative_slope)]
    if isinstance(module, ConvTransposeBNAct2d) and kind is ConvTransposeBNAct2d:
        convolution = _same_state(nn.ConvTranspose2d(1, 1, 1, device="meta"), module)
        convolution._modules.pop("bn", None)
        return [convolution, *_as_torch(module.bn)]
    if isinstance(module, (SpectralConv2d, SpectralLinear, SpectralEmbedding)):
        return [module.to_torch()]
    return [module]


def _same_state(made: nn.Module, like: nn.Module) -> nn.Module:
    """``made`` with all that ``like``, of a subclass of its type, holds."""
    made.__dict__.update(like.__dict__)
    made._modules = dict(like._modules)
    return made


def _activation(name: str, slope: float) -> Iterator[nn.Module]:
    if name != "none":
        yield activation_layer(name, slope)
