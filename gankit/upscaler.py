"""The generator of a run of SRResNet or SRGAN, which makes images larger."""

from __future__ import annotations

from torch import Tensor, nn

from gankit._version import __version__
from gankit.errors import ConfigError
from gankit.json_text import text_values
from gankit.training.arguments import whole
from gankit.training.upscaling import TILE, upscale


class LoadedUpscaler(nn.Module):
    """What ``gankit.load`` returns of SRResNet and SRGAN: their generator, without gradients.

    ``upscaler.upscale(images)`` makes images of any size ``upscaler.scale`` times as high and as
    wide; ``upscaler(images)`` is the network itself, in one piece.

    Attributes:
        network: in eval mode.
        scale: how many times as high and wide images become.
        channels: of the images that go in and come out.
        value_range: of images that go in and come out, (-1.0, 1.0); the network's last layer is
            linear, so its images may leave it by a little.
        step: how many steps the run had made; None where that was not recorded.
    """

    def __init__(
        self, network: nn.Module, channels: int, scale: int, step: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.channels, self.scale, self.step = channels, scale, step
        self.value_range = (-1.0, 1.0)

    def forward(self, images: Tensor) -> Tensor:
        """What the network returns for ``images``, in its present mode."""
        large: Tensor = self.network(images)
        return large

    def upscale(self, images: Tensor, *, tile: int = TILE) -> Tensor:
        """``images`` made large, float32 ``[N, C, scale H, scale W]`` in [-1, 1] on the CPU.

        Large images go through the network in tiles, each with as much of its surroundings as a
        pixel of the result depends on, so that no seam is seen; modes do not change.

        Args:
            images: floating point ``[N, C, H, W]`` in [-1, 1], on any device.
            tile: the largest height and width of what is made at once, in pixels of ``images``.

        Raises:
            ConfigError: an argument outside what is said here.
        """
        if not isinstance(images, Tensor) or not images.is_floating_point():
            came = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise ConfigError(f"images are {came}; allowed are floating-point images in [-1, 1]")
        if images.ndim != 4 or images.shape[1] != self.channels or not images.numel():
            raise ConfigError(
                f"images have shape {list(images.shape)}; allowed is [N, {self.channels}, H, W]"
            )
        made = upscale(self.network, images, self.scale, whole("tile", tile))
        return made.clamp(*self.value_range)

    def metadata(self) -> dict[str, str]:
        """What a program must know to use the network, as text, for ``gankit export``."""
        values = {
            "gankit_version": __version__,
            "step": self.step,
            "scale": self.scale,
            "channels": self.channels,
            "value_range": list(self.value_range),
        }
        return text_values(values)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, scale={self.scale}, step={self.step}"
