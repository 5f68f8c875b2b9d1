"""Where torch gives no gradient (None) the ops give none, and where it gives zeros they give zeros.

An optimizer tells the two apart: Adam moves a parameter whose gradient is zero by its momentum. So
after a second backward (a gradient penalty's) it must be the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

from gankit.ops import (
    batch_norm_act,
    bce_label_smoothing,
    conv_transpose2d,
    conv_transpose2d_bn_act,
    gan_bce,
    grad_norm_penalty,
    interpolate,
    leaky_relu_dropout,
)

Tensor = torch.Tensor
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda z: z,
    "relu": F.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.2),
    "tanh": torch.tanh,
}


class Case(NamedTuple):
    """An op, what it stands for, and their tensors."""

    op: Callable[..., Tensor]
    torchs: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]


_GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=_GENERATOR, dtype=torch.float64)


def positive(*shape: int) -> Tensor:
    return torch.rand(shape, generator=_GENERATOR, dtype=torch.float64) * 0.8 + 0.1


def norms() -> Iterator[tuple[str, Case]]:
    """Batch norms and what they follow, training and evaluation, affine or not."""
    for training, (name, act) in itertools.product((True, False), ACTIVATIONS.items()):
        mean, var = random(3), positive(3)

        def op(x: Tensor, *scale: Tensor, t: Any = (training, name, mean, var)) -> Tensor:
            return batch_norm_act(
                x, t[2].clone(), t[3].clone(), *scale, training=t[0], activation=t[1]
            )

        def both(x: Tensor, *scale: Tensor, t: Any = (training, act, mean, var)) -> Tensor:
            y: Tensor = t[1](F.batch_norm(x, t[2].clone(), t[3].clone(), *scale, training=t[0]))
            return y

        tensors = (random(4, 3, 2, 2), positive(3), random(3))
        for count in (1, 2, 3):
            yield f"norm-{name}-{training}-{count}", Case(op, both, tensors[:count])

        def layer(
            x: Tensor, w: Tensor, *scale: Tensor, t: Any = (training, name, mean, var)
        ) -> Tensor:
            return conv_transpose2d_bn_act(
                x, w, None, t[2].clone(), t[3].clone(), *scale, t[0], activation=t[1]
            )

        def three(x: Tensor, w: Tensor, *scale: Tensor, both: Any = both) -> Tensor:
            y: Tensor = both(F.conv_transpose2d(x, w), *scale)
            return y

        more = (random(2, 2, 3, 3), random(2, 3, 2, 2), *tensors[1:])
        yield f"layer-{name}-{training}", Case(layer, three, more)


def others() -> Iterator[tuple[str, Case]]:
    """The other ops, each through its algorithms."""
    for (name, act), (channels, size) in itertools.product(
        ACTIVATIONS.items(), ((1, 3), (6, 3), (6, 1))
    ):

        def op(*t: Tensor, name: str = name) -> Tensor:
            return conv_transpose2d(*t, activation=name)

        def both(*t: Tensor, act: Any = act) -> Tensor:
            y: Tensor = act(F.conv_transpose2d(*t))
            return y

        tensors = (random(2, 4, size, size), random(4, channels, 3, 3), random(channels))
        yield f"convolution-{name}-{channels}-{size}", Case(op, both, tensors)
    seed = torch.tensor([3])
    for slope, save in ((0.2, "output"), (0.2, "input"), (0.0, "output"), (1.0, "output")):
        mask = leaky_relu_dropout(torch.ones(5, 7).double(), 1.0, seed=seed)

        def dropped(x: Tensor, t: Any = (slope, save)) -> Tensor:
            return leaky_relu_dropout(x, t[0], seed=seed, save=t[1])

        def inplace(x: Tensor, slope: float = slope) -> Tensor:
            return leaky_relu_dropout(x * 1, slope, inplace=True, seed=seed)

        def masked(x: Tensor, t: Any = (slope, mask)) -> Tensor:
            # A slope of one is dropout alone.
            y: Tensor = (x if t[0] == 1 else F.leaky_relu(x, t[0])) * t[1]
            return y

        yield f"dropout-{slope}-{save}", Case(dropped, masked, (random(5, 7),))
        yield f"dropout-{slope}-{save}-inplace", Case(inplace, masked, (random(5, 7),))
    target = positive(5, 7)
    for logits in (True, False):
        loss = F.binary_cross_entropy_with_logits if logits else F.binary_cross_entropy
        yield (
            f"bce-{logits}",
            Case(
                lambda x, f=logits: bce_label_smoothing(x, target, from_logits=f),
                lambda x, loss=loss: loss(x, target),
                (positive(5, 7),),
            ),
        )
        yield (
            f"gan_bce-{logits}",
            Case(
                lambda real, fake, f=logits: gan_bce(real, fake, from_logits=f),
                lambda real, fake, loss=loss: (
                    loss(real, torch.ones_like(real)) + loss(fake, torch.zeros_like(fake))
                ),
                (positive(5), positive(6)),
            ),
        )
    yield (
        "penalty",
        Case(grad_norm_penalty, lambda g: (g.norm(dim=1) - 1).square().mean(), (random(4, 5),)),
    )
    share = interpolate(torch.ones(4, 1).double(), torch.zeros(4, 1).double(), seed=seed)
    yield (
        "interpolate",
        Case(
            lambda real, fake: interpolate(real, fake, seed=seed),
            lambda real, fake: share * real + (1 - share) * fake,
            (random(4, 5), random(4, 5)),
        ),
    )


CASES = dict(itertools.chain(norms(), others()))


def gradients(
    function: Callable[..., Tensor], tensors: tuple[Tensor, ...], needed: tuple[bool, ...]
) -> dict[str, list[Tensor | None]]:
    """First gradients, and those of each of them and of all of them."""
    leaves = [x.clone().requires_grad_(n) for x, n in zip(tensors, needed, strict=True)]
    inputs = [x for x in leaves if x.requires_grad]
    y = function(*leaves)
    weights = torch.Generator().manual_seed(1)
    upstream = torch.randn(y.shape, generator=weights, dtype=y.dtype).requires_grad_()
    first = torch.autograd.grad(y, inputs, upstream, create_graph=True, allow_unused=True)
    found: dict[str, list[Tensor | None]] = {"first": list(first)}
    for number in (*range(len(first)), None):
        chosen = first if number is None else first[number : number + 1]
        paired = [
            (g * torch.randn(g.shape, generator=weights, dtype=g.dtype)).sum()
            for g in chosen
            if g is not None and g.requires_grad
        ]
        second: tuple[Tensor | None, ...] = ()
        if paired:
            second = torch.autograd.grad(
                paired, [upstream, *inputs], retain_graph=True, allow_unused=True
            )
        found[f"second, of {number}"] = list(second)
    return found


@pytest.mark.parametrize("name", sorted(CASES))
def test_none_where_torch_has_none(name: str) -> None:
    """Autograd's part of the ops, which no backend changes."""
    case = CASES[name]
    for needed in itertools.product((False, True), repeat=len(case.tensors)):
        if not any(needed):
            continue
        found, wanted = (gradients(f, case.tensors, needed) for f in (case.op, case.torchs))
        assert found.keys() == wanted.keys()
        for order, mine in found.items():
            for f, w in zip(mine, wanted[order], strict=True):
                assert (f is None) == (w is None), (needed, order)
                if f is not None:
                    torch.testing.assert_close(f, w, rtol=1e-8, atol=1e-8)


def test_a_penalty_alone_leaves_a_bias_to_its_momentum_no_more_than_torch() -> None:
    """``.grad`` of a norm's bias after a second backward is None, not zeros."""
    weight, bias = torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    x = torch.randn(8, 3, requires_grad=True)
    y = batch_norm_act(x, None, None, weight, bias, True, activation="none")
    (gradient,) = torch.autograd.grad((y * torch.randn(8, 3)).sum(), x, create_graph=True)
    gradient.norm(dim=1).sub(1).square().mean().backward()
    assert weight.grad is not None
    assert bias.grad is None
