"""Optimizers that take one fused step: the same numbers as plain ones, whatever they are given."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import gankit
from gankit.training import gan_adam

KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "SGD": torch.optim.SGD,
    "SGD, momentum": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


class FusedSteps(TorchDispatchMode):
    """Counts the fused kernels that run inside."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_fused_" in str(func)
        return func(*args, **(kwargs or {}))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(80, 7), nn.Linear(7, 1)
    )


def images() -> Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


class Pair:
    """A plain optimizer and an accelerated one over equal parameters."""

    def __init__(self, kind: str, *parameters: Tensor, lr: float = 0.1) -> None:
        self.plain = [nn.Parameter(p.clone()) for p in parameters]
        self.ours = [nn.Parameter(p.clone()) for p in parameters]
        self.optimizers = [KINDS[kind](list(p), lr=lr) for p in (self.plain, self.ours)]
        assert gankit.accelerate(self.optimizers[1]).optimizers == 1

    def __iter__(self) -> Iterator[tuple[list[nn.Parameter], torch.optim.Optimizer]]:
        return iter(zip((self.plain, self.ours), self.optimizers, strict=True))

    def check(self) -> None:
        for a, b in zip(self.ours, self.plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@every_kind
def test_the_fused_step_is_taken_and_given_back(kind: str) -> None:
    plain = network().double()
    ours = copy.deepcopy(plain)
    optimizers = [KINDS[kind](n.parameters(), lr=0.01) for n in (plain, ours)]
    x = images().double()
    for step in range(6):
        if step == 2:
            assert gankit.accelerate(optimizers[1]).optimizers == 1
            assert gankit.accelerate(optimizers[1]).optimizers == 1  # as it is already
        if step == 4:
            gankit.restore(optimizers[1])
            assert not optimizers[1]._optimizer_step_pre_hooks
            assert not optimizers[1]._optimizer_step_post_hooks
        for net, optimizer in zip((plain, ours), optimizers, strict=True):
            optimizer.zero_grad()
            net(x).sum().backward()
            with FusedSteps() as fused:
                optimizer.step()
            assert fused.count == (net is ours and step in (2, 3))
            assert optimizer.param_groups[0]["fused"] is None
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"fused": False}, {"foreach": True}, {"foreach": False}, {"differentiable": True}]
)
def test_a_choice_of_the_script_stays(options: dict[str, bool]) -> None:
    optimizer = torch.optim.Adam(network().parameters(), **options)
    before = dict(optimizer.param_groups[0])
    report = gankit.accelerate(optimizer)
    assert report.optimizers == 0
    assert f"chose {next(iter(options))}" in report.rows[0].reason
    gankit.restore(optimizer)
    assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == {
        k: v for k, v in before.items() if k != "params"
    }
    assert not optimizer._optimizer_step_pre_hooks
    tensor_lr = torch.optim.Adam(network().parameters(), lr=torch.tensor(0.1))
    assert "learning rate is a tensor" in gankit.accelerate(tensor_lr).rows[0].reason
    assert gankit.accelerate(torch.optim.RMSprop(network().parameters())).optimizers == 0


def test_sparse_gradients_take_torchs_plain_step() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.5)
    assert gankit.accelerate(optimizer).optimizers == 1
    before = table.weight.detach().clone()
    table(torch.tensor([1])).sum().backward()
    optimizer.step()
    before[1] -= 0.5
    torch.testing.assert_close(table.weight.detach(), before)


@every_kind
@pytest.mark.parametrize("lie", ["expanded", "channels last", "transposed"])
def test_gradients_that_lie_otherwise(kind: str, lie: str) -> None:
    weight = torch.randn(4, 3, 2, 2)
    pair = Pair(kind, weight)
    for step in range(3):
        grad = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(step))
        if lie == "expanded":
            grad = grad[:1, :1, :1, :1].expand(4, 3, 2, 2)
        elif lie == "channels last":
            grad = grad.contiguous(memory_format=torch.channels_last)
        else:
            grad = grad.transpose(2, 3)
        for (p,), optimizer in pair:
            p.grad = grad
            with FusedSteps() as fused:
                optimizer.step()
            assert fused.count == 0
    pair.check()


