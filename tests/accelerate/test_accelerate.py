"""``gankit.accelerate``: what it changes, what it leaves alone, what it says."""

from __future__ import annotations

import copy
import io
import json
import pickle
from typing import Any

import pytest
import torch
import torch.nn.modules.module as module_globals
from torch import Tensor, nn

import gankit
from gankit.acceleration import patterns
from gankit.acceleration.patterns import linear_objection
from gankit.acceleration.run import served
from tests.accelerate.networks import (
    Nested,
    dcgan_discriminator,
    dcgan_generator,
    mlp_discriminator,
)

needs_kernels = pytest.mark.skipif(not served("cpu"), reason="only the reference backend is here")


def gradients(network: nn.Module, x: Tensor) -> list[Tensor]:
    y = network(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), list(network.parameters()))]


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: mlp_discriminator(0.0), (6, 20)),
        (dcgan_generator, (6, 8, 1, 1)),
        (lambda: dcgan_discriminator(0.0), (6, 3, 16, 16)),
        (Nested, (2, 3, 8, 8)),
    ],
)
def test_the_same_numbers(
    build: object, shape: tuple[int, ...], training: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    plain = build().to(dtype).train(training)  # type: ignore[operator]
    ours = copy.deepcopy(plain)
    report = gankit.accelerate(ours)
    assert report.counts
    x = torch.randn(shape, dtype=dtype)
    found, expected = gradients(ours, x), gradients(plain, x)
    # Some gradients, such as a bias's before a normalisation, are zero but for rounding.
    scale = max(1.0, *(b.abs().max().item() for b in expected))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=tolerance * scale)
    assert ours(x).stride() == plain(x).stride()
    for a, b in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@needs_kernels
