"""What may be done to a module for a while, and what a network must have to learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gankit.errors import ConfigError
from gankit.nn.traits import traits_of
from gankit.training.sharing import tied_images_weights


@contextmanager
def state_kept(*modules: nn.Module) -> Iterator[None]:
    """Put back what training in the block did to ``modules``: weights, gradients, buffers, modes.

    Gradients are None at its beginning.
    """
    every = [child for module in modules for child in module.modules()]
    modes = [child.training for child in every]
    buffers = [
        [(name, b, b.clone()) for name, b in child.named_buffers(recurse=False)] for child in every
    ]
    parameters = {p: p.grad for module in modules for p in module.parameters()}
    weights = [None if is_lazy(p) else p.detach().clone() for p in parameters]
    for p in parameters:
        p.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for (p, grad), weight in zip(parameters.items(), weights, strict=True):
                p.grad = grad
                if weight is not None and not torch.equal(p, weight):
                    p.copy_(weight)
            for child, mode, saved in zip(every, modes, buffers, strict=True):
                child.training = mode
                for name, buffer, value in saved:
                    # Only what has changed: an expanded buffer cannot be written to.
                    setattr(child, name, buffer)
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)


def take_channels_last(asked: bool | str, precision: str, *modules: nn.Module) -> bool:
    """Bring the 4-d weights of ``modules`` into channels last where asked or, for "auto", faster.

    With AVX-512 oneDNN takes reorders out of every convolution: a DCGAN step on one core of an AMD
    EPYC (Zen 5) goes from 240 to 200 ms. Without it a DCGAN gains nothing, and StarGAN's D with two
    images of 128 pixels takes 1.2 times as long, since the gradients of its large weights are
    copied. On CUDA half precision runs on tensor cores in this layout and float32 was not measured.
    "auto" leaves alone networks with a ``forward`` that is not torch's and does not declare
    ``any_layout`` (:mod:`gankit.nn.traits`), since a ``view`` that flattens images fails on this
    layout, and weights that lie in one memory, which another layout would part; for those True is a
    ConfigError.
    """
    if asked and tied_images_weights(modules):
        if asked is True:
            raise ConfigError(
                "channels_last=True would part weights that lie in one memory; allowed are 'auto' "
                "and False, or one parameter in both places"
            )
        return False
    if asked == "auto":
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        children = [child for module in modules for child in module.modules()]
        known = all(map(_takes_any_layout, children))
        convolves = known and any(isinstance(child, kinds) for child in children)
        like = next(modules[0].parameters())
        on_cpu = (
            like.device.type == "cpu"
            and torch.backends.mkldnn.is_available()
            and torch.backends.cpu.get_cpu_capability() == "AVX512"
        )
        half = precision == "bf16" or like.dtype in (torch.bfloat16, torch.float16)
        asked = convolves and (
            (on_cpu and like.dtype != torch.float64) or (like.device.type == "cuda" and half)
        )
    if asked:
        for module in modules:
            module.to(memory_format=torch.channels_last)
    return bool(asked)


def _takes_any_layout(module: nn.Module) -> bool:
    # Every layer of torch does.
    return type(module).__module__.startswith("torch.nn.") or traits_of(module).any_layout


def not_finite(module: nn.Module) -> str | None:
    """The name of a parameter or running statistic that is NaN or infinite, if there is one.

    Waits for the device. Other buffers may well hold infinities, such as a mask.
    """
    for name, value in module.state_dict(keep_vars=True).items():
        kept = isinstance(value, nn.Parameter) or name.endswith(("running_mean", "running_var"))
        if kept and not bool(torch.isfinite(value).all()):
            return name
    return None


def check_trainable(name: str, module: nn.Module) -> None:
    """Raise ConfigError if no parameter of ``module`` asks for a gradient."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError(
            f"{name} ({type(module).__name__}) has nothing to train; allowed is a network with at "
            "least one parameter that requires a gradient"
        )


def check_tensor(name: str, out: object) -> Tensor:
    """``out``, or ConfigError if the network ``name`` returned something else than a tensor."""
    if not isinstance(out, Tensor):
        raise ConfigError(f"{name} returned a {type(out).__name__}; allowed is a tensor")
    return out
