from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import nn

from gankit.errors import ConfigError
from gankit.losses import (
    AdversarialLoss,
    bce_discriminator_loss,
    least_squares,
    minimax_generator_loss,
    non_saturating_generator_loss,
    resolve,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)


def outputs(n: int = 12, m: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(size, 1, dtype=torch.float64, generator=generator) * 3 for size in (n, m)
    )


def cross_entropy(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """H(p, q) of Bernoulli distributions, averaged over samples."""
    return -(p * q.log() + (1 - p) * (1 - q).log()).mean()


def test_the_discriminator_minimises_the_two_cross_entropies():
    real, fake = outputs()
    one = torch.ones_like(real)
    # H(p_data, D) + H(p_g, 1 - D)
    expected = cross_entropy(one, real.sigmoid()) + cross_entropy(one, 1 - fake.sigmoid())
    torch.testing.assert_close(bce_discriminator_loss(real, fake), expected)
    torch.testing.assert_close(
        bce_discriminator_loss(real.sigmoid(), fake.sigmoid(), from_logits=False), expected
    )


def test_the_minimax_generator_maximises_what_the_discriminator_minimises():
    real, fake = outputs()
    expected = -cross_entropy(torch.ones_like(fake), 1 - fake.sigmoid())
    torch.testing.assert_close(minimax_generator_loss(fake), expected)
    torch.testing.assert_close(minimax_generator_loss(fake.sigmoid(), from_logits=False), expected)
    # A zero-sum game: in D(G(z)), the two losses have opposite gradients.
    fake.requires_grad_()
    (d_grad,) = torch.autograd.grad(bce_discriminator_loss(real, fake), fake)
    (g_grad,) = torch.autograd.grad(minimax_generator_loss(fake), fake)
    torch.testing.assert_close(g_grad, -d_grad)


def test_the_non_saturating_generator_wants_the_answer_real():
    _, fake = outputs()
    expected = -fake.sigmoid().log().mean()
    torch.testing.assert_close(non_saturating_generator_loss(fake), expected)
    torch.testing.assert_close(
        non_saturating_generator_loss(fake.sigmoid(), from_logits=False), expected
    )


@pytest.mark.parametrize("from_logits", [True, False])
def test_only_the_minimax_generator_saturates_where_d_is_certain(from_logits):
    def gradient(loss) -> float:
        logit = torch.tensor([[-20.0]], dtype=torch.float64, requires_grad=True)
        loss(logit if from_logits else logit.sigmoid(), from_logits=from_logits).backward()
        assert logit.grad is not None
        return logit.grad.item()

    # d/dx of log(1 - s(x)) is -s(x); of -log s(x) it is s(x) - 1.
    assert gradient(minimax_generator_loss) == pytest.approx(-math.exp(-20), rel=1e-5)
    assert gradient(non_saturating_generator_loss) == pytest.approx(-1, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sum_is_the_tutorials_two_criteria_bit_for_bit(dtype):
    real, fake = (x.to(dtype) for x in outputs())
    for criterion, from_logits, activation in (
        (nn.BCELoss(), False, torch.sigmoid),
        (nn.BCEWithLogitsLoss(), True, lambda x: x),
    ):
        a, b = activation(real), activation(fake)
        expected = criterion(a, torch.ones_like(a)) + criterion(b, torch.zeros_like(b))
        assert torch.equal(bce_discriminator_loss(a, b, from_logits=from_logits), expected)
        assert torch.equal(
            non_saturating_generator_loss(b, from_logits=from_logits),
            criterion(b, torch.ones_like(b)),
        )


@pytest.mark.parametrize("sizes", [(12, 12), (12, 5)])
@pytest.mark.parametrize("from_logits", [True, False])
def test_mean_is_one_mean_over_the_concatenated_batch(sizes, from_logits):
    real, fake = outputs(*sizes)
    both = torch.cat([real, fake]).sigmoid()
    target = torch.cat([torch.full_like(real, 0.9), torch.zeros_like(fake)])
    expected = nn.functional.binary_cross_entropy(both, target)
    if not from_logits:
        real, fake = real.sigmoid(), fake.sigmoid()
    result = bce_discriminator_loss(
        real, fake, from_logits=from_logits, real_label=0.9, reduction="mean"
    )
    torch.testing.assert_close(result, expected)


def test_a_smoothed_label_moves_the_best_answer_to_it():
    logit = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    fake = torch.full((1, 1), -100.0, dtype=torch.float64)
    for _ in range(2000):
        (gradient,) = torch.autograd.grad(
            bce_discriminator_loss(logit, fake, real_label=0.9), logit
        )
        logit = (logit - gradient).detach().requires_grad_()
    assert logit.sigmoid().item() == pytest.approx(0.9, abs=1e-6)


def test_labels_apply_to_their_own_half():
    real, fake = outputs()
    result = bce_discriminator_loss(real, fake, real_label=0.9, fake_label=0.2)
    expected = cross_entropy(torch.full_like(real, 0.9), real.sigmoid()) + cross_entropy(
        torch.full_like(fake, 0.2), fake.sigmoid()
    )
    torch.testing.assert_close(result, expected)


def test_extremes_stay_finite():
    certain = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = bce_discriminator_loss(certain, certain)
    assert loss.item() == pytest.approx(1e4)
    loss.backward()
    assert certain.grad is not None
    assert certain.grad.isfinite().all()
    probabilities = torch.tensor([[0.0], [1.0]], requires_grad=True)
    # The logarithm is clamped at -100; one of two is wrong in each half.
    loss = bce_discriminator_loss(probabilities, probabilities, from_logits=False)
    assert loss.item() == pytest.approx(100.0)
    loss.backward()
    assert probabilities.grad is not None
    assert probabilities.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_are_reduced_in_float32(dtype):
    real, fake = (x.to(dtype).requires_grad_() for x in outputs())
    loss = bce_discriminator_loss(real, fake)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, bce_discriminator_loss(real.float(), fake.float()))
    loss.backward()
    assert real.grad is not None
    assert real.grad.dtype == dtype


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
def test_resolve_binds_the_settings(name, from_logits):
    real, fake = outputs()
    if not from_logits:
        real, fake = real.sigmoid(), fake.sigmoid()
    settings = {"real_label": 0.9, "fake_label": 0.1, "reduction": "mean"}
    loss = resolve(name, from_logits=from_logits, **settings)
    generator = {
        "minimax": minimax_generator_loss,
        "non-saturating": non_saturating_generator_loss,
    }[name]
    assert loss.name == name
    assert loss.discriminator(real, fake).shape == ()
    assert torch.equal(
        loss.discriminator(real, fake),
        bce_discriminator_loss(real, fake, from_logits=from_logits, **settings),
    )
    assert torch.equal(loss.generator(fake), generator(fake, from_logits=from_logits))
    again = pickle.loads(pickle.dumps(loss))
    assert torch.equal(again.generator(fake), loss.generator(fake))


def test_your_own_pair_passes_through():
    mine = AdversarialLoss("mine", lambda r, f: (f - r).mean(), lambda f: -f.mean())
    assert resolve(mine, from_logits=True) is mine
    with pytest.raises(ConfigError, match="do not apply to your own loss 'mine'"):
        resolve(mine, from_logits=True, real_label=0.9)


def test_least_squares_with_other_targets() -> None:
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-1.0, 3.0])
    game = least_squares(1.0, -1.0, 0.0)
    assert game.discriminator(real, fake).item() == pytest.approx((0.625 + 8) / 2)
    assert game.generator(fake).item() == pytest.approx(2.5)
    assert game.scores
    standard, default = resolve("least-squares", from_logits=True), least_squares()
    assert standard.discriminator.keywords == default.discriminator.keywords
    assert torch.equal(standard.discriminator(real, fake), default.discriminator(real, fake))
    assert torch.equal(standard.generator(fake), default.generator(fake))
    with pytest.raises(ConfigError, match="target must be finite, got nan"):
        least_squares(target=math.nan)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hings"}, "unknown loss 'hings', allowed are hinge, .* wasserstein, and an Adv"),
        ({"real_label": 1.1}, r"real_label must lie in \[0, 1\], got 1.1"),
        ({"fake_label": math.nan}, r"fake_label must lie in \[0, 1\], got nan"),
        ({"reduction": "none"}, "reduction must be 'sum' or 'mean', got 'none'"),
    ],
)
def test_settings_that_are_not_allowed(settings, message):
    with pytest.raises(ConfigError, match=message):
        resolve(**{"loss": "minimax", "from_logits": True, **settings})