def test_only_exact_sequentials_change_and_restore_gives_them_back() -> None:
    class Mine(nn.Sequential):
        pass

    network = nn.ModuleDict({"a": mlp_discriminator(), "b": Mine(nn.Linear(2, 2)), "c": Nested()})
    classes = [type(m) for m in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    tensors = [id(p) for p in network.parameters()]
    dicts = [set(vars(m)) for m in network.modules()]
    words = repr(network)
    report = gankit.accelerate(network)
    assert report.sequentials == 3
    changed = [type(m) for m in network.modules()]
    assert [a is b for a, b in zip(classes, changed, strict=True)].count(False) == 3
    assert [c.__name__ for c in changed] == [c.__name__ for c in classes]
    assert all(isinstance(m, c) for m, c in zip(network.modules(), classes, strict=True))
    assert repr(network) == words
    assert [set(vars(m)) for m in network.modules()] == dicts
    assert [id(p) for p in network.parameters()] == tensors
    assert list(network.state_dict()) == list(state)
    assert any(row.module == "0.b" and "subclass" in row.reason for row in report.rows)
    assert gankit.accelerate(network).sequentials == 3  # again changes nothing
    gankit.restore(network)
    assert [type(m) for m in network.modules()] == classes


@needs_kernels
def test_the_report_says_what_and_why() -> None:
    network = dcgan_discriminator()
    network[0].register_forward_hook(lambda *_: None)
    report = gankit.accelerate(network, torch.optim.Adam(network.parameters()))
    told = report.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["counts"] == {
        "batch_norm_act": 2,
        "fused Adam": 1,
        "leaky_relu_dropout": 3,
        "linear": 1,
    }
    rows = {row["module"]: row for row in told["rows"]}
    assert "hooks" in rows["0.0"]["reason"]
    assert "in place" in rows["0.1"]["reason"]  # the hook may keep what it was shown
    assert rows["0.4-5"]["layers"] == ["LeakyReLU", "Dropout2d"]
    text = str(report)
    assert text.count("\n") == len(told["rows"]) + 1
    assert "0.4-5" in text
    network.eval()
    assert "leaky_relu_dropout" not in gankit.accelerate(network).counts


class Calls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.main = nn.BatchNorm2d(3), nn.Sequential(nn.Linear(2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(x))


@needs_kernels
def test_reasons_are_the_true_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "linear_objection", linear_objection)
    monkeypatch.setattr(patterns, "_WHY_NOT_ONEDNN", "")
    dropout = nn.Dropout(0.5)
    dropout.register_forward_hook(lambda *_: None)
    layers = [
        (nn.ConvTranspose2d(4, 4, 4, groups=2), "settings are not the op's: groups"),
        (nn.ConvTranspose2d(4, 8, 4, padding=1), "torch's convolution is the fastest"),
        (nn.LeakyReLU(-0.2), "its slope is not"),
        (nn.Dropout(0.5), ""),
        (nn.LeakyReLU(0.2), "the dropout behind it is off"),
        (nn.Dropout(0.0), "changes nothing"),
        (nn.LeakyReLU(0.2), "the dropout behind it has hooks"),
        (dropout, "it has hooks"),
        (nn.LeakyReLU(0.2), "no dropout follows"),
        (gankit.nn.LeakyReLUDropout(), "gankit's own"),
        (nn.Linear(4, 4).double(), "but for float32 on the CPU"),
        (nn.Linear(4, 4), ""),
        (nn.Softplus(), "no op replaces this layer"),
    ]
    rows = gankit.accelerate(nn.Sequential(*(layer for layer, _ in layers))).rows
    for row, (layer, words) in zip(rows, layers, strict=True):
        assert row.layers == (type(layer).__name__,)
        assert words in row.reason
        assert bool(row.fused) is not bool(words)
    monkeypatch.setattr(patterns, "_WHY_NOT_ONEDNN", "MKL is fast on this processor")
    (row,) = gankit.accelerate(nn.Sequential(nn.Linear(4, 4))).rows
    assert row.reason == "torch's own product is taken: MKL is fast on this processor"


class Residual(Calls):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class Mine(nn.Sequential):
    pass


@needs_kernels
@pytest.mark.parametrize("trace", [False, True])
def test_no_module_is_listed_twice(trace: bool) -> None:
    shared = Calls()
    network = nn.Sequential(Calls(), Residual(), Mine(nn.ReLU(), nn.Linear(2, 2)), shared)
    for report in (
        gankit.accelerate(network, network, shared, trace=trace),
        gankit.accelerate(nn.ModuleList([network, shared]), trace=trace),
    ):
        places = [row.module for row in report.rows]
        assert len(set(places)) == len(places)
        rows = {row.module.removeprefix("0."): row for row in report.rows}
        told = [row for place, row in rows.items() if "Residual" in row.layers]
        assert [("calls its layers itself" in row.reason) for row in told] == [not trace]
        assert sum("Calls" in row.layers for row in report.rows) == (0 if trace else 2)


@needs_kernels
def test_long_reports_are_short() -> None:
    blocks = [nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Softplus()) for _ in range(9)]
    report = gankit.accelerate(nn.Sequential(*blocks, gankit.nn.LeakyReLUDropout()))
    lines = str(report).splitlines()
    assert lines[0] == "10 Sequential, 0 optimizer(s); fused: batch_norm_act 9"
    assert len(report.rows) == 28
    assert [line.split("  ")[0] for line in lines[1:]] == [
        *("module", "0.9", "0.0.0 and 8 more", "0.0.1 and 8 more", "0.0.2 and 8 more"),
    ]
    assert lines[2].endswith("  it is gankit's own, and calls its op itself")
    assert repr(report) == str(report)
    shown = report._repr_html_()
    assert shown.count("<tr>") == 5
    assert "gankit&#x27;s own" in shown


@needs_kernels
def test_layers_that_a_module_calls_itself_are_mentioned_once_and_again() -> None:
    network = Calls()
    assert gankit.accelerate(network).rows[-1].reason.startswith("it calls its layers itself")
    first = gankit.accelerate(network, trace=True)
    assert first.counts["batch_norm_act"] == 1
    assert gankit.accelerate(network, trace=True) == first
    assert gankit.accelerate(network) == first
    moved = gankit.accelerate(nn.ModuleDict({"g": network}))
    assert [row.module for row in moved.rows] == ["0.g.main.0", "0.g.norm-relu"]
    gankit.restore(network)
    assert "batch_norm_act" not in gankit.accelerate(network).counts


