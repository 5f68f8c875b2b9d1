"""The DCGAN of the PyTorch tutorial at 28x28, in plain PyTorch; its loop is ``textbook.step``.

Layers: https://dreamgonfly.github.io/blog/gan-explained/; Radford et al., 2015, arXiv 1511.06434.
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTH = 112  # of the tutorial


class Generator(nn.Module):
    """Noise ``[N, 100]`` to images ``[N, 1, 28, 28]`` in [-1, 1]; ``width`` maps at 14x14."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(100, 2 * width, 7, 1, 0, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(True),
            nn.ConvTranspose2d(width, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.main(z.view(-1, 100, 1, 1))
        return images


class Discriminator(nn.Module):
    """Images to the probability ``[N, 1]`` that each is real, or to its logit."""

    def __init__(self, logit: bool = False, width: int = WIDTH) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(2 * width, 1, 7, bias=False),
            nn.Identity() if logit else nn.Sigmoid(),
        )

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.main(images)
        return scores.view(-1, 1)
