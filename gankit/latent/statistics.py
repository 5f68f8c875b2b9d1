"""Statistics of batch norm for the noise that samples are drawn from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

from gankit.errors import ConfigError
from gankit.latent.paths import truncated
from gankit.nn.inference import seeded
from gankit.training.arguments import whole
from gankit.training.noise import Distribution, noise_for
from gankit.training.seeds import drawn_seed, stream

M = TypeVar("M", bound=nn.Module)


def standing_statistics(
    G: M,
    n: int,
    *,
    truncation: float | None = None,
    distribution: Distribution = "normal",
    classes: Sequence[int] = (),
    seed: int = 0,
    batch: int = 256,
) -> M:
    """A copy of G in eval mode, with batch norm's statistics of ``n`` samples.

    Standing statistics (Brock et al., 2018, arXiv:1809.11096, appendix D): the running ones are of
    the weights that G had while it was trained and of noise that was not truncated. Those of the
    copy are means over the batches of mean and variance, for its own weights and noise; samples
    then do not depend on what else is in their batch.

    Args:
        G: from z ``[N, z_dim]`` (and labels, if it has ``n_classes``) to images.
        n: samples that the statistics are of, from 2.
        truncation: z is drawn as ``truncated`` does, with this threshold; None: as in training.
        distribution: of z.
        classes: the classes whose samples are drawn in turn; empty for all of them.
        seed: decides z.
        batch: how many samples are generated at a time.

    Raises:
        ConfigError: an argument outside what is said here, or G has no batch norm with running
            statistics.
    """
    n, batch = whole("n", n), whole("batch", batch)
    for name, value in (("n (--standing-stats)", n), ("batch", batch)):
        if value < 2:
            raise ConfigError(f"{name} is {value}; allowed are integers from 2")
    copied = copy.deepcopy(G).eval()
    norms = [
        module
        for module in copied.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
    if not norms:
        raise ConfigError(
            f"{type(G).__name__} has no batch norm with running statistics, so there are none to "
            "take"
        )
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    random = stream(seed, "z")
    noise = noise_for(G, distribution, device="cpu", random=random)
    if truncation is None:
        z = noise(n)
    else:
        z = truncated(n, noise.shape[0], truncation, distribution=distribution, seed=seed)
    n_classes = getattr(G, "n_classes", None)
    labels = None
    if n_classes is not None:
        every = torch.tensor(classes or range(n_classes))
        labels = every[torch.arange(n) % len(every)]
    device = next(G.parameters(), z).device
    own = stream(seed, "the generator's own")
    inputs = [z.to(noise.dtype)] if labels is None else [z.to(noise.dtype), labels]
    # Of nearly equal sizes, as each batch counts as much as the others, and none of one sample.
    batches = min(-(-n // batch), n // 2)
    for part in zip(*(x.tensor_split(batches) for x in inputs), strict=True):
        with torch.no_grad(), seeded(drawn_seed(own), device):
            copied(*(x.to(device) for x in part))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return copied.eval()
