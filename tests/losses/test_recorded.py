"""The analytic gradient penalty of critics whose layers do not stand in a row."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses import gradient_penalty
from gankit.losses.recorded import RecordedCritic, UnsupportedError
from gankit.models import r3gan
from tests.losses.test_gradient_penalty import assert_paths_agree, learn

SHAPE = (3, 4, 8, 8)
Tail = Callable[[Tensor], Tensor]


class RandomCritic(nn.Module):
    """A random graph of linear maps and masks over images, with residual sums."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.draw = random.Random(seed)
        self.steps = [self.draw.choice(sorted(STEPS)) for _ in range(self.draw.randint(2, 6))]
        channels = SHAPE[1]
        self.layers = nn.ModuleList()
        for step in self.steps:
            layer, channels = STEPS[step][0](channels, self.draw)
            self.layers.append(layer)
        self.head = nn.Linear(channels, 1)
        self.scale = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        for step, layer in zip(self.steps, self.layers, strict=True):
            x = STEPS[step][1](layer, x)
        return self.head((x * self.scale).mean((2, 3)))


def convolution(channels: int, draw: random.Random) -> tuple[nn.Module, int]:
    groups = draw.choice([1, 2])
    out = 2 * draw.randint(1, 3)
    if channels % groups:
        groups = 1
    kernel, stride = draw.choice([(1, 1), (3, 1), (3, 2)])
    bias = draw.random() < 0.5
    padding: Any = draw.choice([kernel // 2, "same"]) if stride == 1 else 1
    return nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=bias), out


def same(kind: Callable[[int], nn.Module]) -> Callable[[int, random.Random], tuple[nn.Module, int]]:
    return lambda channels, draw: (kind(channels), channels)


def activation(channels: int, draw: random.Random) -> tuple[nn.Module, int]:
    kinds = (nn.ReLU(), nn.LeakyReLU(0.2), nn.LeakyReLU(0.1, inplace=True), nn.ReLU6(),
             nn.Hardtanh(-0.5, 0.7), nn.Dropout(0.3), nn.Dropout2d(0.3))  # fmt: skip
    return nn.Sequential(nn.Conv2d(channels, channels, 1), draw.choice(kinds)), channels


def residual(layer: nn.Module, x: Tensor) -> Tensor:
    return x + 0.7 * layer(F.leaky_relu(x, 0.2))


def smaller(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(F.avg_pool2d(x, 2)) - 1.5 if min(x.shape[2:]) >= 2 else layer(x)


def larger(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(F.interpolate(x, scale_factor=2)) if x.shape[2] <= 8 else layer(x)


def beside(layer: nn.Module, x: Tensor) -> Tensor:
    first, rest = x[:, :1], x[:, 1:]
    return torch.cat([rest, layer(x), first, torch.ones_like(first)], 1)[:, : x.shape[1]]


def turned(layer: nn.Module, x: Tensor) -> Tensor:
    y = layer(x.transpose(2, 3).flip(2))
    y += x.transpose(2, 3)
    y *= 0.8
    return -y.transpose(2, 3) / 1.5


def folded(layer: nn.Module, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return (
        layer(x.reshape(n, c * h * w).view(n, c, h, w)) * 2
        + F.pad(x, (1, 1, 1, 1))[..., 1:-1, 1:-1]
    )


def own(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)


STEPS: dict[str, tuple[Any, Any]] = {
    "convolution": (convolution, own),
    "activation": (activation, own),
    "residual": (same(lambda c: nn.Conv2d(c, c, 3, padding=1)), residual),
    "spectral": (
        same(lambda c: nn.utils.parametrizations.spectral_norm(nn.Conv2d(c, c, 3, padding=1))),
        residual,
    ),
    "smaller": (same(lambda c: nn.Conv2d(c, c, 1)), smaller),
    "larger": (same(lambda c: nn.Conv2d(c, c, 3, padding=1, padding_mode="reflect")), larger),
    "beside": (same(lambda c: nn.Conv2d(c, c, 1)), beside),
    "turned": (same(lambda c: nn.Conv2d(c, c, 1)), turned),
    "folded": (same(lambda c: nn.BatchNorm2d(c).eval()), folded),
}


@pytest.mark.parametrize("block", range(10))
def test_two_hundred_random_critics(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        torch.manual_seed(seed)
        critic = RandomCritic(seed).double()
        for module in critic.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            elif hasattr(module, "parametrizations"):
                module.eval()  # it iterates in training mode
        settings = {"mode": ("two-sided", "one-sided", "zero-centred")[seed % 3], "target": 0.2}
        assert_paths_agree(critic, SHAPE, at=("interpolates", "both")[seed % 2], **settings)


def test_r3gans_discriminator() -> None:
    torch.manual_seed(0)
    D = r3gan.Discriminator(SHAPE[1:], width=16, blocks=1, n_classes=3).double()
    for p in D.parameters():
        nn.init.normal_(p, 0.0, 0.3)
    labels = torch.tensor([0, 2, 1])
    assert_paths_agree(D, SHAPE, mode="zero-centred", at="both", critic_args=(labels,))


class Own(nn.Module):
    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.head = nn.Linear(12, 1)
        self.run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(self, x))


def in_place_of_a_view(m: Own, x: Tensor) -> Tensor:
    y = m.first(x)
    F.relu(y.view(-1), inplace=True)
    return y


class Reversed(torch.autograd.Function):
    """Its backward is not the derivative of its forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return -grad


class Hidden(torch.autograd.Function):
    """Computes without torch functions, as an extension does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(2 * x.detach().numpy())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return 2 * grad


def without_grad(m: Own, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = m.second(x)
    return m.first(x) + y


def part_of_a_constant(m: Own, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :6] = m.first(x)[:, :6]
    return y + m.second(x)


def part_of_a_value(m: Own, x: Tensor) -> Tensor:
    y = m.first(x) + 0
    y[y < 0] = 0.0
    return m.second(y)


def hooked(m: Own, x: Tensor) -> Tensor:
    y = m.first(x)
    y.register_hook(lambda grad: 2 * grad)
    return m.second(y)


def in_place_of_what_is_detached(m: Own, x: Tensor) -> Tensor:
    y = m.first(x) + 0
    detached = y.detach()
    y += 1
    return y * detached


def gradient_inside(m: Own, x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(m.first(x).relu().sum(), x, create_graph=True)
    return m.second(x) + gradient


def under_autocast(m: Own, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return m.first(x) + x


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return 2 * x


UNSUPPORTED = {
    "a function with a backward of its own": (
        lambda m, x: m.first(x) + Reversed.apply(x), r"under no_grad, or in an autograd\.Function"
    ),
    "an extension": (lambda m, x: m.first(x) + Hidden.apply(x), "no_grad|do not show"),
    "no_grad": (without_grad, "under no_grad"),
    "TorchScript": (lambda m, x: m.first(x) + scripted(x), "do not show"),
    "TorchScript last": (lambda m, x: m.first(scripted(x).detach() + scripted(x)), "do not show"),
    "a square": (lambda m, x: m.first(x) ** 2, "pow"),
    "two that depend": (lambda m, x: m.first(x) * m.second(x), "of two tensors that depend"),
    "attention": (lambda m, x: m.first(x).softmax(1), "softmax"),
    "a divisor": (lambda m, x: m.first(x) / m.second(x).abs(), "div"),
    "a norm": (lambda m, x: F.layer_norm(m.first(x), (12,)), "layer_norm"),
    "a product of matrices": (lambda m, x: x @ x.t() @ m.first(x), "matmul"),
    "rounding": (lambda m, x: m.first(x) + x.to(torch.int64), "for integers"),
    "in place of a view": (in_place_of_a_view, "of which it has views"),
    "in place of a detached": (in_place_of_what_is_detached, "of which it has views"),
    "into a constant": (part_of_a_constant, "__setitem__"),
    "into a value": (part_of_a_value, "__setitem__"),
    "a hook": (hooked, "register_hook"),
    "a gradient": (gradient_inside, "calls grad,"),
    "autocast": (under_autocast, "under an autocast of its own"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_piecewise_linear_takes_double_backward(name: str) -> None:
    torch.manual_seed(0)
    forward, words = UNSUPPORTED[name]
    critic, shape = Own(forward).double(), (5, 12)
    with pytest.raises(ConfigError, match=f"path='analytic' cannot be taken: .*{words}"):
        learn(critic, shape, path="analytic")
    for _ in range(2):  # the first time it is found out, the second time it is known
        found, plain = learn(critic, shape), learn(critic, shape, path="autograd")
        torch.testing.assert_close(found, plain, rtol=0, atol=0)


def test_what_autograd_does_not_follow_is_not_followed() -> None:
    """Masks, shapes, numbers and detached values have no gradient there either."""

    def forward(m: Own, x: Tensor) -> Tensor:
        y = m.first(x)
        y = y * (y > 0) + 0.1 * y.detach() * y.shape[1]
        if bool((y > -1e9).any()):
            y = torch.where(y.isfinite(), 1.0, 0.0) * y
        return m.second(y).clamp(-1.0, 1.0)

    torch.manual_seed(0)
    assert_paths_agree(Own(forward).double(), (5, 12))


def test_tensors_that_give_their_shape_alone() -> None:
    torch.manual_seed(0)
    critic = Own(lambda m, x: m.second(m.first(x)[:, :1].expand_as(x).view_as(x).to(x)))
    assert_paths_agree(critic.double(), (5, 12))


def test_batch_norm_of_torch_has_its_arguments_in_another_order() -> None:
    torch.manual_seed(0)
    mean, var, weight, bias = torch.rand(4, 12, dtype=torch.float64)
    critic = Own(
        lambda m, x: torch.batch_norm(
            m.first(x), weight, bias, mean, var, False, 0.1, 1e-5, False
        ).relu()
    )
    assert_paths_agree(critic.double(), (5, 12))


def test_a_graph_that_is_kept_gives_the_same_gradients_again() -> None:
    torch.manual_seed(0)
    critic = Own(lambda m, x: m.first(x).relu() + x).double()
    penalty = gradient_penalty(critic, *torch.randn(2, 5, 12).double(), path="analytic")
    first = torch.autograd.grad(penalty, critic.first.weight, retain_graph=True)
    again = torch.autograd.grad(penalty, critic.first.weight)
    assert first[0].abs().max() > 0
    assert torch.equal(first[0], again[0])


def test_large_constants_cost_no_precision() -> None:
    torch.manual_seed(0)
    critic = Own(lambda m, x: m.second((2000.0 - (m.first(x) + 1000.0)).relu()))
    real, fake = torch.randn(2, 5, 12)
    grads = []
    for path in ("analytic", "autograd"):
        critic.zero_grad()
        gradient_penalty(
            critic, real, fake, weight=1e-3, seed=torch.tensor([1]), path=path
        ).backward()
        grads.append(critic.second.weight.grad)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=0)


def test_a_factor_that_was_modified_since_is_an_error() -> None:
    """As in autograd: the derivative is no longer that of what was computed."""
    torch.manual_seed(0)
    factor = torch.ones(12)
    critic = Own(lambda m, x: m.second(m.first(x) * factor))
    penalty = gradient_penalty(critic, *torch.randn(2, 5, 12), path="analytic")
    factor += 1
    with pytest.raises(RuntimeError, match="modified in place since"):
        penalty.backward()


class Counting(nn.Module):
    """Dropout, a buffer that counts, and something that is not piecewise linear."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(12, 12), nn.Linear(12, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(torch.tanh(F.dropout(self.body(x), 0.5)))


def test_a_trial_leaves_no_trace() -> None:
    torch.manual_seed(0)
    critic = Counting().double()
    plain = learn(critic, (5, 12), path="autograd")
    state = torch.get_rng_state()
    assert critic.calls == 1
    found = learn(critic, (5, 12))
    assert critic.calls == 2
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_critic_that_stops_training_is_looked_at_again() -> None:
    critic = nn.Sequential(Own(lambda m, x: m.first(x)), nn.BatchNorm1d(1)).double()
    with (
        pytest.warns(UserWarning, match="BatchNorm1d"),
        pytest.raises(ConfigError, match="batch_norm in training mode"),
    ):
        learn(critic, (5, 12), path="analytic")
    critic.eval()
    assert_paths_agree(critic, (5, 12))


def test_the_output_must_depend_on_the_input() -> None:
    with pytest.raises(UnsupportedError, match="does not depend on its input"):
        RecordedCritic(Own(lambda m, x: torch.ones(5, 12)), torch.randn(5, 12))
    with pytest.raises(UnsupportedError, match="returns a tuple"):
        RecordedCritic(Pair(), torch.randn(5, 12))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return x, x


def test_bfloat16_and_float32() -> None:
    torch.manual_seed(0)
    critic = r3gan.Discriminator((3, 8, 8), width=16, blocks=1)
    for p in critic.parameters():
        nn.init.normal_(p, 0.0, 0.2)
    real, fake = torch.randn(2, 4, 3, 8, 8)
    seed = torch.tensor([1])
    wanted = gradient_penalty(critic, real, fake, seed=seed, path="autograd")
    found = gradient_penalty(critic, real, fake, seed=seed, path="analytic")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    half = gradient_penalty(critic, real.bfloat16(), fake.bfloat16(), seed=seed, path="analytic")
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, wanted, rtol=0.05, atol=0.05)
