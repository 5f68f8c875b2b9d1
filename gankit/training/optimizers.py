"""The optimizers of the recipes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gankit.acceleration.optimizers import mark_as_modified
from gankit.errors import ConfigError
from gankit.scalars import plain
from gankit.training.modules import check_trainable


def gan_adam(
    parameters: Iterable[Tensor],
    lr: float = 2e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> torch.optim.Adam:
    """Adam with the settings of Radford, Metz and Chintala (2015, arXiv 1511.06434).

    The fused kernel (one launch for all parameters) is used where torch has one for the
    parameters' device and dtype; it computes the same update as the plain one. As after a plain
    step, a backward through the parameters of before the step is an error.

    ``weight_decay`` times each weight is added to its gradient.

    Raises ConfigError if there are no parameters, or if ``lr``, ``betas``, ``eps`` or
    ``weight_decay`` is outside what Adam allows.
    """
    parameters = list(parameters)
    lr, betas = plain(lr), plain(betas)
    more: dict[str, Any] = {"eps": plain(eps), "weight_decay": plain(weight_decay)}
    if not parameters:
        raise ConfigError("Adam got no parameters; allowed is a network that has some")
    # The fused step counts a parameter that is there twice before it updates it once.
    fused = len(set(map(id, parameters))) == len(parameters) or None
    try:
        optimizer = torch.optim.Adam(parameters, lr=lr, betas=betas, fused=fused, **more)
    except RuntimeError:  # no fused kernel for this device or dtype
        return torch.optim.Adam(parameters, lr=lr, betas=betas, **more)
    except (ValueError, TypeError, IndexError) as error:
        decay = f", weight_decay={weight_decay}" if weight_decay else ""
        raise ConfigError(
            f"Adam cannot be built from lr={lr}, betas={betas}, eps={eps}{decay}: {error}"
        ) from error
    optimizer.register_step_post_hook(_mark_as_modified)
    return optimizer


def _mark_as_modified(optimizer: torch.optim.Optimizer, *_: object) -> None:
    if not torch.compiler.is_compiling():
        for group in optimizer.param_groups:
            mark_as_modified(group, optimizer.state)


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Bring the state of each parameter into the parameter's strides.

    Torch's fused kernels walk both as they lie in memory. They part where a weight is brought into
    channels last after its first step, or a checkpoint of the other layout is loaded.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if (
                isinstance(value, Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def wgan_rmsprop(
    parameters: Iterable[Tensor], lr: float = 5e-5, weight_decay: float = 0.0
) -> torch.optim.RMSprop:
    """RMSprop with the settings of Arjovsky et al. (2017, arXiv 1701.07875); the rest is torch's.

    Raises ConfigError if ``lr`` or ``weight_decay`` is outside what RMSprop allows.
    """
    parameters, lr = list(parameters), plain(lr)
    if not parameters:
        raise ConfigError("RMSprop got no parameters; allowed is a network that has some")
    try:
        return torch.optim.RMSprop(parameters, lr=lr, weight_decay=plain(weight_decay))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"RMSprop cannot be built from lr={lr}: {error}") from error


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """From now on each ``optimizer.step()`` begins by scaling all its gradients to ``max_norm``.

    They are scaled together, as ``torch.nn.utils.clip_grad_norm_`` does, where their norm is larger
    (Pascanu, Mikolov and Bengio, 2012, arXiv 1211.5063). Raises ConfigError unless ``max_norm`` is
    finite and above 0.
    """
    if not 0.0 < max_norm < float("inf"):
        raise ConfigError(f"max_norm is {max_norm}; allowed are finite numbers above 0")

    def clip(optimizer: torch.optim.Optimizer, *_: object) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.gradient_norm = norm  # type: ignore[attr-defined]  # before clipping, to be read

    optimizer.register_step_pre_hook(clip)


def check_optimizers(
    optimizers: Mapping[str, torch.optim.Optimizer], networks: Mapping[str, nn.Module]
) -> None:
    """Raise ConfigError unless the networks can learn, in one dtype, each optimizer its own."""
    for name, network in networks.items():
        check_network(name, network)
    dtypes = {name: next(module.parameters()).dtype for name, module in networks.items()}
    (first, dtype), *rest = dtypes.items()
    for name, other in rest:
        if other != dtype:
            raise ConfigError(f"{first} is {dtype}, but {name} is {other}; allowed is one dtype")
    own = {id(p) for module in networks.values() for p in module.parameters()}
    for name, optimizer in optimizers.items():
        check_optimizer(f"the optimizer {name!r}", optimizer)
        if any(id(p) not in own for group in optimizer.param_groups for p in group["params"]):
            raise ConfigError(
                f"the optimizer {name!r} holds a parameter of none of {', '.join(networks)}"
            )


def check_network(name: str, module: nn.Module) -> None:
    """Raise ConfigError unless ``module`` is one and has something to train."""
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{name} is a {type(module).__name__}; allowed is a torch.nn.Module")
    check_trainable(name, module)


def check_optimizer(name: str, optimizer: torch.optim.Optimizer) -> None:
    """Raise ConfigError unless ``optimizer`` steps once on given gradients."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(
            f"{name} is a {type(optimizer).__name__}; allowed is a torch.optim.Optimizer"
        )
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ConfigError(
            f"{name} is {type(optimizer).__name__}, whose step needs a closure that computes the "
            "loss again; allowed are optimizers that step once on given gradients, such as Adam"
        )


def check_owner(name: str, optimizer: torch.optim.Optimizer, owner: str, module: nn.Module) -> None:
    """Raise ConfigError unless ``optimizer`` steps once on given gradients of ``module`` alone."""
    check_network(owner, module)
    check_optimizer(name, optimizer)
    own = {id(p) for p in module.parameters()}
    if any(id(p) not in own for group in optimizer.param_groups for p in group["params"]):
        raise ConfigError(
            f"{name} holds a parameter that is not {owner}'s; build it from {owner}.parameters()"
        )
