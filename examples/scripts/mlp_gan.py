"""A GAN of fully connected layers, batch norm in the generator."""

from __future__ import annotations

import torch
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, nn

opt = parse()


def block(inputs: int, outputs: int, normalize: bool = True) -> list[nn.Module]:
    """Linear, batch norm, LeakyReLU."""
    layers: list[nn.Module] = [nn.Linear(inputs, outputs)]
    if normalize:
        layers.append(nn.BatchNorm1d(outputs, 0.8))
    layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers


class Generator(nn.Module):
    """Noise to an image."""

    def __init__(self) -> None:
        super().__init__()
        w = 4 * opt.width
        self.model = nn.Sequential(
            *block(100, w, normalize=False),
            *block(w, 2 * w),
            *block(2 * w, 4 * w),
            *block(4 * w, 8 * w),
            nn.Linear(8 * w, 1024),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """``[N, 100]`` to ``[N, 1, 32, 32]``."""
        image: Tensor = self.model(z)
        return image.view(image.size(0), 1, 32, 32)


class Discriminator(nn.Module):
    """An image to the probability of being real."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(1024, 16 * opt.width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(16 * opt.width, 8 * opt.width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(8 * opt.width, 1),
            nn.Sigmoid(),
        )

    def forward(self, image: Tensor) -> Tensor:
        """``[N, 1, 32, 32]`` to ``[N, 1]``."""
        validity: Tensor = self.model(image.view(image.size(0), -1))
        return validity


adversarial_loss = nn.BCELoss()
generator, discriminator = Generator(), Discriminator()
optimizer_G = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))

for step in range(opt.steps):
    real_imgs, _ = images(opt.batch_size)
    valid = torch.ones(opt.batch_size, 1)
    fake = torch.zeros(opt.batch_size, 1)

    optimizer_G.zero_grad()
    gen_imgs = generator(torch.randn(opt.batch_size, 100))
    g_loss = adversarial_loss(discriminator(gen_imgs), valid)
    g_loss.backward()
    optimizer_G.step()

    optimizer_D.zero_grad()
    real_loss = adversarial_loss(discriminator(real_imgs), valid)
    fake_loss = adversarial_loss(discriminator(gen_imgs.detach()), fake)
    d_loss = (real_loss + fake_loss) / 2
    d_loss.backward()
    optimizer_D.step()
    if step % 50 == 0:
        print(f"step {step}: D {d_loss.item():.4f}, G {g_loss.item():.4f}")

finish(opt, generator, discriminator)
