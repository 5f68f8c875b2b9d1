"""Directions of the latent space that mean something, from labels and from weights; arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.latent.paths import inside
from gankit.training.arguments import whole
from gankit.training.noise import Distribution, noise_for
from gankit.training.pictures import generate_from
from gankit.training.seeds import stream

# float32 [N, C, H, W] to probabilities or logits [N, K].
Classify = Callable[[Tensor], Tensor]


def mean_difference(z: Tensor, member: Tensor) -> Tensor:
    """The direction of unit length from the mean z of the others to that of the members.

    Args:
        z: floating point ``[N, d]``.
        member: bool ``[N]``, or the probability ``[N]`` of being one, as a classifier of the
            images of z gives it.

    Raises DataError unless they fit and both kinds are there.
    """
    weight = _membership(z, member).to(z.device)
    others = 1 - weight
    found = (weight @ z.double()) / weight.sum() - (others @ z.double()) / others.sum()
    return F.normalize(found, dim=0).to(z.dtype)


def linear_probe(z: Tensor, member: Tensor, *, weight_decay: float = 1e-3) -> Tensor:
    """The direction ``[d]`` of unit length along which a logistic regression on z says member.

    It is the normal of the best separating hyperplane (as of InterFaceGAN, Shen et al., 2019,
    arXiv:1907.10786). Arguments and errors are those of :func:`mean_difference`; ``weight_decay``
    multiplies the squared length of the weights, whose other term is the mean cross entropy.
    """
    target, inputs = _membership(z, member).to(z.device), z.double()
    with torch.inference_mode(False), torch.enable_grad():
        inputs, target = inputs.clone(), target.clone()
        weight = inputs.new_zeros(z.shape[1]).requires_grad_()
        bias = inputs.new_zeros(()).requires_grad_()
        solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            solver.zero_grad()
            value = F.binary_cross_entropy_with_logits(inputs @ weight + bias, target)
            value = value + weight_decay * weight.square().sum()
            value.backward()
            return value

        solver.step(loss)
    return F.normalize(weight.detach(), dim=0).to(z.dtype)


def _membership(z: Tensor, member: Tensor) -> Tensor:
    if z.dim() != 2 or member.shape != z.shape[:1]:
        raise DataError(
            f"z must be [N, d] and member [N], got {list(z.shape)} and {list(member.shape)}"
        )
    share = member.double()
    if not bool(((share >= 0) & (share <= 1)).all()):
        raise DataError("member must be bool or probabilities in [0, 1]")
    if not 1e-6 < float(share.mean()) < 1 - 1e-6:
        raise DataError("member must hold members and others, got one kind alone")
    return share


def sefa(G: nn.Module, count: int = 5, *, layer: str | None = None) -> tuple[Tensor, Tensor]:
    """Directions that change the images most, from the first layer's weights alone.

    SeFa (Shen and Zhou, 2020, arXiv:2007.06600): unit directions n that maximize ``|A n|``, A being
    the weights by which the first layer multiplies z; these are eigenvectors of ``A^T A``.

    Args:
        G: has ``z_dim``.
        count: how many directions, 1 to ``z_dim``.
        layer: name of the submodule whose weight is A: an ``nn.Linear`` or a (transposed)
            convolution. By default the first one that takes z. Where it takes a label too, z must
            come first.

    Returns:
        The directions ``[count, z_dim]``, that of the greatest change first, and the eigenvalues
        ``[count]``.

    Raises:
        ConfigError: no such layer, or a count that is not allowed.
    """
    z_dim = noise_for(G).shape[0]
    if whole("count", count) > z_dim:
        raise ConfigError(f"count is {count}; allowed are 1 to {z_dim}, the length of z")
    modules = dict(G.named_modules())
    if layer is not None and layer not in modules:
        raise ConfigError(f"layer is {layer!r}; allowed are {', '.join(filter(None, modules))}")
    more = getattr(G, "n_classes", None) is not None
    for module in modules.values() if layer is None else [modules[layer]]:
        weight = _rows(module)
        if weight is None:
            continue
        if weight.shape[1] == z_dim or (more and weight.shape[1] > z_dim):
            first = weight[:, :z_dim].detach().double()
            values, vectors = torch.linalg.eigh(first.T @ first)
            found = vectors.flip(1).T[:count]
            return found.to(weight.dtype), values.flip(0)[:count].to(weight.dtype)
        break
    raise ConfigError(
        f"{type(G).__name__} has no {'first layer' if layer is None else f'layer {layer!r}'} that "
        f"multiplies z [N, {z_dim}] by a matrix; layer names another"
    )


def _rows(module: nn.Module) -> Tensor | None:
    """The weight as a matrix ``[outputs, inputs]``; None for a module that is not such a layer."""
    weight = module._parameters.get("weight")
    if weight is None or weight.dim() < 2 or isinstance(module, nn.Embedding):
        return None
    if getattr(module, "transposed", False):
        return weight.flatten(1).T
    return weight.movedim(1, -1).flatten(0, -2)


class Arithmetic(NamedTuple):
    """The z of a sum of concepts, ``[d]``, and of each term its z's, ``[n, d]``, and their mean."""

    z: Tensor
    examples: list[Tensor]
    means: list[Tensor]


