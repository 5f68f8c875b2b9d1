"""ConditionalBatchNormAct2d against plain torch: training, evaluation, recording, errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gankit.nn import BatchNormAct2d, ConditionalBatchNormAct2d
from gankit.training.distributed import synchronise_batch_norm


class Plain(nn.Module):
    """The same from torch's layers."""

    def __init__(self, channels: int, **settings: object) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False, **settings)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.norm(x) * scale[..., None, None] + shift[..., None, None], 0.1)


def inputs(*, shared: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (3,) if shared else (4, 3)
    shapes = ((4, 3, 5, 6), shape, shape)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("momentum", [0.2, None])
def test_trains_as_torchs_layers(momentum: float | None, channels_last: bool, shared: bool) -> None:
    """Two training passes and one in evaluation: outputs, gradients, running statistics."""
    plain = Plain(3, momentum=momentum).double()
    ours = ConditionalBatchNormAct2d(
        3, momentum=momentum, activation="leaky_relu", negative_slope=0.1
    ).double()
    assert not list(ours.parameters())
    results: list[list[torch.Tensor]] = []
    for module in (ours, plain):
        x, scale, shift = inputs(shared=shared)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        leaves = [t.requires_grad_() for t in (x, scale, shift)]
        found: list[torch.Tensor] = []
        for training in (True, True, False):
            y = module.train(training)(*leaves)
            found += [y, *torch.autograd.grad(y.pow(3).sum(), leaves)]
        norm = module if module is ours else plain.norm
        results.append([*found, *norm.state_dict().values()])
    for f, w in zip(*results, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-9, atol=1e-9)


def test_recorded_graph_has_torchs_ops_alone() -> None:
    module = ConditionalBatchNormAct2d(3, activation="leaky_relu").double().eval()
    arguments = tuple(inputs())
    program = torch.export.export(module, arguments)
    assert "gankit" not in str(program.graph)
    torch.testing.assert_close(program.module()(*arguments), module(*arguments))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scale_and_shift_of_another_dtype(dtype: torch.dtype) -> None:
    """As under autocast, where a linear layer may give 16 bits and the image be float32."""
    x, scale, shift = (t.float() for t in inputs())
    module = ConditionalBatchNormAct2d(3)
    wanted = module(x, scale.to(dtype).float(), shift.to(dtype).float())
    torch.testing.assert_close(module(x, scale.to(dtype), shift.to(dtype)), wanted)
    y = module(x.to(dtype), scale, shift)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), module(x, scale, shift), rtol=3e-2, atol=3e-2)


def test_errors_and_statistics_over_all_processes() -> None:
    x, scale, shift = inputs()
    module = ConditionalBatchNormAct2d(3).double()
    with pytest.raises(ValueError, match=r"weight: expected shape \(3,\) or \(4, 3\) .*\(2, 3\)"):
        module(x, scale[:2], shift)
    with pytest.raises(ValueError, match=r"x: expected \[N, C, H, W\], got shape \(4, 3, 5\)"):
        module(x[..., 0], scale, shift)
    with pytest.raises(ValueError, match="activation: expected"):
        ConditionalBatchNormAct2d(3, activation="elu")
    with pytest.raises(TypeError, match="lost; for statistics over all processes set"):
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
    with pytest.raises(TypeError, match="lost; put the layers of its to_torch"):
        nn.SyncBatchNorm.convert_sync_batchnorm(BatchNormAct2d(3))
    synchronise_batch_norm(nn.ModuleList([module]))
    assert module.process_group == "world"