@every_kind
@pytest.mark.parametrize("shape", [(16, 8, 1, 1), (8, 1, 3, 3), (1, 8, 3, 3), (6, 4, 3, 1), (1,)])
def test_strides_of_dimensions_of_one_element_do_not_matter(
    kind: str, shape: tuple[int, ...]
) -> None:
    pair = Pair(kind, torch.ones(shape))
    strides = [7 if n == 1 else s for n, s in zip(shape, torch.ones(shape).stride(), strict=True)]
    for step in range(2):
        values = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        for (p,), optimizer in pair:
            p.grad = values.clone().as_strided(shape, strides)
            with FusedSteps() as fused:
                optimizer.step()
            assert fused.count == (optimizer is pair.optimizers[1])
    pair.check()


@every_kind
def test_state_that_lies_otherwise(kind: str) -> None:
    pair = Pair(kind, torch.randn(4, 3, 2, 2))
    for step in range(4):
        for (p,), optimizer in pair:
            if step == 2:
                p.data = p.data.contiguous(memory_format=torch.channels_last)
            p.grad = torch.empty_like(p).copy_(torch.full((4, 3, 2, 2), 0.1).cumsum(1).cumsum(3))
            optimizer.step()
    pair.check()


@every_kind
def test_parameters_with_gaps_leave_their_neighbours_alone(kind: str) -> None:
    big = torch.randn(6, 10)
    results = []
    for accelerated in (False, True):
        storage = big.clone()
        p = nn.Parameter(storage[:, :5])
        optimizer = KINDS[kind]([p], lr=0.1)
        if accelerated:
            gankit.accelerate(optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()
        assert torch.equal(storage[:, 5:], big[:, 5:])
        results.append(p.detach().clone())
    torch.testing.assert_close(*results)


@every_kind
def test_parameters_that_join_later(kind: str) -> None:
    pair = Pair(kind, torch.ones(3), torch.ones(3))
    for step in range(4):
        for (a, b), optimizer in pair:
            optimizer.zero_grad()
            (a.sum() + (b.sum() if step > 1 else 0)).backward()  # unfrozen
            if step == 3:
                late = nn.Parameter(torch.ones(2, dtype=torch.complex64))
                late.grad = torch.ones_like(late)
                optimizer.add_param_group({"params": [late], "lr": 0.5})
            optimizer.step()
    pair.check()


@every_kind
def test_checkpoints_are_those_of_plain_optimizers(kind: str) -> None:
    pair = Pair(kind, torch.ones(3), torch.ones(2, 2))

    def step_both() -> None:
        for parameters, optimizer in pair:
            for p in parameters:
                p.grad = torch.full_like(p, 0.3)
            optimizer.step()

    step_both()
    plain, ours = (optimizer.state_dict() for optimizer in pair.optimizers)
    assert ours["param_groups"] == plain["param_groups"]
    pair.optimizers[1].load_state_dict(plain)
    pair.optimizers[0].load_state_dict(ours)
    with FusedSteps() as fused:
        step_both()
    assert fused.count == 1  # the fused step goes on after a load
    copied = copy.deepcopy(pair.optimizers[1])
    assert not copied._optimizer_step_pre_hooks
    pair.check()


@every_kind
def test_loss_scaling(kind: str) -> None:
    pair = Pair(kind, torch.ones(3))
    scalers = [torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2) for _ in range(2)]
    for step in range(5):
        for ((p,), optimizer), scaler in zip(pair, scalers, strict=True):
            if step == 1:
                optimizer.load_state_dict(optimizer.state_dict())
            optimizer.zero_grad()
            scaler.scale((p * (float("inf") if step == 2 else 1.0)).square().sum()).backward()
            scaler.step(optimizer)
            scaler.update()
    assert scalers[0].get_scale() == scalers[1].get_scale()
    pair.check()