def test_functions_check_their_own_settings():
    real, fake = outputs()
    with pytest.raises(ConfigError, match="reduction must be 'sum' or 'mean', got 'max'"):
        bce_discriminator_loss(real, fake, reduction="max")
    with pytest.raises(ConfigError, match=r"label must lie in \[0, 1\], got -1"):
        non_saturating_generator_loss(fake, real_label=-1)


def test_wasserstein_losses_are_differences_of_means() -> None:
    real, fake = outputs(12, 7)
    torch.testing.assert_close(
        wasserstein_discriminator_loss(real, fake), fake.mean() - real.mean()
    )
    torch.testing.assert_close(wasserstein_generator_loss(fake), -fake.mean())
    real.requires_grad_()
    (grad,) = torch.autograd.grad(wasserstein_discriminator_loss(real, fake), real)
    torch.testing.assert_close(grad, torch.full_like(real, -1 / 12))
    # A mean of 4,096 halves that are summed in half precision would stop growing.
    halves = torch.full((4096, 1), 3.001953125, dtype=torch.float16)
    assert wasserstein_generator_loss(halves).item() == -3.001953125


def test_wasserstein_by_name() -> None:
    loss = resolve("wasserstein", from_logits=True)
    real, fake = outputs()
    assert loss.scores
    assert not resolve("minimax", from_logits=True).scores
    assert torch.equal(loss.discriminator(real, fake), wasserstein_discriminator_loss(real, fake))
    assert torch.equal(loss.generator(fake), wasserstein_generator_loss(fake))
    with pytest.raises(ConfigError, match="'wasserstein' needs a critic's scores, got prob"):
        resolve("wasserstein", from_logits=False)
    with pytest.raises(ConfigError, match="do not apply to the loss 'wasserstein'"):
        resolve("wasserstein", from_logits=True, real_label=0.9)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("from_logits", [True, False])
def test_the_fused_losses_of_a_gpu_are_the_same(monkeypatch, from_logits, reduction):
    """Forced on the CPU: values and gradients of both players."""
    results = []
    for fused in (False, True):
        monkeypatch.setattr("gankit.losses.adversarial._fuse", lambda *_, fused=fused: fused)
        leaves = [x if from_logits else x.sigmoid() for x in outputs()]
        leaves = [x.detach().double().requires_grad_() for x in leaves]
        d_loss = bce_discriminator_loss(
            *leaves, from_logits=from_logits, real_label=0.9, reduction=reduction
        )
        g_loss = non_saturating_generator_loss(leaves[1], from_logits=from_logits)
        minimax = minimax_generator_loss(leaves[1], from_logits=from_logits)
        gradients = torch.autograd.grad(d_loss + g_loss + 2 * minimax, leaves)
        results.append((d_loss, g_loss, minimax, *gradients))
        with pytest.raises(ConfigError):
            bce_discriminator_loss(*leaves, real_label=1.5)
        with pytest.raises(ConfigError):
            bce_discriminator_loss(*leaves, fake_label=-0.5)
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)
