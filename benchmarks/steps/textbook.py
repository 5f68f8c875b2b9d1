"""The MLP GAN as a tutorial writes it: plain PyTorch, nothing of gankit.

This is the loop of "GAN explained simply" (https://dreamgonfly.github.io/blog/gan-explained/,
code in https://github.com/dreamgonfly/GAN-tutorial), after Goodfellow et al. (2014, arXiv
1406.2661). Tests compare against it and benchmarks start from it, so its waste stays: D's turn
builds G's graph and computes G's gradients, G's turn computes D's.

Two things are not the tutorial's, since PyTorch refuses or dropped them: Dropout is not in place
(in-place Dropout after in-place LeakyReLU raises in backward), and Variable is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

Z_DIM = 100


class Generator(nn.Module):
    """Noise ``[N, 100]`` to images ``[N, 1, 28, 28]`` in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Linear(in_features=Z_DIM, out_features=256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(in_features=256, out_features=512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(in_features=512, out_features=1024),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(in_features=1024, out_features=28 * 28),
            nn.Tanh(),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        images: Tensor = self.main(inputs)
        return images.view(-1, 1, 28, 28)


class Discriminator(nn.Module):
    """Images ``[N, 1, 28, 28]`` to the probability ``[N, 1]`` that each is real."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Linear(in_features=28 * 28, out_features=1024),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(dropout),
            nn.Linear(in_features=1024, out_features=512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(dropout),
            nn.Linear(in_features=512, out_features=256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(dropout),
            nn.Linear(in_features=256, out_features=1),
            nn.Sigmoid(),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.main(inputs.view(-1, 28 * 28))
        return scores


@dataclass
class Textbook:
    """Networks, optimizers and loss of the tutorial."""

    G: nn.Module
    D: nn.Module
    g_optimizer: Optimizer
    d_optimizer: Optimizer
    criterion: nn.Module
    noise: Callable[[int], Tensor]


def build(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    dropout: float = 0.5,
    G: nn.Module | None = None,
    D: nn.Module | None = None,
    noise: Callable[[int], Tensor] | None = None,
) -> Textbook:
    """The tutorial's set-up; ``G``, ``D`` and ``noise`` replace its own where a test needs it."""
    G = (G if G is not None else Generator()).to(device, dtype)
    D = (D if D is not None else Discriminator(dropout)).to(device, dtype)

    def normal(n: int) -> Tensor:
        return torch.randn((n, Z_DIM), device=device, dtype=dtype)

    return Textbook(
        G,
        D,
        Adam(G.parameters(), lr=0.0002, betas=(0.5, 0.999)),
        Adam(D.parameters(), lr=0.0002, betas=(0.5, 0.999)),
        nn.BCELoss(),
        noise if noise is not None else normal,
    )


def step(t: Textbook, real_data: Tensor) -> dict[str, Tensor]:
    """One step on real images ``[N, 1, 28, 28]``; the same keys as ``GANStep`` returns."""
    batch_size = real_data.size(0)
    target_real = torch.ones(batch_size, 1, device=real_data.device, dtype=real_data.dtype)
    target_fake = torch.zeros(batch_size, 1, device=real_data.device, dtype=real_data.dtype)

    result_from_real = t.D(real_data)
    d_loss_real = t.criterion(result_from_real, target_real)
    fake_data = t.G(t.noise(batch_size))
    result_from_fake = t.D(fake_data)
    d_loss_fake = t.criterion(result_from_fake, target_fake)
    d_loss = d_loss_real + d_loss_fake
    t.D.zero_grad()
    d_loss.backward()
    t.d_optimizer.step()

    fake_data = t.G(t.noise(batch_size))
    g_loss = t.criterion(t.D(fake_data), target_real)
    t.G.zero_grad()
    g_loss.backward()
    t.g_optimizer.step()

    return {
        "d_loss": d_loss.detach(),
        "g_loss": g_loss.detach(),
        "d_real": result_from_real.detach().mean(),
        "d_fake": result_from_fake.detach().mean(),
    }
