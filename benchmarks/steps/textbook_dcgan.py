"""The DCGAN of the PyTorch tutorial at 28x28, in plain PyTorch; its loop is ``textbook.step``.

Layers: https://dreamgonfly.github.io/blog/gan-explained/; Radford et al., 2015, arXiv 1511.06434.
"""

from __future__ import annotations

from torch import Tensor, nn


class Generator(nn.Module):
    """Noise ``[N, 100]`` to images ``[N, 1, 28, 28]`` in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(100, 224, 7, 1, 0, bias=False),
            nn.BatchNorm2d(224),
            nn.ReLU(True),
            nn.ConvTranspose2d(224, 112, 4, 2, 1, bias=False),
            nn.BatchNorm2d(112),
            nn.ReLU(True),
            nn.ConvTranspose2d(112, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.main(z.view(-1, 100, 1, 1))
        return images


class Discriminator(nn.Module):
    """Images to the probability ``[N, 1]`` that each is real, or to its logit."""

    def __init__(self, logit: bool = False) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, 112, 4, 2, 1, bias=False),
            nn.BatchNorm2d(112),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(112, 224, 4, 2, 1, bias=False),
            nn.BatchNorm2d(224),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(224, 1, 7, bias=False),
            nn.Identity() if logit else nn.Sigmoid(),
        )

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.main(images)
        return scores.view(-1, 1)
