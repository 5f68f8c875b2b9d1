"""A GAN's step as an expert writes it with PyTorch alone.

Same losses and same distribution of every draw as the textbook's loop, without its waste: D's fakes
are made under ``no_grad``, real and fake go through D in one pass where no batch norm forbids it, D
is frozen in G's turn, Adam is fused, targets are never allocated, and the last sigmoid is folded
into the loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.steps import textbook
from benchmarks.steps.racing import Autocast
from gankit.bench.ops import peers_leaky_relu_dropout as peers

Pair = Callable[[Tensor], Tensor]


class FastDiscriminator(nn.Module):
    """D of ``textbook`` up to its logit ``[N, 1]``; ``pair`` is LeakyReLU with dropout."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in ((784, 1024), (1024, 512), (512, 256), (256, 1))
        )
        self.pair = pair

    def forward(self, images: Tensor) -> Tensor:
        x = images.view(-1, 784)
        for layer in list(self.layers)[:-1]:
            x = self.pair(layer(x))
        logits: Tensor = self.layers[-1](x)
        return logits


class TunedStep:
    """``step(real)`` trains D, then G, on real images ``[N, ...]``.

    Args:
        G: noise ``[N, 100]`` to images.
        D: images to logits, ``[N, 1]``.
        paired: whether one pass of D may take real and fake images.
        compile_mode: None runs eagerly; else forward, losses and backward of both turns are
            compiled in this mode of ``torch.compile`` (the fused Adam is one kernel already).
        bf16: both networks under ``torch.autocast``, losses in float32.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        paired: bool,
        compile_mode: str | None = None,
        bf16: bool = False,
    ) -> None:
        if bf16:
            G, D = Autocast(G), Autocast(D)
        self.G, self.D, self.paired = G, D, paired
        self.device = next(G.parameters()).device
        self.g_optimizer, self.d_optimizer = (
            torch.optim.Adam(
                network.parameters(),
                lr=2e-4,
                betas=(0.5, 0.999),
                fused=True,
                capturable=self.device.type == "cuda",
            )
            for network in (G, D)
        )
        self._make_fakes: Callable[[Tensor], Tensor] = G
        self._d_loss, self._g_loss = self._discriminator_loss, self._generator_loss
        self._marks_steps = compile_mode in ("max-autotune", "reduce-overhead")
        if compile_mode is not None:
            self._make_fakes, self._d_loss, self._g_loss = (
                torch.compile(function, mode=compile_mode, dynamic=False, fullgraph=True)
                for function in (G, self._discriminator_loss, self._generator_loss)
            )

    def __call__(self, real: Tensor) -> dict[str, Tensor]:
        # First, since compiled code that runs as a CUDA graph reuses the gradients' memory.
        self.d_optimizer.zero_grad(set_to_none=True)
        self.g_optimizer.zero_grad(set_to_none=True)
        if self._marks_steps:
            torch.compiler.cudagraph_mark_step_begin()
        n = real.shape[0]
        with torch.no_grad():
            fake = self._make_fakes(self._noise(n))
        d_loss, d_real, d_fake = self._d_loss(real, fake)
        d_loss.backward()
        self.d_optimizer.step()

        self.D.requires_grad_(False)
        g_loss = self._g_loss(self._noise(n))
        g_loss.backward()
        self.D.requires_grad_(True)
        self.g_optimizer.step()
        return {
            "d_loss": d_loss.detach(),
            "g_loss": g_loss.detach(),
            "d_real": d_real,
            "d_fake": d_fake,
        }

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, textbook.Z_DIM, device=self.device)

    def _discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.paired:
            real_out, fake_out = self.D(torch.cat([real, fake])).chunk(2)
        else:
            real_out, fake_out = self.D(real), self.D(fake)
        loss = F.softplus(-real_out).mean() + F.softplus(fake_out).mean()
        with torch.no_grad():
            return loss, real_out.sigmoid().mean(), fake_out.sigmoid().mean()

    def _generator_loss(self, z: Tensor) -> Tensor:
        return F.softplus(-self.D(self.G(z))).mean()


class TunedMLP(TunedStep):
    """The tutorial's fully connected GAN, tuned.

    Args:
        device: where.
        pair: LeakyReLU with dropout, one of ``gankit.bench.ops.peers_leaky_relu_dropout``.
        compile_mode, bf16: as for ``TunedStep``.
    """

    def __init__(
        self,
        device: torch.device,
        pair: Pair = peers.swapped,
        compile_mode: str | None = None,
        bf16: bool = False,
    ) -> None:
        G, D = textbook.Generator().to(device), FastDiscriminator(pair).to(device)
        super().__init__(G, D, paired=True, compile_mode=compile_mode, bf16=bf16)
