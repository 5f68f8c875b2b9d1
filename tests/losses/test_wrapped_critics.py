"""The gradient penalty of critics behind torch.compile or DataParallel, and of plain callables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError, GankitWarning
from gankit.losses import gradient_penalty
from gankit.models import dcgan, mlp
from gankit.training import GANStep, gan_adam

# Traces and differentiates as the default backend does, and compiles no code.
compiled = partial(torch.compile, backend="aot_eager")


@pytest.fixture(autouse=True)
def _no_compiled_code_stays() -> Iterator[None]:
    yield
    torch.compiler.reset()


def critic() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))


class Own(nn.Module):
    """A critic that is no chain of layers, with a method and a second argument."""

    def __init__(self, main: nn.Module) -> None:
        super().__init__()
        self.main = main

    def score(self, x: Tensor) -> Tensor:
        return self.main(x).tanh() * 2

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.score(x) if label is None else self.score(x + label)


def in_place(module: nn.Module) -> nn.Module:
    module.compile(backend="aot_eager")
    return module


def one_layer(module: nn.Sequential) -> nn.Module:
    module[0] = compiled(module[0])
    return module


def hooked(module: nn.Module) -> nn.Module:
    made = compiled(module)
    made.register_forward_hook(lambda *_: None)  # type: ignore[attr-defined]
    return made  # type: ignore[no-any-return]


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "compiled": compiled,
    "compiled twice": lambda d: compiled(compiled(d)),
    "compiled in place": in_place,
    "one layer compiled": one_layer,
    "compiled with a hook": hooked,
    "DataParallel": nn.DataParallel,
    "DataParallel, compiled": lambda d: compiled(nn.DataParallel(d)),
    "compiled, DataParallel": lambda d: nn.DataParallel(compiled(d)),
    "a compiled function": lambda d: compiled(lambda x: d(x)),
    "a lambda": lambda d: lambda x: d(x),
    "a lambda of a compiled one": lambda d: partial(lambda made, x: made(x), compiled(d)),
    "forward": lambda d: d.forward,
}
OWN: dict[str, Callable[[Any], Any]] = {
    **{name: wrap for name, wrap in WRAPPERS.items() if "layer" not in name},
    "with a compiled part": lambda d: Own(compiled(d.main)),
    "a method": lambda d: d.score,
    "a method with a compiled part": lambda d: Own(compiled(d.main)).score,
    "a partial": lambda d: partial(d, label=torch.zeros(20)),
    "a partial of a compiled one": lambda d: partial(compiled(d), label=torch.zeros(20)),
}
CASES = [
    *[pytest.param(critic, wrap, id=name) for name, wrap in WRAPPERS.items()],
    *[pytest.param(lambda: Own(critic()), wrap, id=f"own, {name}") for name, wrap in OWN.items()],
]


def value_and_gradients(given: Any, weights: nn.Module) -> list[Tensor]:
    x = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    penalty = gradient_penalty(given, x, x.flip(0))
    penalty.backward()
    zeros = (torch.zeros_like(p) if p.grad is None else p.grad for p in weights.parameters())
    return [penalty.detach(), *zeros]


@pytest.mark.parametrize(("make", "wrap"), CASES)
def test_the_penalty_is_that_of_the_module_inside(make: Any, wrap: Any) -> None:
    plain, inside = make(), make()
    expected = value_and_gradients(plain, plain)
    found = value_and_gradients(wrap(inside), inside)
    assert float(found[1].abs().max()) > 0.01
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y)


def test_code_that_has_run_compiled_still_has_a_penalty() -> None:
    inside = Own(critic())
    given = compiled(inside)
    x = torch.randn(6, 20)
    given(x).sum().backward()
    gradient_penalty(given, x, x.flip(0)).backward()
    given(x).sum().backward()


@pytest.mark.parametrize("wrap", ["all", "main", "one layer"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp.Discriminator((1, 8, 8), hidden=(8,), output="logit"),
        lambda: dcgan.Discriminator((1, 28, 28), width=2, output="logit").eval(),
    ],
)
def test_the_analytic_path_looks_inside(make: Any, wrap: str) -> None:
    D = make()
    x = torch.randn(4, *D.image_shape)
    torch.manual_seed(1)
    expected = gradient_penalty(D, x, x.flip(0), path="analytic")
    if wrap == "all":
        D = compiled(D)
    elif wrap == "main":
        D.main = compiled(D.main)
    else:
        D.main[0] = compiled(D.main[0])
    torch.manual_seed(1)
    torch.testing.assert_close(gradient_penalty(D, x, x.flip(0), path="analytic"), expected)


@pytest.mark.parametrize("penalty", ["gankit's", "one's own"])
def test_a_step_takes_penalties_of_a_compiled_critic(penalty: str) -> None:
    def own(D: Any, real: Tensor, fake: Tensor) -> Tensor:
        x = real.clone().requires_grad_()
        (grad,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
        return grad.flatten(1).square().sum(1).mean()

    results = []
    for wrap in (lambda d: d, compiled, in_place):
        torch.manual_seed(0)
        G = mlp.Generator(5, (1, 4, 5), hidden=(8,)).double()
        D = nn.Sequential(nn.Flatten(), Own(critic())).double()
        optimizers = gan_adam(G.parameters()), gan_adam(D.parameters())
        step = GANStep(
            G, wrap(D), *optimizers, loss="wasserstein", paired=False,
            penalty=gradient_penalty if penalty == "gankit's" else own,
        )  # fmt: skip
        real = torch.rand(6, 1, 4, 5, dtype=torch.float64) * 2 - 1
        for _ in range(3):
            step(real)
        results.append([p.detach() for p in D.parameters()])
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-9)


def test_what_cannot_be_called_is_named() -> None:
    x = torch.randn(4, 20)
    with pytest.raises(ConfigError, match="critic is a int; allowed is a module or another call"):
        gradient_penalty(3, x, x)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'analytic' cannot be taken: critic is a function"):
        gradient_penalty(lambda x: x.sum(1), x, x, path="analytic")


@pytest.mark.parametrize("wrap", [lambda d: d, compiled, lambda d: d.forward, partial])
def test_batch_norm_is_seen_through_what_wraps_it(wrap: Any) -> None:
    x = torch.randn(4, 20)
    D = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    with pytest.warns(GankitWarning, match=r"1 \(BatchNorm1d\) is in training mode") as caught:
        gradient_penalty(wrap(D), x, x)
    assert caught[0].filename == __file__
