"""run_linear_stack: what the modules give, to the bit, in one node of autograd's graph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gankit
from gankit.nn import LeakyReLUDropout, Linear
from gankit.nn.linear_stack import run_linear_stack


def critic(p: float = 0.5, end: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Linear(784, 300),
        LeakyReLUDropout(0.2, p),
        nn.Identity(),
        nn.Linear(300, 120, bias=False),
        LeakyReLUDropout(0.1, 0.3),
        Linear(120, 90),
        nn.LeakyReLU(0.2),
        Linear(90, 1),
        end if end is not None else nn.Sigmoid(),
    )


def generator() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        Linear(784, 256), nn.LeakyReLU(0.2, inplace=True), Linear(256, 300), nn.Tanh()
    )


Run = Callable[[nn.Sequential, Tensor], Tensor]


def plain(layers: nn.Sequential, x: Tensor) -> Tensor:
    result: Tensor = layers(x)
    return result


def results(run: Run, layers: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Output, the gradients that are asked for, and torch's random state afterwards."""
    torch.manual_seed(3)
    x = x.detach().clone().requires_grad_(x.requires_grad)
    y = run(layers, x)
    asked = [t for t in (x, *layers.parameters()) if t.requires_grad]
    grads = torch.autograd.grad(y.square().sum(), asked) if asked else ()
    return [y, *grads, torch.get_rng_state()]


def assert_same(layers: nn.Sequential, x: Tensor) -> None:
    both = (results(run, layers, x) for run in (run_linear_stack, plain))
    for found, wanted in zip(*both, strict=True):
        assert torch.equal(found, wanted)


def is_one_node(y: Tensor) -> bool:
    return y.grad_fn is not None and "Stack" in y.grad_fn.name()


