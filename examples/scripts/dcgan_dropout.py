"""A DCGAN of upsampling layers; the discriminator has Dropout2d before its batch norm."""

from __future__ import annotations

from typing import Any

import torch
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, nn

opt = parse(dropout=0.25)


def weights_init_normal(m: Any) -> None:
    """By the names of the classes, as in many public scripts."""
    name = m.__class__.__name__
    if name.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.02)
    elif name.find("BatchNorm2d") != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0.0)


class Generator(nn.Module):
    """Noise to an image."""

    def __init__(self) -> None:
        super().__init__()
        c = 2 * opt.width
        self.c = c
        self.l1 = nn.Sequential(nn.Linear(100, c * 64))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(c),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(c, c, 3, stride=1, padding=1),
            nn.BatchNorm2d(c, 0.8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(c, c // 2, 3, stride=1, padding=1),
            nn.BatchNorm2d(c // 2, 0.8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(c // 2, 1, 3, stride=1, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """``[N, 100]`` to ``[N, 1, 32, 32]``."""
        out = self.l1(z).view(z.shape[0], self.c, 8, 8)
        image: Tensor = self.conv_blocks(out)
        return image


class Discriminator(nn.Module):
    """An image to the probability of being real."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, bn: bool = True) -> list[nn.Module]:
            layers: list[nn.Module] = [
                nn.Conv2d(inputs, outputs, 3, 2, 1),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Dropout2d(opt.dropout),
            ]
            if bn:
                layers.append(nn.BatchNorm2d(outputs, 0.8))
            return layers

        w = opt.width
        self.model = nn.Sequential(
            *block(1, w // 2, bn=False), *block(w // 2, w), *block(w, 2 * w), *block(2 * w, 4 * w)
        )
        self.adv_layer = nn.Sequential(nn.Linear(4 * w * 4, 1), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:
        """``[N, 1, 32, 32]`` to ``[N, 1]``."""
        out = self.model(image)
        validity: Tensor = self.adv_layer(out.view(out.shape[0], -1))
        return validity


adversarial_loss = torch.nn.BCELoss()
generator, discriminator = Generator(), Discriminator()
generator.apply(weights_init_normal)
discriminator.apply(weights_init_normal)
optimizer_G = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))

for step in range(opt.steps):
    real_imgs, _ = images(opt.batch_size)
    valid, fake = torch.ones(opt.batch_size, 1), torch.zeros(opt.batch_size, 1)

    optimizer_G.zero_grad()
    gen_imgs = generator(torch.randn(opt.batch_size, 100))
    g_loss = adversarial_loss(discriminator(gen_imgs), valid)
    g_loss.backward()
    optimizer_G.step()

    optimizer_D.zero_grad()
    d_loss = (
        adversarial_loss(discriminator(real_imgs), valid)
        + adversarial_loss(discriminator(gen_imgs.detach()), fake)
    ) / 2
    d_loss.backward()
    optimizer_D.step()
    if step % 50 == 0:
        print(f"step {step}: D {d_loss.item():.4f}, G {g_loss.item():.4f}")

finish(opt, generator, discriminator)
