"""One training step of an autoencoder, with the surface of :class:`GANStep`.

The decoder stands where a GAN has its generator and the encoder where it has its discriminator, so
that loops, checkpoints and pictures serve both. They are no opponents: one loss teaches both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import CheckpointError, ConfigError
from gankit.losses.autoencoder import (
    AutoencoderLoss,
    kl_to_standard_normal,
    resolve_autoencoder,
)
from gankit.scalars import is_integer
from gankit.training.batches import check_batch
from gankit.training.modules import check_tensor, check_trainable, eval_mode
from gankit.training.noise import noise_for
from gankit.training.rehearsal import describe, dry_run, rehearsed


class AutoencoderStep:
    """Trains an encoder and a decoder by one step per call.

    Variational: the code is ``mean + exp(log_variance / 2) e`` with e from N(0, 1), which lets the
    gradient through to the encoder (Kingma and Welling, 2013, arXiv 1312.6114).

    Args:
        G: decoder, from codes ``[N, z_dim]`` to images; its int attribute ``z_dim`` is needed.
        D: encoder, from images to ``[N, z_dim]``, variational to ``[N, 2 z_dim]``: the means, then
            the logarithms of the variances.
        g_optimizer, d_optimizer: optimizers over the decoder's and over the encoder's parameters.
        loss: ``"squared-error"``, ``"elbo"`` or an ``AutoencoderLoss``.

    Raises ConfigError for arguments outside what is said here.

    ``names`` (attribute) gives the words for what a call returns.
    """

    n_critic = 1
    from_logits = False
    scores = True
    paired = False
    ema = None

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        loss: str | AutoencoderLoss = "squared-error",
    ) -> None:
        check_trainable("the decoder", G)
        check_trainable("the encoder", D)
        trained = [
            {id(p): p for group in optimizer.param_groups for p in group["params"]}
            for optimizer in (g_optimizer, d_optimizer)
        ]
        twice = trained[0].keys() & trained[1].keys()
        if twice:
            raise ConfigError(
                f"g_optimizer and d_optimizer both hold {len(twice)} parameters of decoder and "
                "encoder, whose one loss would move them twice; leave them out of one optimizer"
            )
        self.G, self.D = G, D
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.loss = resolve_autoencoder(loss)
        self.noise = noise_for(G, "normal")
        self.calls = 0
        self.stage = "the forward of D"  # what is being computed, for the words of a dry run
        self._width = self.noise.shape[0] * (2 if self.loss.variational else 1)

    def __repr__(self) -> str:
        return describe(self)

    @property
    def names(self) -> dict[str, str]:
        """Words for the losses: both for a variational autoencoder, else the error alone."""
        if self.loss.variational:
            return {"g_loss": "reconstruction", "d_loss": "KL divergence"}
        return {"g_loss": "reconstruction"}

    @property
    def sampled(self) -> nn.Module:
        """The network that decodes."""
        return self.G

    @property
    def notes(self) -> tuple[str, ...]:
        """What is trained, one sentence each."""
        kind = "a variational autoencoder" if self.loss.variational else "an autoencoder"
        return (f"Encoder and decoder of {kind} learn together, step by step without graphs.",)

    def __call__(self, real: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Train on one batch of images ``[N, ...]``; ``labels`` are not looked at.

        Returns detached 0-d tensors without synchronising with the device, means over the batch:
        ``g_loss``, the error of reconstruction, and for a variational autoencoder ``d_loss``, the
        divergence in nats, not yet times ``beta``.
        """
        check_batch(real, None, next(self.D.parameters()))
        self.g_optimizer.zero_grad(set_to_none=True)
        self.d_optimizer.zero_grad(set_to_none=True)
        error, divergence = self._gradients(real)
        self.g_optimizer.step()
        self.d_optimizer.step()
        self.calls += 1
        scalars = {"g_loss": error.detach().mean()}
        if self.loss.variational:
            scalars["d_loss"] = divergence.detach().mean()
        return scalars

    def _gradients(self, real: Tensor) -> tuple[Tensor, Tensor]:
        error, divergence = self.terms(real)
        self.stage = f"the gradient of the loss {self.loss.name!r}"
        (error.mean() + self.loss.beta * divergence.mean()).backward()
        return error, divergence

    def terms(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Error and divergence of each image, ``[N]`` both; the divergence is 0 if there is none.

        With the loss ``"elbo"`` minus their sum is an unbiased estimate of the ELBO of each image.
        """
        code = self._encode(images)
        if not self.loss.variational:
            return self._error(self._decode(code), images), code.new_zeros(len(images))
        mean, log_variance = code.chunk(2, dim=1)
        z = mean + (log_variance / 2).exp() * self.noise(len(images)).to(mean.dtype)
        return self._error(self._decode(z), images), kl_to_standard_normal(mean, log_variance)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """``images`` ``[N, C, H, W]`` encoded (to the mean) and decoded, in eval mode."""
        images = images.to(next(self.D.parameters()).dtype)
        with eval_mode(self.G), eval_mode(self.D):
            code = self._encode(images)[:, : self.noise.shape[0]]
            decoded: Tensor = self.G(code)
        return decoded.view_as(images)

    def dry_run(self, real: Tensor, labels: Tensor | None = None) -> None:
        """One step up to the gradients without learning; nothing changes, as for ``GANStep``.

        Raises ConfigError if something of it raises, or if what the networks return cannot be
        trained with.
        """
        check_batch(real, labels, next(self.D.parameters()))
        with rehearsed((self.G, self.D), self.noise), dry_run(self, len(real)):
            self._gradients(real)

    def state_dict(self) -> dict[str, Any]:
        """What the step itself remembers between calls."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as if the calls recorded in ``state`` had been made here."""
        calls = state["calls"]
        if not is_integer(calls) or calls < 0:
            raise CheckpointError(f"the step's calls are {calls!r}; allowed are integers from 0")
        self.calls = calls

    def _decode(self, codes: Tensor) -> Tensor:
        self.stage = "the forward of G"
        return check_tensor("the decoder", self.G(codes))

    def _encode(self, images: Tensor) -> Tensor:
        self.stage = "the forward of D"
        code = check_tensor("the encoder", self.D(images))
        if code.shape != (len(images), self._width):
            raise ConfigError(
                f"the encoder returned {list(code.shape)} for {len(images)} images; the loss "
                f"{self.loss.name!r} and a decoder with z_dim {self.noise.shape[0]} need "
                f"{[len(images), self._width]}"
            )
        return code

    def _error(self, decoded: Tensor, images: Tensor) -> Tensor:
        if decoded.ndim == 0 or decoded.numel() != images.numel():
            raise ConfigError(
                f"the decoder returned {list(decoded.shape)} for {len(images)} codes; allowed is "
                f"the shape of the images, {list(images.shape)}"
            )
        self.stage = f"the loss {self.loss.name!r}"
        return self.loss.reconstruction(decoded.view_as(images), images)
