"""LeakyReLUDropout as a drop-in for the pair of torch modules."""

from __future__ import annotations

import copy
import pickle
import shutil

import pytest
import torch
import torch.fx
from torch import nn

from gankit.nn import LeakyReLUDropout
from gankit.ops import leaky_relu_dropout


def pair() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 6), nn.LeakyReLU(0.2), nn.Dropout(0.4), nn.Linear(6, 1))


def fused() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(8, 6), LeakyReLUDropout(0.2, 0.4), nn.Identity(), nn.Linear(6, 1)
    )


def test_eval_equals_the_pair_with_the_same_state_dict() -> None:
    plain, ours = pair().eval(), fused().eval()
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(5, 8)
    assert torch.equal(plain(x), ours(x))


def test_training_drops_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    module = LeakyReLUDropout(0.1, 0.25)
    y = module(torch.ones(400, 400))
    assert abs((y == 0).float().mean().item() - 0.25) < 0.01
    assert abs(y.mean().item() - 1) < 0.01
    assert torch.equal(module.eval()(torch.ones(4)), torch.ones(4))


def test_inplace_trains_between_layers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), LeakyReLUDropout(inplace=True), nn.Linear(6, 1))
    net(torch.randn(5, 8)).sum().backward()
    assert net[0].weight.grad is not None
    assert bool(net[0].weight.grad.abs().sum() > 0)


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(copy_of: object) -> None:
    module = LeakyReLUDropout(0.3, 0.7, inplace=True).eval()
    twin = copy_of(module)  # type: ignore[operator]
    assert (twin.negative_slope, twin.p, twin.inplace, twin.training) == (0.3, 0.7, True, False)
    assert repr(twin) == "LeakyReLUDropout(negative_slope=0.3, p=0.7, inplace=True)"


@pytest.mark.parametrize("arguments", [(-1.0, 0.5), (float("nan"), 0.5), (0.2, 1.1), (0.2, -0.1)])
def test_bad_arguments_fail_at_construction(arguments: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        LeakyReLUDropout(*arguments)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_whole_network_compiles_without_a_break() -> None:
    torch._dynamo.reset()
    net = fused()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    compiled(torch.randn(5, 8)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.eval()
    x = torch.randn(5, 8)
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype=dtype):
        y = fused()(torch.randn(5, 8))
    assert y.dtype == dtype


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_exports_with_its_derivative(training: bool, strict: bool) -> None:
    net = fused().train(training)
    program = torch.export.export(net, (torch.randn(2, 8),), strict=strict)
    loaded = program.module()
    loaded(torch.randn(2, 8)).sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_is_one_node_of_an_fx_graph() -> None:
    graph = torch.fx.symbolic_trace(fused()).graph
    assert "leaky_relu_dropout" in {getattr(n.target, "__name__", "") for n in graph.nodes}


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_inductor_equals_eager() -> None:
    torch._dynamo.reset()
    seed = torch.tensor([5])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return leaky_relu_dropout(x * 2, seed=seed).square().sum()

    x = torch.randn(64, 33, requires_grad=True)
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x), torch.autograd.grad(loss(x), x))
