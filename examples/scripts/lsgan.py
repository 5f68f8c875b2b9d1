"""Least squares GAN: MSE on the discriminator's scores; dropout after every hidden layer."""

from __future__ import annotations

import torch
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import nn

config = parse(dropout=0.3)
hidden = 16 * config.width

D = nn.Sequential(
    nn.Flatten(),
    nn.Linear(1024, hidden),
    nn.LeakyReLU(0.2),
    nn.Dropout(config.dropout),
    nn.Linear(hidden, hidden // 2),
    nn.LeakyReLU(0.2),
    nn.Dropout(config.dropout),
    nn.Linear(hidden // 2, hidden // 4),
    nn.LeakyReLU(0.2),
    nn.Dropout(config.dropout),
    nn.Linear(hidden // 4, 1),
)
G = nn.Sequential(
    nn.Linear(64, hidden // 4),
    nn.LeakyReLU(0.2),
    nn.Linear(hidden // 4, hidden // 2),
    nn.LeakyReLU(0.2),
    nn.Linear(hidden // 2, hidden),
    nn.LeakyReLU(0.2),
    nn.Linear(hidden, 1024),
    nn.Tanh(),
    nn.Unflatten(1, (1, 32, 32)),
)
d_optimizer = torch.optim.Adam(D.parameters(), lr=0.0002)
g_optimizer = torch.optim.Adam(G.parameters(), lr=0.0002)
mse = nn.MSELoss()

for i in range(config.steps):
    batch, _ = images(config.batch_size)
    ones, zeros = torch.ones(len(batch), 1), torch.zeros(len(batch), 1)

    d_loss = 0.5 * (mse(D(batch), ones) + mse(D(G(torch.randn(len(batch), 64)).detach()), zeros))
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()

    g_loss = 0.5 * mse(D(G(torch.randn(len(batch), 64))), ones)
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    if (i + 1) % 50 == 0:
        print(f"[{i + 1}/{config.steps}] d_loss {d_loss.item():.4f} g_loss {g_loss.item():.4f}")

finish(config, G, D)