def test_the_reference_backend_leaves_everything_alone() -> None:
    network = mlp_discriminator()
    with gankit.backend("reference"):
        report = gankit.accelerate(network)
        assert type(network) is nn.Sequential
        assert report.sequentials == 0
        assert "no fused kernels" in report.rows[0].reason


def test_other_targets_are_refused() -> None:
    for call in (gankit.accelerate, gankit.restore):
        with pytest.raises(TypeError, match="expected modules and optimizers, got Tensor"):
            call(torch.zeros(1))  # type: ignore[arg-type]


@needs_kernels
def test_hooks_before_and_after_see_what_they_would() -> None:
    torch.manual_seed(0)
    plain = dcgan_discriminator(0.0)
    ours = copy.deepcopy(plain)
    seen: dict[str, list[Tensor]] = {"plain": [], "ours": []}

    def watch(name: str) -> object:
        return lambda module, inputs, output: seen[name].append(output.detach().clone())

    for name, network in (("plain", plain), ("ours", ours)):
        network[1].register_forward_hook(watch(name))  # before
    gankit.accelerate(ours)
    for name, network in (("plain", plain), ("ours", ours)):
        network[6].register_forward_hook(watch(name))  # after
        network[2].register_full_backward_hook(lambda module, grads, outs: None)
        network.register_forward_hook(watch(name))
    x = torch.randn(4, 3, 16, 16)
    for network in (plain, ours):
        network(x).sum().backward()
    assert len(seen["plain"]) == 3
    for a, b in zip(seen["ours"], seen["plain"], strict=True):
        assert a.stride() == b.stride()
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@needs_kernels
def test_global_hooks_see_every_layer() -> None:
    network = mlp_discriminator()
    gankit.accelerate(network)
    called: list[str] = []
    handle = module_globals.register_module_forward_hook(
        lambda module, inputs, output: called.append(type(module).__name__)
    )
    try:
        network(torch.randn(2, 20))
    finally:
        handle.remove()
    assert called == [type(m).__name__ for m in network] + ["Sequential"]


@needs_kernels
def test_in_place_leaky_relu_and_dropout_can_be_differentiated() -> None:
    network = mlp_discriminator(0.5, inplace=True)
    gankit.accelerate(network)
    network(torch.randn(4, 20)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@needs_kernels
def test_in_place_on_the_callers_tensor_is_honoured() -> None:
    network = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.5, inplace=True))
    gankit.accelerate(network)
    x = torch.randn(100)
    y = network(x)
    assert y.data_ptr() == x.data_ptr()
    assert bool((x == 0).any())


@needs_kernels
@pytest.mark.parametrize(
    "tail",
    [
        [nn.LeakyReLU(0.2), nn.Dropout(0.5)],
        [nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Identity()],
        [nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Flatten()],
        [nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Sequential()],
        [nn.BatchNorm1d(8), nn.ReLU()],
        [nn.Linear(8, 8)],
    ],
)
def test_the_result_may_be_modified(tail: list[nn.Module]) -> None:
    network = nn.Sequential(nn.Linear(8, 8), *tail)
    gankit.accelerate(network)
    skip = torch.randn(4, 8)
    y = network(torch.randn(4, 8))
    y += skip
    y.sum().backward()


@needs_kernels
def test_masks_are_independent_and_of_the_right_rate() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Identity(), nn.Dropout(0.3))
    gankit.accelerate(network)
    x = torch.ones(400, 500)
    y = network(x)
    kept = (y != 0).float()
    n = x.numel()
    rate = 0.7 * 0.7
    assert abs(kept.mean().item() - rate) < 5 * (rate * (1 - rate) / n) ** 0.5
    assert abs(y.mean().item() - 1.0) < 0.02
    again = (network(x) != 0).float()
    both = (kept * again).mean().item()
    assert abs(both - rate**2) < 5 * (rate**2 / n) ** 0.5
    torch.manual_seed(1)
    torch.testing.assert_close(network(x), y, rtol=0, atol=0)


