"""Virtual batch norm against its definition."""

from __future__ import annotations

import pytest
import torch

from gankit.errors import ConfigError
from gankit.nn import VirtualBatchNorm


def by_definition(norm: VirtualBatchNorm, reference: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Each sample by the moments of the reference batch and itself, one among R + 1."""
    rows = []
    for sample in x:
        union = [*reference, sample]
        mean = torch.stack([each.mean(1) for each in union]).mean(0)
        square = torch.stack([each.square().mean(1) for each in union]).mean(0)
        scale = norm.weight / (square - mean.square() + norm.eps).sqrt()
        rows.append((sample - mean[:, None]) * scale[:, None] + norm.bias[:, None])
    return torch.stack(rows)


def a_norm() -> VirtualBatchNorm:
    norm = VirtualBatchNorm(3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.1, 0.0, -3.0]))
    return norm


def test_it_is_the_norm_of_the_reference_batch_with_each_sample() -> None:
    torch.manual_seed(0)
    reference, x = torch.randn(4, 3, 7).double() + 2, torch.randn(5, 3, 7).double() * 3
    norm = a_norm()
    made = norm(torch.cat([reference, x]), 4)
    torch.testing.assert_close(made[4:], by_definition(norm, reference, x))
    plain = torch.nn.functional.batch_norm(
        reference, None, None, norm.weight, norm.bias, training=True, eps=norm.eps
    )
    torch.testing.assert_close(made[:4], plain)


def test_a_sample_does_not_depend_on_the_others_or_on_the_mode() -> None:
    torch.manual_seed(0)
    reference, x = torch.randn(4, 3, 7).double(), torch.randn(5, 3, 7).double()
    norm = a_norm()
    whole = norm(torch.cat([reference, x]), 4)[4:]
    norm.eval()
    for number in range(5):
        alone = norm(torch.cat([reference, x[number : number + 1]]), 4)[4:]
        torch.testing.assert_close(alone[0], whole[number], rtol=0, atol=1e-14)


def test_its_gradients() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 3, 2, dtype=torch.float64, requires_grad=True)
    norm = a_norm()
    assert torch.autograd.gradcheck(lambda x: norm(x, 1), x)
    assert torch.autograd.gradgradcheck(lambda x: norm(x, 1), x)


def test_half_precision_far_from_zero() -> None:
    torch.manual_seed(0)
    x = (torch.randn(6, 3, 50) + 100).bfloat16()
    norm = VirtualBatchNorm(3)
    made = norm(x, 3)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), norm(x.float(), 3), rtol=0.01, atol=0.01)


@pytest.mark.parametrize(("channels", "eps", "words"), [(0, 1e-5, "channels"), (3, 0.0, "eps")])
def test_bad_settings(channels: int, eps: float, words: str) -> None:
    with pytest.raises(ConfigError, match=f"{words} must be"):
        VirtualBatchNorm(channels, eps)