@every_kind
def test_closures_schedules_and_failed_steps(kind: str) -> None:
    pair = Pair(kind, torch.ones(3))
    schedules = [torch.optim.lr_scheduler.StepLR(o, 1, 0.5) for o in pair.optimizers]
    for step in range(4):
        for ((p,), optimizer), schedule in zip(pair, schedules, strict=True):

            def closure(p: nn.Parameter = p, o: torch.optim.Optimizer = optimizer) -> Tensor:
                o.zero_grad()
                loss = p.square().sum()
                loss.backward()
                return loss

            def fail() -> float:
                raise KeyError("mine")

            with FusedSteps() as fused:
                loss = optimizer.step(closure) if step % 2 else optimizer.step(closure=closure)
            assert fused.count == (optimizer is pair.optimizers[1])
            assert loss is not None
            with pytest.raises(KeyError, match="mine"):
                optimizer.step(fail)
            assert optimizer.param_groups[0]["fused"] is None
            schedule.step()
    pair.check()


@every_kind
@pytest.mark.parametrize("joins", ["first", "in a group of its own", "in another's list"])
def test_a_parameter_that_is_there_twice_is_updated_twice(kind: str, joins: str) -> None:
    twins = []
    for accelerated in (False, True):
        a, b = nn.Parameter(torch.full((3,), 0.7).double()), nn.Parameter(torch.ones(2).double())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of it, and goes on
            optimizer = KINDS[kind]([a, b, a] if joins == "first" else [a, b], lr=0.1)
        if accelerated:
            report = gankit.accelerate(optimizer)
            assert report.optimizers == (joins != "first")
            assert ("twice" in report.rows[0].reason) is (joins == "first")
        for step in range(4):
            a.grad, b.grad = a.detach() * (step + 1), torch.ones_like(b)
            if step == 1 and joins == "in another's list":
                optimizer.param_groups[0]["params"].append(a)
            elif step == 1 and joins == "in a group of its own":
                group = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
                optimizer.param_groups.append({**group, "params": [a]})
            with FusedSteps() as fused:
                optimizer.step()
            assert fused.count == (accelerated and joins != "first" and step == 0)
        twins.append(a.detach())
    torch.testing.assert_close(*twins, rtol=1e-12, atol=1e-14)


def test_gan_adam_updates_a_parameter_twice_that_is_there_twice() -> None:
    results = []
    for build in (gan_adam, lambda p: torch.optim.Adam(p, 2e-4, (0.5, 0.999))):
        a = nn.Parameter(torch.full((3,), 0.7).double())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = build([a, a])
        for step in range(3):
            a.grad = a.detach() * (step + 1)
            optimizer.step()
        results.append(a.detach())
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


def test_steps_that_are_counted_in_one_tensor() -> None:
    # Each plain update counts on from the one before it.
    pair = Pair("Adam", torch.ones(3), torch.ones(3))
    for (a, b), optimizer in pair:
        count = torch.tensor(0.0)
        for p in (a, b):
            optimizer.state[p] = {"step": count}
            optimizer.state[p].update({k: torch.zeros(3) for k in ("exp_avg", "exp_avg_sq")})
        for _ in range(3):
            a.grad = b.grad = torch.tensor([0.1, -2.0, 3.0])
            optimizer.step()
    pair.check()


def unusual(how: str, grad: Tensor) -> Tensor:
    if how == "negated":
        return torch._neg_view(-grad)
    if how == "zeros":
        return torch._efficientzerotensor(grad.shape)
    return grad.transpose(0, 1).contiguous().transpose(0, 1)


