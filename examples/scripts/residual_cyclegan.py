"""Two residual generators with instance norm and a cycle loss, as in CycleGAN."""

from __future__ import annotations

import itertools

import torch
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, nn

opt = parse()
w = opt.width // 2


class ResidualBlock(nn.Module):
    """Adds what two convolutions make of its input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(features, features, 3, bias=False),
            nn.InstanceNorm2d(features),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(features, features, 3, bias=False),
            nn.InstanceNorm2d(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Of the input's shape."""
        y: Tensor = self.block(x)
        y += x
        return y


def generator() -> nn.Sequential:
    """One domain's images to the other's."""
    return nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(3, w, 3, bias=False),
        nn.InstanceNorm2d(w),
        nn.ReLU(inplace=True),
        nn.Conv2d(w, 2 * w, 3, stride=2, padding=1, bias=False),
        nn.InstanceNorm2d(2 * w),
        nn.ReLU(inplace=True),
        ResidualBlock(2 * w),
        ResidualBlock(2 * w),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(2 * w, w, 3, stride=1, padding=1, bias=False),
        nn.InstanceNorm2d(w),
        nn.ReLU(inplace=True),
        nn.ReflectionPad2d(1),
        nn.Conv2d(w, 3, 3),
        nn.Tanh(),
    )


def discriminator() -> nn.Sequential:
    """An image to a map of scores."""
    return nn.Sequential(
        nn.Conv2d(3, w, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(w, 2 * w, 4, stride=2, padding=1, bias=False),
        nn.InstanceNorm2d(2 * w),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(2 * w, 1, 3, padding=1),
    )


G_AB, G_BA, D_A, D_B = generator(), generator(), discriminator(), discriminator()
criterion_GAN, criterion_cycle = nn.MSELoss(), nn.L1Loss()
optimizer_G = torch.optim.Adam(
    itertools.chain(G_AB.parameters(), G_BA.parameters()), lr=0.0002, betas=(0.5, 0.999)
)
optimizer_D = torch.optim.Adam(
    itertools.chain(D_A.parameters(), D_B.parameters()), lr=0.0002, betas=(0.5, 0.999)
)

for step in range(opt.steps):
    real_A, _ = images(opt.batch_size, 3)
    real_B = images(opt.batch_size, 3)[0].neg()
    valid = torch.ones(opt.batch_size, 1, 8, 8)

    optimizer_G.zero_grad()
    fake_B, fake_A = G_AB(real_A), G_BA(real_B)
    loss_GAN = criterion_GAN(D_B(fake_B), valid) + criterion_GAN(D_A(fake_A), valid)
    loss_cycle = criterion_cycle(G_BA(fake_B), real_A) + criterion_cycle(G_AB(fake_A), real_B)
    loss_G = loss_GAN + 10 * loss_cycle
    loss_G.backward()
    optimizer_G.step()

    optimizer_D.zero_grad()
    loss_D = torch.zeros(())
    for D, real, fake in ((D_A, real_A, fake_A), (D_B, real_B, fake_B)):
        loss_D = loss_D + criterion_GAN(D(real), valid)
        loss_D = loss_D + criterion_GAN(D(fake.detach()), torch.zeros_like(valid))
    loss_D.backward()
    optimizer_D.step()
    if step % 50 == 0:
        print(f"step {step}: D {loss_D.item():.4f}, G {loss_G.item():.4f}")

finish(opt, G_AB, G_BA, D_A, D_B)
