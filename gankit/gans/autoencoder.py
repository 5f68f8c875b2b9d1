"""Autoencoders, plain and variational: the decoder of a variational one generates images.

An autoencoder is trained to return its input (Hinton and Salakhutdinov, 2006,
https://doi.org/10.1126/science.1127647). A variational one draws its codes, so that codes from
N(0, 1) decode to new images (Kingma and Welling, 2013, arXiv 1312.6114).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gankit.data.toy import PointData
from gankit.errors import ConfigError
from gankit.losses.autoencoder import (
    AutoencoderLoss,
    bernoulli_nats,
    kl_to_standard_normal,
    resolve_autoencoder,
)
from gankit.nn.inference import eval_mode
from gankit.training.config import Recipe, RunConfig
from gankit.training.noise import Distribution, noise_for
from gankit.training.parts import Parts
from gankit.training.phases import Batch, Phase, Scalars
from gankit.training.pictures import generate
from gankit.training.reports import Curves, Panel
from gankit.training.step import Step


class AutoencoderStep(Step):
    """Trains an encoder and a decoder by one update of one loss per call.

    Variational: the code is ``mean + exp(log_variance / 2) e`` with e from N(0, 1), which lets the
    gradient through to the encoder (Kingma and Welling, 2013, section 2.4).

    Args:
        decoder: from codes ``[N, z_dim]`` to images; its int attribute ``z_dim`` is needed.
        encoder: from images to ``[N, z_dim]``, variational to ``[N, 2 z_dim]``: the means, then the
            logarithms of the variances.
        optimizer: over the parameters of both.
        loss: ``"squared-error"``, ``"elbo"`` or an ``AutoencoderLoss``.
        execution: precision, accumulate, ema (of the decoder), channels_last and cuda_graph, as
            for :class:`gankit.training.Step`.

    A call returns means over the batch: ``reconstruction``, the error of what comes back, and for a
    variational autoencoder ``kl``, the divergence in nats, not yet times ``beta``.

    Raises ConfigError for arguments outside what is said here.
    """

    def __init__(
        self,
        decoder: nn.Module,
        encoder: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: str | AutoencoderLoss = "squared-error",
        **execution: Any,
    ) -> None:
        super().__init__(
            {"decoder": decoder, "encoder": encoder},
            {"both": optimizer},
            averaged={"decoder": "both"},
            **execution,
        )
        self.loss = resolve_autoencoder(loss)
        self.noise = noise_for(decoder, "normal")
        self._width = self.noise.shape[0] * (2 if self.loss.variational else 1)
        self.metrics = {"reconstruction": "reconstruction"}
        if self.loss.variational:
            self.metrics["kl"] = "KL divergence"

    @classmethod
    def from_parts(cls, parts: Parts, *, loss: Any = "squared-error") -> AutoencoderStep:
        """``generator`` is the decoder, ``discriminator`` the encoder; one optimizer holds both."""
        decoder, encoder = parts.generator("decoder"), parts.discriminator("encoder")
        made = resolve_autoencoder(parts.loss(loss))
        if isinstance(parts.data, PointData) and made.reconstruction is bernoulli_nats:
            raise ConfigError(
                f"the likelihood of the loss {made.name!r} is 'bernoulli', for pixels, but "
                f"{parts.data.name} are points; allowed is gankit.losses.elbo with likelihood "
                "'gaussian'"
            )
        both = parts.optimizer(decoder, encoder)
        return cls(decoder, encoder, both, made, **parts.execution)

    @property
    def z_distribution(self) -> Distribution | None:  # type: ignore[override]
        return "normal" if self.loss.variational else None

    @property
    def notes(self) -> tuple[str, ...]:
        kind = "a variational autoencoder" if self.loss.variational else "an autoencoder"
        return (f"Encoder and decoder of {kind} learn together.", *super().notes)

    def schedule(self, call: int) -> tuple[Phase, ...]:
        return (Phase("both", "both"),)

    def draw(self, phase: str, n: int) -> Batch:
        return {"e": self.noise(n)} if self.loss.variational and phase == "both" else {}

    def phase_loss(self, phase: str, batch: Batch) -> tuple[Tensor, Scalars]:
        error, divergence = self.terms(batch["image"], batch.get("e"))
        reported = {"reconstruction": error.detach().mean()}
        if self.loss.variational:
            reported["kl"] = divergence.detach().mean()
        return error.mean() + self.loss.beta * divergence.mean(), reported

    def terms(self, images: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Error and divergence of each image, ``[N]`` both; the divergence is 0 if there is none.

        With the loss ``"elbo"`` minus their sum is an unbiased estimate of the ELBO of each image.
        ``e`` is the noise of a variational code, drawn here if None.
        """
        code = self._encode(images)
        if not self.loss.variational:
            return self._error(self._decode(code), images), code.new_zeros(len(images))
        mean, log_variance = code.chunk(2, dim=1)
        e = self.noise(len(images)) if e is None else e
        z = mean + (log_variance / 2).exp() * e.to(mean.dtype)
        return self._error(self._decode(z), images), kl_to_standard_normal(mean, log_variance)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """``images`` ``[N, C, H, W]`` encoded (to the mean) and decoded, in eval mode."""
        decoder = self.average_of("decoder")
        with eval_mode(decoder), eval_mode(self.networks["encoder"]):
            code = self._encode(images.to(self.device, self.dtype))[:, : self.noise.shape[0]]
            decoded: Tensor = decoder(code)
        return decoded.view_as(images)

    def loss_words(self, phase: str) -> str:
        return f"the loss {self.loss.name!r}"

    def curves(self) -> tuple[Curves, ...]:
        return (Curves("loss", self.metrics),)

    def panels(self, batch: Batch, seed: int) -> list[Panel]:
        real = batch["image"]
        back = Panel("reconstructed", self.reconstruct(real).float().cpu())
        panels = [back, Panel("real", real.float().cpu())]
        if self.loss.variational:  # codes from N(0, 1) mean something to its decoder alone
            made = generate(self.inference(), len(real), seed=seed)
            panels.insert(0, Panel("generated", made.reshape(real.shape)))
        return panels

    def _decode(self, codes: Tensor) -> Tensor:
        return self.run_tensor(self.networks["decoder"], codes)

    def _encode(self, images: Tensor) -> Tensor:
        code = self.run_tensor(self.networks["encoder"], images)
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


