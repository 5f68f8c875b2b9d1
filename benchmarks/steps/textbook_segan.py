"""SEGAN in plain PyTorch: networks, virtual batch norm and loop (Pascual et al., 2017, 1703.09452).

Four levels in place of eleven, as the recipe ``segan-toy`` has them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (8, 16, 16, 32)
D_WIDTHS = (2, 4, 4, 8)
WINDOW, REFERENCES, PREEMPHASIS = 512, 4, 0.7


class Generator(nn.Module):
    """Noisy windows ``[N, 1, L]`` and z ``[N, 32, L / 16]`` to clean ones in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        ins, ups = (1, *WIDTHS), (*WIDTHS[-2::-1], 1)
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, 31, 2, 15, bias=False) for a, b in zip(ins, WIDTHS, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(2 * a, b, 31, 2, 15, 1, bias=False)
            for a, b in zip(reversed(WIDTHS), ups, strict=True)
        )
        self.down_act = nn.ModuleList(nn.PReLU(b) for b in WIDTHS)
        self.up_act = nn.ModuleList(nn.PReLU(b) for b in ups[:-1])

    def forward(self, noisy: Tensor, z: Tensor) -> Tensor:
        skips, x = [], noisy
        for down, act in zip(self.down, self.down_act, strict=True):
            skips.append(down(x))
            x = act(skips[-1])
        x = torch.cat([z, x], 1)
        for number, act in enumerate(self.up_act):
            x = torch.cat([act(self.up[number](x)), skips[-2 - number]], 1)
        return torch.tanh(self.up[-1](x))


class Discriminator(nn.Module):
    """Pairs of windows ``[N, 2, L]`` to scores ``[N, 1]``, with a fixed reference batch."""

    reference: Tensor

    def __init__(self) -> None:
        super().__init__()
        ins = (2, *D_WIDTHS)
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, 31, 2, 15, bias=False) for a, b in zip(ins, D_WIDTHS, strict=False)
        )
        self.gamma = nn.ParameterList(torch.ones(1, b, 1) for b in D_WIDTHS)
        self.beta = nn.ParameterList(torch.zeros(1, b, 1) for b in D_WIDTHS)
        self.score = nn.Conv1d(D_WIDTHS[-1], 1, 1, bias=False)
        self.head = nn.Linear(WINDOW // 16, 1)
        self.register_buffer("reference", torch.rand(REFERENCES, 2, WINDOW) * 2 - 1)

    def forward(self, pairs: Tensor) -> Tensor:
        ref, x, share = self.reference, pairs, 1 / (REFERENCES + 1)
        for down, gamma, beta in zip(self.down, self.gamma, self.beta, strict=True):
            ref, x = down(ref), down(x)
            mean, square = ref.mean((0, 2), True), ref.square().mean((0, 2), True)
            both = (1 - share) * mean + share * x.mean(2, True)
            squares = (1 - share) * square + share * x.square().mean(2, True)
            x = (x - both) / (squares - both.square() + 1e-5).sqrt() * gamma + beta
            ref = (ref - mean) / (square - mean.square() + 1e-5).sqrt() * gamma + beta
            ref, x = F.leaky_relu(ref, 0.3), F.leaky_relu(x, 0.3)
        scores: Tensor = self.head(self.score(x).flatten(1))
        return scores


def emphasized(x: Tensor) -> Tensor:
    return x - PREEMPHASIS * torch.cat([x[..., :1], x[..., :-1]], -1)


class Loop:
    """The plain loop: a call trains D, then G, on windows ``[N, 2, L]``, noisy and clean."""

    def __init__(self, G: nn.Module, D: nn.Module) -> None:
        self.G, self.D = G, D
        self.g_optimizer = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.d_optimizer = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def __call__(self, windows: Tensor) -> Mapping[str, Tensor]:
        noisy, clean = emphasized(windows).split(1, 1)
        z = torch.randn(len(noisy), WIDTHS[-1], WINDOW // 16, device=noisy.device)
        fake = self.G(noisy, z)
        real_score = self.D(torch.cat([noisy, clean], 1))
        fake_score = self.D(torch.cat([noisy, fake.detach()], 1))
        d_loss = ((real_score - 1).square().mean() + fake_score.square().mean()) / 2
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()
        score, l1 = self.D(torch.cat([noisy, fake], 1)), (fake - clean).abs().mean()
        g_loss = (score - 1).square().mean() / 2
        self.g_optimizer.zero_grad()
        (g_loss + 100 * l1).backward()
        self.g_optimizer.step()
        return {"d_loss": d_loss.detach(), "g_loss": g_loss.detach(), "l1": l1.detach()}
