"""From an image back to z, and to the images that the generator learned from."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gankit.data.image_set import ImageSet
from gankit.errors import ConfigError, DataError
from gankit.latent.paths import inside
from gankit.nn.inference import eval_mode, seeded
from gankit.scalars import is_number
from gankit.training.arguments import whole
from gankit.training.noise import Distribution, noise_for
from gankit.training.pictures import generate_from
from gankit.training.seeds import stream

# Images whose inversion is searched at a time, and samples among which it begins.
_TOGETHER, _CANDIDATES = 16, 512


class Inversion(NamedTuple):
    """What :func:`invert` found.

    ``z`` ``[N, d]``; its ``images`` float32 ``[N, C, H, W]``; their mean squared ``error`` ``[N]``
    in [-1, 1] and the peak signal-to-noise ratio ``psnr`` ``[N]`` in dB, ``10 log10(4 / error)``.
    """

    z: Tensor
    images: Tensor
    error: Tensor
    psnr: Tensor


def invert(
    G: nn.Module,
    images: Tensor,
    *,
    labels: Tensor | None = None,
    distribution: Distribution = "normal",
    steps: int = 400,
    lr: float = 0.1,
    starts: int = 4,
    seed: int = 0,
) -> Inversion:
    """The z whose images come nearest to ``images``, by optimization.

    As by Zhu et al., 2016, arXiv:1609.03552, but from several starts and without an encoder. Of 512
    samples the ``starts`` nearest to each image are moved by Adam, whose rate falls to 0 as
    a cosine, to lower the squared error, and the best one is kept. Uniform z stay in their cube.

    Args:
        G: in any mode; it is run in eval mode.
        images: ``[N, C, H, W]`` in [-1, 1], of the size that G makes.
        labels: int64 ``[N]`` where G is conditional.
        distribution: of z.
        steps: updates of z.
        lr: of Adam at the beginning.
        starts: from how many places it is tried, 1 to 512.
        seed: decides the samples.

    Raises:
        ConfigError: a number that is not allowed, or labels that do not fit G.
        DataError: images of another shape than G makes.
    """
    steps, starts = whole("steps", steps), whole("starts", starts)
    if starts > _CANDIDATES:
        raise ConfigError(f"starts is {starts}; allowed are 1 to {_CANDIDATES}")
    if not is_number(lr) or not 0 < lr < math.inf:
        raise ConfigError(f"lr is {lr!r}; allowed are finite numbers above 0")
    if (labels is None) == (getattr(G, "n_classes", None) is not None):
        what = "needs labels" if labels is None else "takes no labels"
        raise ConfigError(f"the generator {what}, one for each image")
    if labels is not None and labels.shape != images.shape[:1]:
        raise ConfigError(f"labels are {list(labels.shape)} for {len(images)} images")
    noise = noise_for(G, distribution, device="cpu", random=stream(seed, "z"))
    z = noise(_CANDIDATES)
    device = next(G.parameters(), z).device
    found: list[Tensor] = []
    with torch.inference_mode(False):
        for number, part in enumerate(images.detach().clone().split(_TOGETHER)):
            wanted = part.to(device, z.dtype).flatten(1)
            classes = None if labels is None else labels.split(_TOGETHER)[number].to(device)
            found.append(
                _inverted(G, wanted, classes, z.to(device), steps, float(lr), starts, distribution)
            )
    best = torch.cat(found).cpu()
    made = generate_from(G, best, None if labels is None else labels, seed=seed)
    error = (made.flatten(1).double() - images.cpu().flatten(1).double()).square().mean(dim=1)
    return Inversion(best, made, error.float(), (10 * (4 / error.clamp_min(1e-20)).log10()).float())


def _inverted(
    G: nn.Module,
    wanted: Tensor,
    labels: Tensor | None,
    candidates: Tensor,
    steps: int,
    lr: float,
    starts: int,
    distribution: Distribution,
) -> Tensor:
    """z ``[N, d]`` of the flat images ``wanted``."""

    def made(z: Tensor, classes: Tensor | None) -> Tensor:
        images = (G(z) if classes is None else G(z, classes)).flatten(1)
        if images.shape[1] != wanted.shape[1]:
            raise DataError(
                f"images have {wanted.shape[1]} values each, the generator's {images.shape[1]}"
            )
        return images

    with eval_mode(G), seeded(0, wanted.device):
        with torch.no_grad():
            if labels is None:
                distance = torch.cdist(wanted, made(candidates, None))
            else:  # the candidates are other images for each label
                distance = torch.stack(
                    [
                        torch.cdist(image[None], made(candidates, label.expand(len(candidates))))[0]
                        for image, label in zip(wanted, labels, strict=True)
                    ]
                )
            nearest_ones = distance.topk(starts, largest=False).indices.flatten()
        z = candidates[nearest_ones].clone().requires_grad_()
        target = wanted.repeat_interleave(starts, 0)
        classes = None if labels is None else labels.repeat_interleave(starts)
        adam = torch.optim.Adam([z], lr)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for _ in range(steps):
            with torch.enable_grad():
                loss = (made(z, classes) - target).square().mean(dim=1).sum()
            (z.grad,) = torch.autograd.grad(loss, z)
            adam.step()
            rate.step()
            with torch.no_grad():
                z.copy_(inside(z, distribution))
        with torch.no_grad():
            error = (made(z, classes) - target).square().mean(dim=1).view(-1, starts)
        chosen = error.argmin(dim=1)
        return z.detach().view(-1, starts, z.shape[1])[torch.arange(len(wanted)), chosen]


@torch.no_grad()
def nearest(images: Tensor, data: ImageSet, k: int = 1) -> tuple[Tensor, Tensor]:
    """The ``k`` images of ``data`` nearest to each of ``images`` in Euclidean distance.

    Args:
        images: floating point ``[N, C, H, W]`` in [-1, 1], of the shape of ``data``.
        data: the training images; they are read in batches.
        k: at most ``len(data)``.

    Returns:
        int64 indices ``[N, k]``, the nearest first, and float32 distances ``[N, k]``.

    Raises:
        ConfigError: a ``k`` that is not allowed.
        DataError: images of another shape.
    """
    if whole("k", k) > len(data):
        raise ConfigError(f"k is {k}; allowed are 1 to {len(data)}, the images of {data.name}")
    if images.dim() != 4 or tuple(images.shape[1:]) != tuple(data.shape):
        raise DataError(
            f"images must be [N, {', '.join(map(str, data.shape))}], got {list(images.shape)}"
        )
    flat = images.float().cpu().flatten(1)
    distances = flat.new_full((len(flat), k), torch.inf)
    places = torch.zeros(len(flat), k, dtype=torch.int64)
    for indices in torch.arange(len(data)).split(1024):
        apart = torch.cdist(flat, data.gather(indices).float().cpu().flatten(1))
        both = torch.cat([distances, apart], dim=1)
        numbers = torch.cat([places, indices.expand(len(flat), -1)], dim=1)
        distances, order = both.topk(k, dim=1, largest=False)
        places = numbers.gather(1, order)
    return places, distances