_VAE_PAPER = "Kingma and Welling, 2013, https://arxiv.org/abs/1312.6114"

AE = Recipe(
    name="ae",
    summary="autoencoder (Hinton and Salakhutdinov, 2006); its pictures are reconstructions",
    config=RunConfig(
        recipe="ae",
        generator={
            "class_path": "gankit.models.mlp.Generator",
            "init_args": {"hidden": [256, 512]},
        },
        discriminator={
            "class_path": "gankit.models.autoencoder.Encoder",
            "init_args": {"hidden": [512, 256]},
        },
        step={
            "class_path": "gankit.gans.autoencoder.AutoencoderStep",
            "init_args": {"loss": "squared-error"},
        },
        z_dim=8,
        epochs=100,
        batch_size=60,
        lr=1e-3,
        betas=(0.9, 0.999),
    ),
    sources=(
        "The idea and the comparison with PCA: Hinton and Salakhutdinov, 2006, "
        "https://doi.org/10.1126/science.1127647",
        "Layers 512-256-8-256-512, Adam 1e-3: ours",
    ),
)
VAE = Recipe(
    name="vae",
    summary="variational autoencoder (Kingma and Welling, 2013)",
    config=RunConfig(
        recipe="vae",
        generator={
            "class_path": "gankit.models.mlp.Generator",
            "init_args": {"hidden": [256, 512]},
        },
        discriminator={
            "class_path": "gankit.models.autoencoder.Encoder",
            "init_args": {"hidden": [512, 256], "variational": True},
        },
        step={
            "class_path": "gankit.gans.autoencoder.AutoencoderStep",
            "init_args": {"loss": "elbo"},
        },
        z_dim=16,
        epochs=100,
        batch_size=60,
        lr=1e-3,
        betas=(0.9, 0.999),
    ),
    sources=(
        f"The ELBO, one sample per image, Bernoulli pixels: {_VAE_PAPER}",
        "Layers 512-256-16-256-512, Adam 1e-3: ours",
    ),
)
RECIPES = (AE, VAE)
