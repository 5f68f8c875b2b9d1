"""Generators that turn images of one domain, a, into images of another, b, or back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, SupportsIndex

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.nn.inference import eval_mode, seeded
from gankit.scalars import is_integer
from gankit.training.phases import Batch
from gankit.training.reports import Panel
from gankit.training.seeds import derived_seed
from gankit.training.step import Step


class TranslationStep(Step):
    """A step whose generators take images; ``directions`` says which, as ``{"a2b": "G"}``.

    A sample grid shows, for each direction, what goes in and what comes out, and then the images
    of the other domain if no direction starts from it.
    """

    fields = ("a", "b")
    directions: Mapping[str, str]

    @property
    def inference_keys(self) -> dict[str, str]:
        return {direction: self.key_of(name) for direction, name in self.directions.items()}

    @torch.no_grad()
    def check_outputs(self, batch: Batch) -> None:
        for direction, name in self.directions.items():
            given, target = (batch[field] for field in direction.split("2"))
            shape = self.run_tensor(self.networks[name], given).shape
            if shape != target.shape:
                raise ConfigError(
                    f"{name} turned images of shape {list(given.shape)} into {list(shape)}; "
                    f"allowed is {list(target.shape)}, that of the other domain's images"
                )

    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        shown = {}
        for direction, name in self.directions.items():
            source, target = direction.upper().split("2")
            shown[source] = given = batch[source.lower()]
            shown[f"{source} to {target}"] = translate(self.average_of(name), given, seed=seed)
        for field in self.fields:
            shown.setdefault(field.upper(), batch[field])
        return [Panel(caption, images.float().cpu()) for caption, images in shown.items()]


@torch.no_grad()
def translate(
    network: nn.Module,
    images: Tensor,
    *,
    seed: int,
    batch: int = 16,
    target: Tensor | None = None,
) -> Tensor:
    """What ``network`` makes of ``images`` ``[N, C, H, W]``, float32 ``[N, C', H, W]`` on the CPU.

    With ``target`` ``[N, K]``, a row for each image, it is called as ``network(images, target)``.

    It runs in eval mode. A network with a method ``sampling`` (a context manager) whose attribute
    ``dropout_is_noise`` is true draws its noise there, as pix2pix does; then each image goes
    through it by itself, with noise that ``seed`` decides: what becomes of an image does not depend
    on its neighbors. Neither modes nor global random states change.

    Images of any size are taken: where H or W is no multiple of the network's ``size_multiple``, or
    below its ``min_size``, they are continued at the right and at the bottom by their mirror image,
    and the result is cut to H and W. For a network of a ``fixed_size`` they are stretched to it,
    bilinearly, and the result back.
    """
    like = next(network.parameters(), images)
    height, width = images.shape[2:]
    fixed = getattr(network, "fixed_size", None)
    if fixed is None:
        images = _mirrored(images, *(least_size(network, size) for size in (height, width)))
    else:
        images = _stretched(images, fixed, fixed)
    sampling: Any = getattr(network, "sampling", None)
    noisy = sampling is not None and bool(getattr(network, "dropout_is_noise", False))
    results = []
    size = 1 if noisy else batch
    targets = [()] * len(images) if target is None else [(rows,) for rows in target.split(size)]
    for part, rows in zip(images.split(size), targets, strict=False):
        with ExitStack() as stack:
            stack.enter_context(seeded(derived_seed(seed, "translation"), like.device))
            stack.enter_context(sampling() if noisy else eval_mode(network))
            out = network(*(x.to(like.device, like.dtype) for x in (part, *rows)))
        out = out[:, :, :height, :width] if fixed is None else _stretched(out, height, width)
        results.append(out.float().cpu())
    return torch.cat(results)


def check_images(images: object, channels: int, of: str = "") -> None:
    """Raise ConfigError unless ``images`` are floating point ``[N, channels, H, W]``.

    ``of`` says what that is allowed for.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        came = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ConfigError(f"images are {came}; allowed are floating-point images in [-1, 1]")
    if images.ndim != 4 or images.shape[1] != channels or not images.numel():
        raise ConfigError(
            f"images have shape {list(images.shape)}; allowed{of} is [N, {channels}, H, W]"
        )


def seed_or_drawn(seed: SupportsIndex | None) -> int:
    """``seed``, or one that torch's global generator draws where it is None.

    Raises ConfigError for anything but None and integers.
    """
    if seed is not None and not is_integer(seed):
        raise ConfigError(f"seed is {seed!r}; allowed are None and integers")
    return int(torch.randint(2**62, ()) if seed is None else seed)


def least_size(network: nn.Module, size: int) -> int:
    """The least height or width from ``size`` that ``network`` takes, as its attributes say."""
    multiple = int(getattr(network, "size_multiple", 1))
    least = max(size, int(getattr(network, "min_size", 1)))
    return -(-least // multiple) * multiple


def _stretched(images: Tensor, height: int, width: int) -> Tensor:
    if images.shape[2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


def _mirrored(images: Tensor, height: int, width: int) -> Tensor:
    if images.shape[2:] == (height, width):
        return images
    rows, columns = (
        _mirror(old, new) for old, new in zip(images.shape[2:], (height, width), strict=True)
    )
    return images[:, :, rows[:, None], columns]


def _mirror(old: int, new: int) -> Tensor:
    """``new`` indices into ``old`` places, to and fro."""
    place = torch.arange(new) % (2 * old)
    return torch.where(place < old, place, 2 * old - 1 - place)
