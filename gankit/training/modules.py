"""What may be done to a module for a while, and what a network must have to learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gankit.data import Batch
from gankit.errors import ConfigError

_KNOWN = ("torch.nn.", "gankit.nn.", "gankit.models.", "gankit.acceleration.")


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; every submodule gets back the mode that it had."""
    training = [child for child in module.modules() if child.training]
    module.eval()
    try:
        yield
    finally:
        for child in training:
            child.training = True


@contextmanager
def state_kept(*modules: nn.Module) -> Iterator[None]:
    """Put back buffers and modes of ``modules`` at the end, whatever their forward did to them."""
    every = [child for module in modules for child in module.modules()]
    modes = [child.training for child in every]
    buffers = [
        [(name, b, b.clone()) for name, b in child.named_buffers(recurse=False)] for child in every
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for child, mode, saved in zip(every, modes, buffers, strict=True):
                child.training = mode
                for name, buffer, value in saved:
                    # Only what has changed: an expanded buffer cannot be written to.
                    setattr(child, name, buffer)
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)


def take_channels_last(asked: bool | str, precision: str, *modules: nn.Module) -> bool:
    """Bring the 4-d weights of ``modules`` into channels last where asked or, for "auto", faster.

    On the CPU oneDNN takes reorders out of every convolution: a DCGAN step on one core of an AMD
    EPYC (Zen 5) goes from 240 to 200 ms. On CUDA half precision runs on tensor cores in this layout
    and float32 was not measured. "auto" leaves alone networks with a ``forward`` that is neither
    torch's nor ours: a ``view`` that flattens images fails on this layout.
    """
    if asked == "auto":
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        children = [child for module in modules for child in module.modules()]
        known = all(type(child).__module__.startswith(_KNOWN) for child in children)
        convolves = known and any(isinstance(child, kinds) for child in children)
        like = next(modules[0].parameters())
        on_cpu = like.device.type == "cpu" and torch.backends.mkldnn.is_available()
        half = precision == "bf16" or like.dtype in (torch.bfloat16, torch.float16)
        asked = convolves and (
            (on_cpu and like.dtype != torch.float64) or (like.device.type == "cuda" and half)
        )
    if asked:
        for module in modules:
            module.to(memory_format=torch.channels_last)
    return bool(asked)


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


def check_batch(real: Tensor | Batch, labels: Tensor | None, device: torch.device) -> None:
    """Raise ConfigError unless a step on ``device`` can be given ``real`` and ``labels``."""
    if isinstance(real, Batch):
        name, given, wanted = "the indices of real", real.indices, "int64 indices [B]"
        if isinstance(real.data, Tensor) or not callable(getattr(real.data, "gather", None)):
            raise ConfigError(
                f"real's data is a {type(real.data).__name__}; allowed is a set with a method "
                "gather, such as gankit.data.ImageData"
            )
        if not isinstance(given, Tensor):
            raise ConfigError(f"{name} are a {type(given).__name__}; allowed are {wanted}")
        fits = given.dtype == torch.int64 and given.ndim == 1
    elif isinstance(real, Tensor):
        name, given = "real", real
        wanted = "floating-point images, such as those of ImageData.gather"
        fits = given.is_floating_point()
    else:
        raise ConfigError(
            f"real is a {type(real).__name__}; allowed is a tensor of images or a gankit.data.Batch"
        )
    if not fits:
        raise ConfigError(
            f"{name} has dtype {given.dtype} and shape {list(given.shape)}; allowed are {wanted}"
        )
    if given.ndim == 0 or given.shape[0] == 0:
        raise ConfigError(
            f"{name} has shape {list(given.shape)}; allowed is a batch of at least one image"
        )
    if given.device != device:
        raise ConfigError(f"{name} is on {given.device}, but D is on {device}")
    if labels is None:
        return
    if not isinstance(labels, Tensor) or labels.ndim == 0 or len(labels) != len(given):
        came = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ConfigError(
            f"labels are {came} for {len(given)} images; allowed is a tensor with one row each"
        )
    if labels.device != device:
        raise ConfigError(f"labels are on {labels.device}, but D is on {device}")


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
