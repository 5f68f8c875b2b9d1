"""Networks of convolutions as GANs have them: few pixels and large weights, and the contrary."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn


class Case(NamedTuple):
    """A network and the shape of a batch that it takes."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]


class Residual(nn.Module):
    """The input plus what the layers make of it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Of the input's shape."""
        y: Tensor = x + self.layers(x)
        return y


def stargan_discriminator() -> nn.Sequential:
    """StarGAN's: each layer halves the sides and doubles the channels, up to 2048."""
    layers: list[nn.Module] = []
    for before, after in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1024), (1024, 2048)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers, nn.Conv2d(2048, 1, 3, 1, 1, bias=False))


def context_encoder_generator() -> nn.Sequential:
    """A context encoder's: down to a bottleneck of 4000 channels, and half the way up again."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in ((64, 64), (64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after, 0.8)]
        layers.append(nn.LeakyReLU(0.2))
    layers.append(nn.Conv2d(512, 4000, 1))
    for before, after in ((4000, 512), (512, 256), (256, 128), (128, 64)):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after, 0.8)]
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Conv2d(64, 3, 3, 1, 1), nn.Tanh())


def patch_discriminator() -> nn.Sequential:
    """CycleGAN's: a score for each patch of the image."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    for before, after in ((64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.InstanceNorm2d(after)]
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers, nn.ZeroPad2d((1, 0, 1, 0)), nn.Conv2d(512, 1, 4, padding=1))


def srgan_discriminator() -> nn.Sequential:
    """SRGAN's: eight 3x3 convolutions, each second one halving the sides."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 128, 256, 512):
        layers += [nn.Conv2d(channels, width, 3, 1, 1)]
        layers += [nn.BatchNorm2d(width)] if channels > 3 else []
        layers += [nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(width, width, 3, 2, 1)]
        layers += [nn.BatchNorm2d(width), nn.LeakyReLU(0.2, inplace=True)]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 3, 1, 1))


def srgan_generator() -> nn.Sequential:
    """SRGAN's: residual blocks, then twice the sides by pixel shuffles."""

    def block() -> Residual:
        return Residual(
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.BatchNorm2d(64, 0.8),
            nn.PReLU(),
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.BatchNorm2d(64, 0.8),
        )

    def larger() -> list[nn.Module]:
        return [nn.Conv2d(64, 256, 3, 1, 1), nn.BatchNorm2d(256), nn.PixelShuffle(2), nn.PReLU()]

    first = nn.Sequential(nn.Conv2d(3, 64, 9, 1, 4), nn.PReLU())
    last = nn.Sequential(*larger(), *larger(), nn.Conv2d(64, 3, 9, 1, 4), nn.Tanh())
    return nn.Sequential(first, *(block() for _ in range(4)), last)


def vgg_features() -> nn.Sequential:
    """VGG-19 to its tenth convolution, by which perceptual losses compare images."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 4)):
        layers += [nn.MaxPool2d(2)] if channels > 3 else []
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


def residual_blocks(width: int, count: int = 4) -> nn.Sequential:
    """CycleGAN's, with padding by reflection and instance norm."""

    def convolution() -> list[nn.Module]:
        return [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]

    blocks = (Residual(*convolution(), nn.ReLU(inplace=True), *convolution()) for _ in range(count))
    return nn.Sequential(*blocks)


def dcgan_generator() -> nn.Sequential:
    """DCGAN's for 64 pixels."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False)]
    for before, after in ((512, 256), (256, 128), (128, 64)):
        layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
        layers.append(nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False))
    layers += [nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())


def dcgan_discriminator() -> nn.Sequential:
    """DCGAN's for 64 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for before, after in ((64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after)]
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 0, bias=False))


def upsampling_generator() -> nn.Sequential:
    """Nearest pixels, convolution, norm and LeakyReLU, twice, for 32 pixels."""
    layers: list[nn.Module] = [nn.BatchNorm2d(128)]
    for before, after in ((128, 128), (128, 64)):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1)]
        layers += [nn.BatchNorm2d(after, 0.8), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(64, 3, 3, 1, 1), nn.Tanh())


CASES = {
    "StarGAN D, 128 px, batch 2": Case(stargan_discriminator, (2, 3, 128, 128)),
    "StarGAN D, 128 px, batch 16": Case(stargan_discriminator, (16, 3, 128, 128)),
    "context encoder G, 128 px, batch 4": Case(context_encoder_generator, (4, 3, 128, 128)),
    "CycleGAN patch D, 128 px, batch 1": Case(patch_discriminator, (1, 3, 128, 128)),
    "CycleGAN patch D, 256 px, batch 1": Case(patch_discriminator, (1, 3, 256, 256)),
    "SRGAN D, 64 px, batch 4": Case(srgan_discriminator, (4, 3, 64, 64)),
    "SRGAN G, 16 px, batch 4": Case(srgan_generator, (4, 3, 16, 16)),
    "VGG-19 to layer 18, 64 px, batch 2": Case(vgg_features, (2, 3, 64, 64)),
    "residual blocks, 128 channels, 32 px, batch 1": Case(
        lambda: residual_blocks(128), (1, 128, 32, 32)
    ),
    "residual blocks, 64 channels, 64 px, batch 4": Case(
        lambda: residual_blocks(64, 2), (4, 64, 64, 64)
    ),
    "DCGAN D, batch 16": Case(dcgan_discriminator, (16, 3, 64, 64)),
    "DCGAN D, batch 64": Case(dcgan_discriminator, (64, 3, 64, 64)),
    "DCGAN G, batch 16": Case(dcgan_generator, (16, 100, 1, 1)),
    "DCGAN G, batch 64": Case(dcgan_generator, (64, 100, 1, 1)),
    "upsampling G, batch 32": Case(upsampling_generator, (32, 128, 8, 8)),
}