@pytest.mark.parametrize("make", [critic, generator, lambda: critic(0.0), lambda: critic(1.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [0, 1, 60])
@pytest.mark.parametrize("training", [True, False])
def test_the_same_bits_and_draws(
    make: Callable[[], nn.Sequential], dtype: torch.dtype, rows: int, training: bool
) -> None:
    layers = make().to(dtype).train(training)
    x = torch.randn(rows, 784, dtype=dtype)
    assert is_one_node(run_linear_stack(layers, x))
    for needed in (True, False):
        assert_same(layers, x.requires_grad_(needed))
    with torch.no_grad():
        assert_same(layers.requires_grad_(False), x.detach())


def test_only_what_is_asked_for() -> None:
    layers, x = critic(), torch.randn(60, 784)
    parameters = list(layers.parameters())
    for learning in ([], [0], [1], [2], [4], [0, 6], [5, 6]):
        for i, parameter in enumerate(parameters):
            parameter.requires_grad_(i in learning)
        assert_same(layers, x.requires_grad_(True))
        assert_same(layers, x.requires_grad_(False))


def test_gradients_as_autograd_hands_them_over() -> None:
    for layers in (critic(), generator()):
        grads = []
        for run in (run_linear_stack, plain):
            torch.manual_seed(5)
            y = run(layers, torch.ones(60, 784))
            grads.append(torch.autograd.grad(y.sum(), list(layers.parameters())))
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("end", [nn.Identity(), nn.Tanh(), nn.Sigmoid()], ids=repr)
def test_second_derivatives(end: nn.Module) -> None:
    """Those of a gradient penalty and of all inputs, against the modules."""
    layers, x = critic(end=end).double(), torch.randn(8, 784, dtype=torch.float64)
    found = []
    for run in (run_linear_stack, plain):
        torch.manual_seed(5)
        x = x.detach().requires_grad_()
        inputs = [x, *layers.parameters()]
        y = run(layers, x)
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        penalty = first[0].norm(dim=1).sub(1).square().sum() + first[1].square().sum()
        second = torch.autograd.grad(penalty, inputs, create_graph=True)
        third = torch.autograd.grad(second[0].square().sum(), inputs[1:])
        found.append((*first, *second, *third))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(
        Linear(3, 4), LeakyReLUDropout(0.2, 0.5), Linear(4, 3), nn.LeakyReLU(0.2), Linear(3, 2),
        nn.Tanh(),
    ).double()  # fmt: skip

    def run(x: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(3)
        return run_linear_stack(layers, x)

    inputs = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True), *layers.parameters())
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


class Mine(nn.Linear):
    pass


@pytest.mark.parametrize(
    "layers",
    [
        nn.Sequential(Linear(6, 5), nn.ReLU()),
        nn.Sequential(Mine(6, 5), nn.Tanh()),
        nn.Sequential(nn.Tanh(), Linear(6, 5)),
        nn.Sequential(Linear(6, 5), nn.Tanh(), nn.LeakyReLU(0.2)),
        nn.Sequential(nn.Sequential(Linear(6, 5)), nn.Tanh()),
        nn.Sequential(nn.utils.parametrizations.spectral_norm(Linear(6, 5)).eval(), nn.Tanh()),
        nn.Sequential(nn.LeakyReLU(0.2)),
        nn.Sequential(),
    ],
    ids=["relu", "subclass", "first", "twice", "nested", "spectral norm", "no linear", "empty"],
)
def test_unknown_layers_run_as_modules(layers: nn.Sequential) -> None:
    x = torch.randn(4, 6, requires_grad=True)
    assert not is_one_node(run_linear_stack(layers, x))
    assert_same(layers, x)


def test_hooks_and_patches_are_heard() -> None:
    x, heard = torch.randn(4, 784), []

    def hear(*_: object) -> None:
        heard.append(1)

    for place in (0, 1, 2, 7, None):
        layers = critic()
        module = layers if place is None else layers[place]
        for register in (module.register_forward_hook, module.register_forward_pre_hook):
            heard.clear()
            handle = register(hear)
            run_linear_stack(layers, x)
            assert heard == [1]
            handle.remove()
        assert is_one_node(run_linear_stack(layers, x))
    handle = nn.modules.module.register_module_forward_hook(hear)
    heard.clear()
    run_linear_stack(critic(), x)
    handle.remove()
    assert len(heard) > 5
    layers = critic()
    layers[3].forward = lambda h: h[:, :120] * 0  # type: ignore[method-assign]
    assert torch.equal(run_linear_stack(layers.eval(), x), layers(x))


def test_modes_and_transforms() -> None:
    layers, x = critic().eval(), torch.randn(8, 784)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run_linear_stack(layers, x).dtype == torch.bfloat16
    with gankit.backend("reference"):
        assert_same(layers, x)
    wanted = layers(x)
    batched = torch.func.vmap(lambda row: run_linear_stack(layers, row))(x.view(4, 2, 784))
    torch.testing.assert_close(batched.flatten(0, 1), wanted)
    grad = torch.func.grad(lambda x: run_linear_stack(layers, x).sum())(x)
    torch.testing.assert_close(grad, torch.func.grad(lambda x: layers(x).sum())(x))
    _, tangent = torch.func.jvp(lambda x: run_linear_stack(layers, x).sum(), (x,), (x,))
    assert abs(tangent - (grad * x).sum()) < 1e-4
    torch._dynamo.reset()
    compiled = torch.compile(run_linear_stack, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(layers, x), wanted)
    for other in (x.view(2, 4, 784), x.to("meta")):
        assert run_linear_stack(layers.to(other.device), other).shape == (*other.shape[:-1], 1)


@pytest.mark.parametrize(
    "x",
    [torch.randn(4, 783), torch.randn(4, 784).double(), torch.randn(3)],
    ids=["inputs", "dtype", "vector"],
)
def test_errors_are_the_modules(x: Tensor) -> None:
    with pytest.raises(RuntimeError) as theirs:
        critic()(x)
    with pytest.raises(RuntimeError) as ours:
        run_linear_stack(critic(), x)
    assert str(ours.value) == str(theirs.value)


def test_changes_before_backward_are_noticed() -> None:
    layers, x = critic(), torch.randn(4, 784)
    y = run_linear_stack(layers, x)
    with torch.no_grad():
        layers[0].weight.mul_(2)
        layers[7].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = run_linear_stack(layers, x)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
