"""What autoencoders minimise, against torch's own distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from gankit.errors import ConfigError, DataError
from gankit.losses import (
    AutoencoderLoss,
    bernoulli_nats,
    elbo,
    gaussian_nats,
    kl_to_standard_normal,
    resolve_autoencoder,
    squared_error,
)

GENERATOR = torch.Generator().manual_seed(0)
DECODED = torch.rand(3, 1, 2, 4, generator=GENERATOR, dtype=torch.float64) * 1.8 - 0.9
IMAGES = torch.rand(3, 1, 2, 4, generator=GENERATOR, dtype=torch.float64) * 2 - 1


def test_the_likelihoods_are_those_of_the_distributions() -> None:
    binary = IMAGES.sign()
    expected = -Bernoulli((DECODED + 1) / 2).log_prob((binary + 1) / 2).flatten(1).sum(dim=1)
    torch.testing.assert_close(bernoulli_nats(DECODED, binary), expected)
    expected = -Normal(DECODED, 0.3).log_prob(IMAGES).flatten(1).sum(dim=1)
    torch.testing.assert_close(gaussian_nats(DECODED, IMAGES, std=0.3), expected)
    torch.testing.assert_close(
        squared_error(DECODED, IMAGES), (DECODED - IMAGES).square().mean(dim=(1, 2, 3))
    )


def test_a_grey_pixel_costs_nats_even_when_right() -> None:
    grey = torch.zeros(1, 1, 1, 2)
    assert bernoulli_nats(grey, grey).item() == pytest.approx(2 * math.log(2))
    black = -torch.ones(1, 1, 1, 2)
    assert bernoulli_nats(black, black).item() == 0.0
    assert bernoulli_nats(-black, black).item() == pytest.approx(200.0)


def test_the_divergence_is_that_of_normal_distributions() -> None:
    mean = torch.randn(4, 5, generator=GENERATOR, dtype=torch.float64)
    log_variance = torch.randn(4, 5, generator=GENERATOR, dtype=torch.float64)
    codes, prior = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    expected = kl_divergence(codes, prior).sum(dim=1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)
    zeros = torch.zeros(2, 3)
    assert kl_to_standard_normal(zeros, zeros).tolist() == [0.0, 0.0]
    # In float32 exp(v) - 1 - v would be 0 or noise here; it is v^2 / 2.
    small = torch.full((1, 1), 1e-2)
    assert kl_to_standard_normal(0 * small, small).item() == pytest.approx(2.508e-5, rel=1e-2)


def test_first_and_second_derivatives() -> None:
    decoded, images = DECODED.clone().requires_grad_(), IMAGES.clone().requires_grad_()
    for function in (squared_error, bernoulli_nats, gaussian_nats):
        assert torch.autograd.gradcheck(function, (decoded, IMAGES))
        assert torch.autograd.gradgradcheck(function, (decoded, IMAGES))
    flat = decoded.detach().flatten(1).requires_grad_(), images.detach().flatten(1).requires_grad_()
    assert torch.autograd.gradcheck(kl_to_standard_normal, flat)
    assert torch.autograd.gradgradcheck(kl_to_standard_normal, flat)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    many = torch.zeros(1, 1, 300, 300, dtype=dtype)
    value = bernoulli_nats(many, many)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(90_000 * math.log(2), rel=1e-5)


def test_names_and_settings() -> None:
    assert not resolve_autoencoder("squared-error").variational
    loss = resolve_autoencoder("elbo")
    assert (loss.variational, loss.beta) == (True, 1.0)
    assert resolve_autoencoder(loss) is loss
    torch.testing.assert_close(
        elbo(likelihood="gaussian", std=0.5).reconstruction(DECODED, IMAGES),
        gaussian_nats(DECODED, IMAGES, std=0.5),
    )
    for settings, words in (
        ({"likelihood": "poisson"}, "likelihood must be 'bernoulli' or 'gaussian'"),
        ({"std": 0.1}, "the likelihood 'bernoulli' has none"),
        ({"beta": -1.0}, "beta must be finite and at least 0, got -1"),
        ({"beta": math.nan}, "beta must be finite"),
    ):
        with pytest.raises(ConfigError, match=words):
            elbo(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown autoencoder loss 'l3'"):
        resolve_autoencoder("l3")
    with pytest.raises(ConfigError, match="std must be finite and above 0"):
        gaussian_nats(DECODED, IMAGES, std=0.0)
    with pytest.raises(DataError, match="both must have one shape"):
        AutoencoderLoss("x", squared_error).reconstruction(DECODED, IMAGES[:1])
