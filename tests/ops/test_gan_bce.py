"""gan_bce beside the two losses that it stands for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import gankit
from gankit.ops import bce_label_smoothing, gan_bce


def halves(from_logits: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    real = torch.randn((60, 3), generator=generator, dtype=torch.float64)
    fake = torch.randn((41, 3), generator=generator, dtype=torch.float64)
    return (real, fake) if from_logits else (real.sigmoid(), fake.sigmoid())


def apart(real: Tensor, fake: Tensor, *, reduction: str, **settings: Any) -> Tensor:
    labels = settings.pop("real_label", 1.0), settings.pop("fake_label", 0.0)
    one, other = (
        bce_label_smoothing(x, label, reduction="sum", **settings)
        for x, label in zip((real, fake), labels, strict=True)
    )
    if reduction == "mean":
        return (one + other) / (real.numel() + fake.numel())
    return one / real.numel() + other / fake.numel()


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("from_logits", [True, False])
def test_equals_two_losses(from_logits: bool, reduction: str, needed: tuple[bool, bool]) -> None:
    """Value, gradient and second derivative, of both halves and of one."""
    settings: Any = {"smoothing": 0.1, "mode": "two-sided", "real_label": 0.9, "fake_label": 0.2}
    results = []
    for function in (gan_bce, apart):
        leaves = [
            x.requires_grad_(need) for x, need in zip(halves(from_logits), needed, strict=True)
        ]
        wanted = [x for x in leaves if x.requires_grad]
        outer = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
        y = function(*leaves, reduction=reduction, from_logits=from_logits, **settings)
        first = torch.autograd.grad(y, wanted, outer, create_graph=True)
        energy = sum(g.square().sum() for g in first)
        second = torch.autograd.grad(energy, [*wanted, outer])  # type: ignore[arg-type]
        results.append((y, *first, *second))
    assert len(results[0]) == 2 + 2 * sum(needed)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_one_half_of_the_first_gradient_can_be_differentiated_alone() -> None:
    """Autograd then hands None for the other half."""
    real, fake = (x.requires_grad_() for x in halves(True))
    by_real, _ = torch.autograd.grad(gan_bce(real, fake), (real, fake), create_graph=True)
    (second,) = torch.autograd.grad(by_real.sum(), real)
    p = real.detach().sigmoid()
    torch.testing.assert_close(second, p * (1 - p) / real.numel())


def test_mean_is_one_concatenated_batch() -> None:
    real, fake = halves(True)
    both = torch.cat((real, fake))
    target = torch.cat((torch.ones_like(real), torch.zeros_like(fake)))
    torch.testing.assert_close(
        gan_bce(real, fake, reduction="mean"), bce_label_smoothing(both, target)
    )


def test_outside_the_unit_interval() -> None:
    good, bad = torch.full((5,), 0.5), torch.tensor([0.5, 1.5])
    for arguments in ((good, bad), (bad, good)):
        with pytest.raises(RuntimeError, match="between 0 and 1"):
            gan_bce(*arguments, from_logits=False)


def test_backends_agree_on_nothing() -> None:
    x, nothing = torch.ones(3), torch.empty(0)
    for name in ("auto", "reference"):
        with gankit.backend(name):
            assert bool(gan_bce(nothing, x).isnan())
            assert bool(gan_bce(nothing, nothing, reduction="mean").isnan())
            assert not bool(gan_bce(nothing, x, reduction="mean").isnan())


X = torch.zeros(2)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "words"),
    [
        ((1.0, X), {}, TypeError, "real: expected a tensor, got float"),
        ((X, X.long()), {}, TypeError, r"fake: .*got torch\.int64"),
        ((X, X.double()), {}, TypeError, r"fake: expected real's dtype torch\.float32, got"),
        ((X, X.to("meta")), {}, ValueError, "fake: .*cpu, got meta"),
        ((X, X), {"smoothing": 1.0}, ValueError, "smoothing: "),
        ((X, X), {"mode": "both"}, ValueError, "mode: .*'both'"),
        ((X, X), {"reduction": "none"}, ValueError, "reduction: .*'none'"),
        ((X, X), {"real_label": 1.5, "from_logits": False}, ValueError, "real_label: .*got 1.5"),
        ((X, X), {"fake_label": X}, TypeError, "fake_label: .*got Tensor"),
    ],
)
def test_errors(arguments: Any, settings: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        gan_bce(*arguments, **settings)
