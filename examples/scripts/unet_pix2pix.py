"""Image to image: a U-Net with instance norm against a discriminator of patches."""

from __future__ import annotations

import torch
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, nn

opt = parse(dropout=0.5)


class UNetDown(nn.Module):
    """Halves the image."""

    def __init__(self, in_size: int, out_size: int, normalize: bool = True, dropout: float = 0.0):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_size, out_size, 4, 2, 1, bias=False)]
        if normalize:
            layers.append(nn.InstanceNorm2d(out_size))
        layers.append(nn.LeakyReLU(0.2))
        if dropout:
            layers.append(nn.Dropout(dropout))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C', H/2, W/2]``."""
        return self.model(x)


class UNetUp(nn.Module):
    """Doubles the image and joins what the other side has at this size."""

    def __init__(self, in_size: int, out_size: int, dropout: float = 0.0):
        super().__init__()
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(in_size, out_size, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(out_size),
            nn.ReLU(inplace=True),
        ]
        if dropout:
            layers.append(nn.Dropout(dropout))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor, skip_input: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, 2 C', 2 H, 2 W]``."""
        return torch.cat((self.model(x), skip_input), 1)


class GeneratorUNet(nn.Module):
    """One image to another."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.down1 = UNetDown(3, c, normalize=False)
        self.down2 = UNetDown(c, 2 * c)
        self.down3 = UNetDown(2 * c, 4 * c, dropout=opt.dropout)
        self.up1 = UNetUp(4 * c, 2 * c, dropout=opt.dropout)
        self.up2 = UNetUp(4 * c, c)
        self.final = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(2 * c, 3, 3, padding=1), nn.Tanh()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 3, 32, 32]`` to the same."""
        d1 = self.down1(x)
        d2 = self.down2(d1)
        u1 = self.up1(self.down3(d2), d2)
        return self.final(self.up2(u1, d1))


class Discriminator(nn.Module):
    """Two images to a map of scores."""

    def __init__(self, c: int) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, normalization: bool = True) -> list[nn.Module]:
            layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)]
            if normalization:
                layers.append(nn.InstanceNorm2d(outputs))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(
            *block(6, c, normalization=False),
            *block(c, 2 * c),
            *block(2 * c, 4 * c),
            nn.Conv2d(4 * c, 1, 3, padding=1, bias=False),
        )

    def forward(self, img_A: Tensor, img_B: Tensor) -> Tensor:
        """``[N, 3, 32, 32]`` twice to ``[N, 1, 4, 4]``."""
        return self.model(torch.cat((img_A, img_B), 1))


criterion_GAN, criterion_pixelwise = nn.MSELoss(), nn.L1Loss()
generator, discriminator = GeneratorUNet(opt.width), Discriminator(opt.width)
optimizer_G = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))

for step in range(opt.steps):
    real_B, _ = images(opt.batch_size, 3)
    real_A = real_B.flip(1).neg()
    valid = torch.ones(opt.batch_size, 1, 4, 4)
    fake = torch.zeros(opt.batch_size, 1, 4, 4)

    optimizer_G.zero_grad()
    fake_B = generator(real_A)
    loss_pixel = criterion_pixelwise(fake_B, real_B)
    loss_G = criterion_GAN(discriminator(fake_B, real_A), valid) + 100 * loss_pixel
    loss_G.backward()
    optimizer_G.step()

    optimizer_D.zero_grad()
    loss_real = criterion_GAN(discriminator(real_B, real_A), valid)
    loss_fake = criterion_GAN(discriminator(fake_B.detach(), real_A), fake)
    loss_D = 0.5 * (loss_real + loss_fake)
    loss_D.backward()
    optimizer_D.step()
    if step % 50 == 0:
        print(f"step {step}: D {loss_D.item():.4f}, G {loss_G.item():.4f}")

finish(opt, generator, discriminator)