def terms_of(expression: str) -> list[tuple[int, int]]:
    """``"7 - 1 + 0"`` as ``[(1, 7), (-1, 1), (1, 0)]``: the sign and class of each term.

    Raises ConfigError for anything but class numbers with + and - between them.
    """
    text = expression.strip()
    if not re.fullmatch(r"[+-]?\s*\d{1,9}(\s*[+-]\s*\d{1,9})*", text):
        raise ConfigError(
            f"the expression is {expression!r}; allowed are classes with + and - between them, as "
            "'7 - 1 + 0'"
        )
    found = re.findall(r"([+-]?)\s*(\d+)", text)
    return [(-1 if sign == "-" else 1, int(label)) for sign, label in found]


def arithmetic(
    G: nn.Module,
    expression: str,
    classify: Classify,
    *,
    n: int = 3,
    candidates: int = 1024,
    distribution: Distribution = "normal",
    seed: int = 0,
) -> Arithmetic:
    """Sums and differences of concepts (Radford et al., 2015, arXiv:1511.06434, section 6.3.2).

    Each class stands for the mean of ``n`` z whose images show it, since a single one is unstable
    (there, three, picked by eye). Here they are those of ``candidates`` samples of which
    ``classify`` is most sure.

    Args:
        G: a generator that is not conditional: there the class is an input.
        expression: classes with + and -, as ``"7 - 1 + 0"``.
        classify: images float32 ``[N, C, H, W]`` to probabilities or logits ``[N, K]``.
        n: z per class.
        candidates: samples to choose from, at least ``n``.
        distribution: of z. The sum of uniform z may leave their cube, and is then brought back to
            its nearest point.
        seed: decides the samples.

    Raises:
        ConfigError: another expression, a class that ``classify`` does not know, or G is
            conditional.
        DataError: fewer than ``n`` samples show one of the classes.
    """
    terms = terms_of(expression)
    if getattr(G, "n_classes", None) is not None:
        raise ConfigError("arithmetic is on z, but this generator takes the class as an input")
    z = noise_for(G, distribution, device="cpu", random=stream(seed, "z"))(
        whole("candidates", candidates)
    )
    scores = classify(generate_from(G, z, seed=seed)).detach().float().cpu()
    wrong = [label for _, label in terms if label >= scores.shape[1]]
    if wrong:
        raise ConfigError(
            f"the expression has class {wrong[0]}; allowed are 0 to {scores.shape[1] - 1}"
        )
    shown, examples, means = scores.argmax(dim=1), [], []
    for _, label in terms:
        members = (shown == label).nonzero().flatten()
        if len(members) < n:
            raise DataError(
                f"{len(members)} of {candidates} samples show class {label}, needed are {n}: the "
                "generator does not make it"
            )
        order = scores[members].log_softmax(dim=1)[:, label].argsort(descending=True)
        examples.append(z[members[order[:n]]])
        means.append(examples[-1].mean(dim=0))
    signs = [float(sign) for sign, _ in terms]
    total = torch.stack([sign * mean for sign, mean in zip(signs, means, strict=True)]).sum(dim=0)
    return Arithmetic(inside(total, distribution), examples, means)
