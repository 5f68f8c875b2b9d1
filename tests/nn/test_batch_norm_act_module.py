"""BatchNormAct1d and 2d as drop-ins for torch's batch norm and activation."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from gankit.nn import BatchNormAct1d, BatchNormAct2d


@pytest.mark.parametrize("momentum", [0.2, None])
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_trains_as_the_pair(momentum: float | None, track: bool, affine: bool) -> None:
    """Three training passes, then evaluation; and the state_dict moves between the two."""
    settings = {"momentum": momentum, "affine": affine, "track_running_stats": track}
    plain = nn.Sequential(nn.BatchNorm2d(3, 1e-3, **settings), nn.ReLU())
    ours = nn.Sequential(BatchNormAct2d(3, 1e-3, **settings), nn.Identity())
    ours.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    for x in torch.randn(3, 4, 3, 5, 5) * 3 + 1:
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(1, 3, 2, 2)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x), rtol=1e-5, atol=1e-5)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    if track:
        assert int(ours[0].num_batches_tracked) == 3


def test_groups_count_as_batches() -> None:
    torch.manual_seed(0)
    parts = torch.randn(2, 4, 3).unbind()
    one, two = (BatchNormAct1d(3, momentum=None, groups=g, activation="none") for g in (1, 2))
    wanted = torch.cat([one(part) for part in parts])
    torch.testing.assert_close(two(torch.cat(parts)), wanted)
    for key, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[key], value)
    assert int(two.num_batches_tracked) == 2


def test_initialisers_that_match_on_names_find_it() -> None:
    module = BatchNormAct2d(4)
    assert "BatchNorm" in type(module).__name__
    assert "BatchNorm" in type(BatchNormAct1d(4)).__name__
    nn.init.normal_(module.weight, 1.0, 0.02)
    assert list(module.state_dict()) == list(nn.BatchNorm2d(4).state_dict())


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(copy_of: object) -> None:
    module = BatchNormAct2d(3, activation="leaky_relu", negative_slope=0.1, groups=2).eval()
    twin = copy_of(module)  # type: ignore[operator]
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(twin(x), module(x))
    assert repr(twin) == repr(module)
    assert repr(twin).endswith(", activation='leaky_relu', negative_slope=0.1, groups=2)")


def test_errors_name_what_came() -> None:
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\], got shape \(2, 3\)"):
        BatchNormAct2d(3)(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"got shape \(2, 3, 4, 4\)"):
        BatchNormAct1d(3)(torch.ones(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"expected 3 channels.* \(2, 4\)"):
        BatchNormAct1d(3)(torch.ones(2, 4))
    for x in (torch.ones(1, 3), torch.ones(1, 3, 1)):
        words = []
        for module in (BatchNormAct1d(3), nn.BatchNorm1d(3)):
            with pytest.raises(ValueError, match="more than 1 value per channel") as error:
                module(x)
            words.append(str(error.value))
        assert words[0] == words[1]
    for change in ({"activation": "elu"}, {"groups": 0}, {"negative_slope": float("nan")}):
        with pytest.raises(ValueError, match=f"{next(iter(change))}: expected"):
            BatchNormAct2d(3, **change)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiles_whole_and_updates_the_running_statistics() -> None:
    torch._dynamo.reset()
    net = nn.Sequential(nn.Conv2d(2, 3, 3), BatchNormAct2d(3))
    twin = copy.deepcopy(net)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 2, 6, 6)
    for module in (compiled, twin):
        module(x).square().sum().backward()
    torch.testing.assert_close(net[0].weight.grad, twin[0].weight.grad)
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast(dtype: torch.dtype) -> None:
    module = BatchNormAct2d(3)
    with torch.autocast("cpu", dtype=dtype):
        y = nn.Sequential(nn.Conv2d(2, 3, 3), module)(torch.randn(4, 2, 6, 6))
    assert y.dtype == dtype
    assert module.running_mean is not None
    assert module.running_mean.dtype == torch.float32
