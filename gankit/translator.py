"""Generators of images out of images that know how they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, SupportsIndex

from torch import Tensor, nn

from gankit._version import __version__
from gankit.errors import ConfigError
from gankit.json_text import text_values
from gankit.training.arguments import whole
from gankit.training.translation import check_images, seed_or_drawn, translate

DIRECTIONS = ("a2b", "b2a")


class LoadedTranslator(nn.Module):
    """What ``gankit.load`` returns of pix2pix, CycleGAN and DiscoGAN: generators without gradients.

    ``translator.a2b(images)`` turns images of domain a into images of domain b, and
    ``translator.b2a(images)`` goes back, where the run has learned that. The networks themselves
    are ``translator.networks["a2b"]`` and so on, in eval mode.

    Attributes:
        networks: by direction.
        directions: ``("a2b", "b2a")``, or the one of them that there is.
        shapes: ``(C, H, W)`` of the images a and b that the run was trained on, by domain.
        value_range: of images that go in and come out, (-1.0, 1.0).
        step: how many steps the run had made; None where that was not recorded.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        shapes: Mapping[str, tuple[int, ...]],
        step: int | None = None,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(dict(networks))
        self.directions = tuple(networks)
        self.shapes = dict(shapes)
        self.value_range = (-1.0, 1.0)
        self.step = step

    def direction(self, direction: str | None = None) -> str:
        """``direction``, or the only one where it is None. Raises ConfigError without such one."""
        if direction is None and len(self.directions) == 1:
            return self.directions[0]
        if direction not in self.directions:
            raise ConfigError(
                f"direction is {'not given' if direction is None else repr(direction)}; "
                f"allowed is {' or '.join(map(repr, self.directions))}"
            )
        return direction

    def forward(self, images: Tensor, direction: str | None = None) -> Any:
        """What the network of ``direction`` returns for ``images``, in its present mode.

        ``direction`` may be left out where there is one.
        """
        return self.networks[self.direction(direction)](images)

    def translate(
        self,
        images: Tensor,
        direction: str | None = None,
        *,
        seed: SupportsIndex | None = None,
        batch: int = 16,
    ) -> Tensor:
        """``images`` in the other domain, float32 ``[N, C', H, W]`` in [-1, 1] on the CPU.

        A network whose noise is dropout (a U-Net of pix2pix) draws it here, and its batch norms
        take the statistics of one image, as in the paper; each image goes through by itself. Any
        other network runs in eval mode. Where H or W is no multiple of the network's
        ``size_multiple``, images are continued at the right and at the bottom by their mirror
        image, and the result is cut to their size; for a network of one size (a DiscoGAN with a
        code) images are stretched to it, and the result back. Neither modes nor any global random
        state change, but where ``seed`` is None.

        Args:
            images: floating point ``[N, C, H, W]`` in [-1, 1], on any device.
            direction: ``"a2b"`` or ``"b2a"``; may be left out where there is one.
            seed: decides the noise, which is the same for every image. None draws it from torch's
                global generator: other images at each call.
            batch: how many images a network without noise takes at a time.

        Raises:
            ConfigError: an argument outside what is said here.
        """
        direction, batch = self.direction(direction), whole("batch", batch)
        check_images(images, self.shapes[direction[0]][0], f" for {direction}")
        return translate(self.networks[direction], images, seed=seed_or_drawn(seed), batch=batch)

    def a2b(self, images: Tensor, **options: Any) -> Tensor:
        """``translate`` from domain a to domain b."""
        return self.translate(images, "a2b", **options)

    def b2a(self, images: Tensor, **options: Any) -> Tensor:
        """``translate`` from domain b to domain a."""
        return self.translate(images, "b2a", **options)

    def metadata(self, direction: str) -> dict[str, str]:
        """What a program must know to use one network, as text, for ``gankit export``."""
        source, target = direction.split("2")
        values = {
            "gankit_version": __version__,
            "direction": direction,
            "step": self.step,
            "input_shape": list(self.shapes[source]),
            "image_shape": list(self.shapes[target]),
            "value_range": list(self.value_range),
        }
        return text_values(values)

    def extra_repr(self) -> str:
        return f"shapes={self.shapes}, step={self.step}"