@every_kind
@pytest.mark.parametrize("how", ["negated", "zeros", "transposed"])
def test_gradients_that_a_later_hook_puts_there(kind: str, how: str) -> None:
    pair = Pair(kind, torch.randn(3, 4))

    def replace(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for p in optimizer.param_groups[0]["params"]:
            p.grad = unusual(how, p.grad)

    for (p,), optimizer in pair:
        optimizer.register_step_pre_hook(replace)
        for _ in range(2):
            p.grad = torch.arange(12.0).view(3, 4)
            with FusedSteps() as fused:
                optimizer.step()
            assert fused.count == 0
    pair.check()


def test_hooks_after_a_step_find_no_choice() -> None:
    found = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        found.append(optimizer.state_dict()["param_groups"][0]["fused"])

    p = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([p])
    optimizer.register_step_post_hook(look)
    gankit.accelerate(optimizer)
    optimizer.register_step_post_hook(look)
    p.grad = torch.ones(3)
    with FusedSteps() as fused:
        optimizer.step()
    assert (fused.count, found) == (1, [None, None])


class Labelled(nn.Parameter):
    """A parameter of somebody's own class."""


@pytest.mark.parametrize(
    ("parameter", "options", "reason"),
    [
        (lambda: nn.Parameter(torch.ones(3).half()), {}, "float16"),
        (lambda: Labelled(torch.ones(3)), {}, "Labelled"),
        (lambda: nn.Parameter(torch.ones(3, 4)[:, :2]), {}, "gaps"),
        (lambda: nn.Parameter(torch.ones(3)), {"amsgrad": True}, "amsgrad"),
    ],
)
def test_what_the_kernel_computes_otherwise_stays_plain(
    parameter: Callable[[], nn.Parameter], options: dict[str, Any], reason: str
) -> None:
    results = []
    for accelerated in (False, True):
        p = parameter()
        optimizer = torch.optim.Adam([p], lr=0.1, **options)
        if accelerated:
            assert reason in gankit.accelerate(optimizer).rows[0].reason
            assert gankit.accelerate(optimizer).optimizers == 0
        for step in range(2):
            p.grad = torch.full_like(p, 1000.0 if step else math.nan)
            optimizer.step()
        results.append([p.detach(), *optimizer.state[p].values()])
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


def test_steps_counted_in_double_precision() -> None:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        pair = Pair("Adam", torch.ones(3))
        gankit.restore(pair.optimizers[1])
        for step in range(3):
            if step == 1:
                gankit.accelerate(pair.optimizers[1])
            for (p,), optimizer in pair:
                p.grad = torch.ones(3)
                with FusedSteps() as fused:
                    optimizer.step()
                assert fused.count == (optimizer is pair.optimizers[1] and step > 0)
        pair.check()
    finally:
        torch.set_default_dtype(default)


def versions(optimizer: torch.optim.Optimizer) -> list[int]:
    group = optimizer.param_groups[0]["params"]
    states = [v for p in group for v in optimizer.state.get(p, {}).values()]
    return [t._version for t in (*group, *states) if isinstance(t, Tensor)]


@every_kind
@pytest.mark.parametrize("build", ["accelerated", "gan_adam"])
def test_versions_move_where_those_of_a_plain_step_do(kind: str, build: str) -> None:
    if build == "gan_adam" and kind != "Adam":
        pytest.skip("gan_adam is Adam")
    pair = Pair(kind, torch.ones(3), torch.ones(2), torch.ones(0, 4))
    if build == "gan_adam":
        pair.optimizers[1] = gan_adam(pair.ours, lr=0.1, betas=(0.9, 0.999))
    for step in range(4):
        moved = []
        for parameters, optimizer in pair:
            for p in parameters:
                p.grad = torch.ones_like(p)
            if step == 3:
                parameters[0].grad = None  # it stays, and so may be used by a backward
            before = versions(optimizer)
            with FusedSteps() as fused:
                optimizer.step()
            assert fused.count == (optimizer is pair.optimizers[1])
            moved.append([a != b for a, b in zip(versions(optimizer), before, strict=False)])
        assert moved[0] == moved[1]
        assert True in moved[0]
    assert moved[0][0] is False


@every_kind
def test_a_backward_through_the_weights_of_before_a_step_is_refused(kind: str) -> None:
    torch.manual_seed(0)
    G, D = nn.Linear(8, 4), nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    builds = [KINDS[kind], KINDS[kind], lambda p, lr: gan_adam(p, lr)]
    for accelerated, build in zip((False, True, False), builds, strict=True):
        optimizer = build(D.parameters(), lr=0.01)
        if accelerated:
            gankit.accelerate(G, D, optimizer)
        x = torch.randn(5, 8)
        output = D(G(x))
        (-output.mean()).backward(retain_graph=True)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.mean().backward()
        D(G(x)).mean().backward()
