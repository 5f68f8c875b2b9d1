"""A DCGAN whose layers are attributes, called one by one with ``torch.nn.functional``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, nn

opt = parse()


class Generator(nn.Module):
    """Noise to an image."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.deconv1 = nn.ConvTranspose2d(100, d * 4, 4, 1, 0)
        self.deconv1_bn = nn.BatchNorm2d(d * 4)
        self.deconv2 = nn.ConvTranspose2d(d * 4, d * 2, 4, 2, 1)
        self.deconv2_bn = nn.BatchNorm2d(d * 2)
        self.deconv3 = nn.ConvTranspose2d(d * 2, d, 4, 2, 1)
        self.deconv3_bn = nn.BatchNorm2d(d)
        self.deconv4 = nn.ConvTranspose2d(d, 1, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        """``[N, 100, 1, 1]`` to ``[N, 1, 32, 32]``."""
        x = F.relu(self.deconv1_bn(self.deconv1(z)))
        x = F.relu(self.deconv2_bn(self.deconv2(x)))
        x = F.relu(self.deconv3_bn(self.deconv3(x)))
        return torch.tanh(self.deconv4(x))


class Discriminator(nn.Module):
    """An image to a logit."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, d, 4, 2, 1)
        self.conv2 = nn.Conv2d(d, d * 2, 4, 2, 1)
        self.conv2_bn = nn.BatchNorm2d(d * 2)
        self.conv3 = nn.Conv2d(d * 2, d * 4, 4, 2, 1)
        self.conv3_bn = nn.BatchNorm2d(d * 4)
        self.conv4 = nn.Conv2d(d * 4, 1, 4, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 1, 32, 32]`` to ``[N]``."""
        x = F.leaky_relu(self.conv1(x), 0.2)
        x = F.leaky_relu(self.conv2_bn(self.conv2(x)), 0.2)
        x = F.leaky_relu(self.conv3_bn(self.conv3(x)), 0.2)
        x = self.conv4(x)
        return x.view(-1)


G, D = Generator(opt.width), Discriminator(opt.width)
criterion = nn.BCEWithLogitsLoss()
G_optimizer = torch.optim.Adam(G.parameters(), lr=0.0002, betas=(0.5, 0.999))
D_optimizer = torch.optim.Adam(D.parameters(), lr=0.0002, betas=(0.5, 0.999))

for step in range(opt.steps):
    x, _ = images(opt.batch_size)
    y_real, y_fake = torch.ones(opt.batch_size), torch.zeros(opt.batch_size)

    D.zero_grad()
    z = torch.randn(opt.batch_size, 100).view(-1, 100, 1, 1)
    D_loss = criterion(D(x), y_real) + criterion(D(G(z)), y_fake)
    D_loss.backward()
    D_optimizer.step()

    G.zero_grad()
    z = torch.randn(opt.batch_size, 100).view(-1, 100, 1, 1)
    G_loss = criterion(D(G(z)), y_real)
    G_loss.backward()
    G_optimizer.step()
    if step % 50 == 0:
        print(f"[{step}] loss_d: {D_loss.item():.3f}, loss_g: {G_loss.item():.3f}")

finish(opt, G, D)
