"""Hinge loss, spectral norm in the discriminator, batch norm in the generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

args = parse()
w = args.width


class Generator(nn.Module):
    """Noise to an image."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ConvTranspose2d(128, 4 * w, 4, stride=1),
            nn.BatchNorm2d(4 * w),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * w, 2 * w, 4, stride=2, padding=1),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.ConvTranspose2d(w, 3, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """``[N, 128]`` to ``[N, 3, 32, 32]``."""
        return self.model(z.view(-1, 128, 1, 1))


class Discriminator(nn.Module):
    """An image to a score."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(3, w, 3, stride=1, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(w, w, 4, stride=2, padding=1))
        self.conv3 = spectral_norm(nn.Conv2d(w, 2 * w, 4, stride=2, padding=1))
        self.conv4 = spectral_norm(nn.Conv2d(2 * w, 4 * w, 4, stride=2, padding=1))
        self.fc = spectral_norm(nn.Linear(4 * 4 * 4 * w, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 3, 32, 32]`` to ``[N, 1]``."""
        m = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            m = F.leaky_relu(layer(m), 0.1)
        return self.fc(m.view(m.size(0), -1))


generator, discriminator = Generator(), Discriminator()
optim_disc = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.0, 0.9))
optim_gen = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.0, 0.9))

for step in range(args.steps):
    data, _ = images(args.batch_size, 3)
    optim_disc.zero_grad()
    fakes = generator(torch.randn(args.batch_size, 128)).detach()
    disc_loss = F.relu(1.0 - discriminator(data)).mean() + F.relu(1.0 + discriminator(fakes)).mean()
    disc_loss.backward()
    optim_disc.step()

    optim_gen.zero_grad()
    gen_loss = -discriminator(generator(torch.randn(args.batch_size, 128))).mean()
    gen_loss.backward()
    optim_gen.step()
    if step % 50 == 0:
        print(f"step {step}: disc {disc_loss.item():.4f}, gen {gen_loss.item():.4f}")

finish(args, generator, discriminator)
