"""The step of autoencoders: what it computes, remembers and refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gankit.errors import CheckpointError, ConfigError
from gankit.gans.autoencoder import AutoencoderStep
from gankit.losses import bernoulli_nats, elbo, kl_to_standard_normal
from gankit.models import mlp
from gankit.models.autoencoder import Encoder
from gankit.training import gan_adam

SHAPE = (1, 3, 4)


def make_step(loss: Any = "elbo", z_dim: int = 2, **encoder: Any) -> AutoencoderStep:
    torch.manual_seed(0)
    settings = {"variational": loss != "squared-error", **encoder}
    G = mlp.Generator(z_dim, SHAPE, hidden=(8,))
    D = Encoder(2, SHAPE, hidden=(8,), **settings)
    for network in (G, D):
        network.double()
    return AutoencoderStep(G, D, gan_adam([*G.parameters(), *D.parameters()]), loss)


def images(n: int = 6) -> torch.Tensor:
    values = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return values * 2 - 1


def test_one_step_is_the_textbooks() -> None:
    step, plain, x = make_step(), make_step(), images()
    torch.manual_seed(5)
    scalars = step(x)
    torch.manual_seed(5)
    mean, log_variance = plain.encoder(x).chunk(2, dim=1)
    z = mean + torch.randn(6, 2, dtype=torch.float64) * (0.5 * log_variance).exp()
    nats = bernoulli_nats(plain.decoder(z), x).mean()
    divergence = kl_to_standard_normal(mean, log_variance).mean()
    (nats + divergence).backward()
    plain.optimizers["both"].step()
    expected = {"reconstruction": nats.detach(), "kl": divergence.detach()}
    torch.testing.assert_close(scalars, expected)
    for mine, theirs in ((step.decoder, plain.decoder), (step.encoder, plain.encoder)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_beta_weighs_the_divergence() -> None:
    x = images()
    gradients = []
    for beta in (0.0, 1.0, 3.0):
        step = make_step(elbo(beta=beta))
        torch.manual_seed(5)
        step(x)
        weight = next(step.encoder.parameters())
        assert weight.grad is not None
        gradients.append(weight.grad.clone())
    without, once, thrice = gradients
    torch.testing.assert_close(thrice - without, 3 * (once - without))


def test_a_plain_autoencoder_uses_no_noise_and_reports_its_error_alone() -> None:
    step, x = make_step("squared-error"), images()
    state = torch.get_rng_state()
    scalars = step(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(scalars) == set(step.metrics) == {"reconstruction"}
    assert set(make_step().metrics) == {"reconstruction", "kl"}
    first = scalars["reconstruction"]
    for _ in range(400):
        last = step(x)["reconstruction"]
    assert last < 0.8 * first
    error, divergence = step.terms(x)
    torch.testing.assert_close(error.detach(), (step.reconstruct(x) - x).square().mean((1, 2, 3)))
    assert not divergence.any()


def test_reconstruction_takes_the_mean_and_changes_nothing() -> None:
    step, x = make_step(dropout=0.5), images()
    state = torch.get_rng_state()
    back = step.reconstruct(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert step.encoder.training
    assert torch.equal(back, step.reconstruct(x))
    step.encoder.eval()
    torch.testing.assert_close(back, step.decoder(step.encoder(x)[:, :2]).detach())


def test_dry_run_leaves_no_trace_and_names_what_does_not_fit() -> None:
    step = make_step()
    before = torch.get_rng_state()
    step.dry_run(images(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert step.calls == 0
    words = r"the encoder returned \[2, 2\] for 2 images; the loss 'elbo' .* need \[2, 4\]"
    with pytest.raises(ConfigError, match=words):
        make_step(variational=False).dry_run(images(2))
    with pytest.raises(ConfigError, match=r"'squared-error' and a decoder with z_dim 3 .*\[2, 3\]"):
        make_step("squared-error", z_dim=3).dry_run(images(2))
    decoder = nn.Linear(2, 5).double()
    decoder.z_dim = 2  # type: ignore[assignment]
    wrong = AutoencoderStep(decoder, step.encoder, gan_adam(decoder.parameters()), "elbo")
    with pytest.raises(ConfigError, match=r"the decoder returned \[2, 5\] for 2 codes"):
        wrong.dry_run(images(2))


def test_the_count_of_calls_is_kept() -> None:
    step = make_step()
    step(images())
    other = make_step()
    other.load_state_dict(step.state_dict())
    assert other.calls == 1
    with pytest.raises(CheckpointError, match="calls are -1"):
        other.set_extra_state({**step.get_extra_state(), "calls": -1})
    with pytest.raises(ConfigError, match=r"encoder .* has nothing to train"):
        AutoencoderStep(step.decoder, nn.Flatten(), step.optimizers["both"])
