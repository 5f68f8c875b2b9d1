"""Networks in the public style."""

from __future__ import annotations

from torch import Tensor, nn


def mlp_discriminator(dropout: float = 0.3, inplace: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(20, 32),
        nn.LeakyReLU(0.2, inplace=inplace),
        nn.Dropout(dropout, inplace=inplace),
        nn.Linear(32, 16),
        nn.LeakyReLU(0.2, inplace=inplace),
        nn.Dropout(dropout, inplace=inplace),
        nn.Linear(16, 1),
        nn.Sigmoid(),
    )


def dcgan_generator() -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(8, 16, 4, 1, 0, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(True),
        nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def dcgan_discriminator(dropout: float = 0.25) -> nn.Sequential:
    layers: list[nn.Module] = []
    for c_in, c_out, norm in ((3, 8, False), (8, 16, True), (16, 16, True)):
        layers += [
            nn.Conv2d(c_in, c_out, 3, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout2d(dropout),
        ]
        if norm:
            layers.append(nn.BatchNorm2d(c_out, 0.8))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 1))


class Nested(nn.Module):
    """Sequentials at several depths, and one that is shared."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.BatchNorm2d(3), nn.ReLU(True))
        self.body = nn.ModuleList([self.block, nn.Sequential(self.block, nn.InstanceNorm2d(3))])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body[1](x)
        y += self.block(x)
        return y
