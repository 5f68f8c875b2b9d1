"""Conditional GAN: class embeddings joined to the noise and to the image."""

from __future__ import annotations

import itertools

import torch
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, nn

opt = parse(dropout=0.4)
n_classes, width = 10, 16 * opt.width


class Generator(nn.Module):
    """Noise and a class to an image."""

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(n_classes, n_classes)
        sizes = [100 + n_classes, width // 4, width // 2, width]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [
                nn.Linear(inputs, outputs),
                nn.BatchNorm1d(outputs, 0.8),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.model = nn.Sequential(*layers, nn.Linear(width, 1024), nn.Tanh())

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """``[N, 100]`` and ``[N]`` to ``[N, 1, 32, 32]``."""
        img = self.model(torch.cat((self.label_emb(labels), noise), -1))
        return img.view(img.size(0), 1, 32, 32)


class Discriminator(nn.Module):
    """An image and a class to a score."""

    def __init__(self) -> None:
        super().__init__()
        self.label_embedding = nn.Embedding(n_classes, n_classes)
        self.model = nn.Sequential(
            nn.Linear(n_classes + 1024, width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(width, width),
            nn.Dropout(opt.dropout),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(width, width),
            nn.Dropout(opt.dropout),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(width, 1),
        )

    def forward(self, img: Tensor, labels: Tensor) -> Tensor:
        """``[N, 1, 32, 32]`` and ``[N]`` to ``[N, 1]``."""
        d_in = torch.cat((img.view(img.size(0), -1), self.label_embedding(labels)), -1)
        return self.model(d_in)


loss = torch.nn.MSELoss()
generator, discriminator = Generator(), Discriminator()
optimizer_G = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))

for step in range(opt.steps):
    real_imgs, labels = images(opt.batch_size)
    valid, fake = torch.ones(opt.batch_size, 1), torch.zeros(opt.batch_size, 1)

    optimizer_G.zero_grad()
    gen_labels = torch.randint(0, n_classes, (opt.batch_size,))
    gen_imgs = generator(torch.randn(opt.batch_size, 100), gen_labels)
    g_loss = loss(discriminator(gen_imgs, gen_labels), valid)
    g_loss.backward()
    optimizer_G.step()

    optimizer_D.zero_grad()
    d_real_loss = loss(discriminator(real_imgs, labels), valid)
    d_fake_loss = loss(discriminator(gen_imgs.detach(), gen_labels), fake)
    d_loss = (d_real_loss + d_fake_loss) / 2
    d_loss.backward()
    optimizer_D.step()
    if step % 50 == 0:
        print(f"step {step}: D {d_loss.item():.4f}, G {g_loss.item():.4f}")

finish(opt, generator, discriminator)