@needs_kernels
def test_copies_pickles_slices() -> None:
    torch.manual_seed(0)
    network = dcgan_generator()
    gankit.accelerate(network)
    x = torch.randn(3, 8, 1, 1)
    network.eval()
    expected = network(x)
    buffer = io.BytesIO()
    torch.save(network, buffer)
    buffer.seek(0)
    for twin in (
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        torch.load(buffer, weights_only=False),
    ):
        assert type(twin) is type(network)
        assert torch.equal(twin(x), expected)
    first, rest = network[:3], network[3:]
    assert type(first) is type(network)
    torch.testing.assert_close(rest(first(x)), expected)
    plain = dcgan_generator().eval()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(plain(x), expected, rtol=1e-4, atol=1e-5)
    network.append(nn.ReLU())
    assert bool((network(x) >= 0).all())
    del network[-1]
    assert torch.equal(network(x), expected)


@needs_kernels
def test_gradients_of_weights_may_be_flattened() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(8, 6, 4, 2, 1, bias=False),
        nn.InstanceNorm2d(6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 3, 4, 2, 1),
        nn.Tanh(),
    )
    x = torch.randn(2, 3, 16, 16)
    wanted = torch.autograd.grad(network(x).square().sum(), network.parameters(), create_graph=True)
    gankit.accelerate(network)
    found = torch.autograd.grad(network(x).square().sum(), network.parameters(), create_graph=True)
    assert [g.stride() for g in found] == [g.stride() for g in wanted]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    penalties = [torch.cat([g.view(-1) for g in gs]).square().sum() for gs in (found, wanted)]
    second = [torch.autograd.grad(p, network[0].weight) for p in penalties]
    torch.testing.assert_close(*second, rtol=1e-2, atol=1e-2)


@needs_kernels
def test_evaluation_then_training_then_backward() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    x = torch.randn(5, 4)
    network.eval()
    alone = torch.autograd.grad(network(x).mean(), network[0].weight)[0]
    gankit.accelerate(network)
    y = network(x)
    network.train()
    network(x)
    torch.testing.assert_close(torch.autograd.grad(y.mean(), network[0].weight)[0], alone)


@needs_kernels
def test_settings_count_from_the_next_call() -> None:
    network = mlp_discriminator(0.5)
    gankit.accelerate(network)
    x = torch.randn(4, 20)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    network.train()
    for layer in network:
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    assert torch.equal(network(x), network(x))
    network.requires_grad_(False)
    assert not network(x).requires_grad
    network[0].requires_grad_(True)
    network(x).sum().backward()
    assert network[0].weight.grad is not None
    assert network[3].weight.grad is None


@needs_kernels
@pytest.mark.parametrize(
    ("layers", "shape", "op"),
    [
        ([nn.BatchNorm2d(8), nn.ReLU()], (8, 16, 16), "batch_norm_act"),
        ([nn.BatchNorm2d(8)], (8, 16, 16), "batch_norm_act"),
        ([nn.BatchNorm1d(1024), nn.Tanh()], (1024,), "batch_norm_act"),
        ([nn.InstanceNorm2d(8)], (8, 16, 16), "batch_norm_act"),
        ([nn.LeakyReLU(0.2), nn.Dropout(0.5)], (512,), "leaky_relu_dropout"),
        ([nn.Dropout2d(0.5)], (8, 16, 16), "leaky_relu_dropout"),
        ([nn.Linear(256, 1024)], (256,), "linear"),
    ],
)
def test_small_tensors_are_torchs(
    layers: list[nn.Module],
    shape: tuple[int, ...],
    op: str,
    ops_on_any_size: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    run = getattr(patterns, op)

    def count(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(x))
        return run(x, *args, **kwargs)

    monkeypatch.setattr(patterns, op, count)
    monkeypatch.setattr(patterns, "LEAST", ops_on_any_size)
    network = nn.Sequential(*layers)
    gankit.accelerate(network)
    for batch in (2, 256):
        network(torch.randn(batch, *shape).requires_grad_()).sum().backward()
    assert calls == [256]
