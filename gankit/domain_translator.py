"""A generator of images out of images that is told the domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from gankit._version import __version__
from gankit.errors import ConfigError, shortened
from gankit.json_text import text_values
from gankit.scalars import is_integer
from gankit.training.arguments import whole
from gankit.training.translation import check_images, seed_or_drawn, translate

To = str | int | Sequence[str | int] | Tensor
_NAMED = 12


class DomainTranslator(nn.Module):
    """What ``gankit.load`` returns of StarGAN: its generator, without gradients.

    ``translator.translate(images, "red")`` brings images to a domain; the network itself is
    ``translator.network``, in eval mode.

    Attributes:
        network: called as ``network(images, target)``.
        domains: the names of the K domains, or attributes, in the order of a target's entries.
        exclusive: an image is of one of them; else they are attributes, of which it may have any.
        image_shape: ``(C, H, W)`` of the images that the run was trained on.
        value_range: of images that go in and come out, (-1.0, 1.0).
        step: how many steps the run had made; None where that was not recorded.
    """

    def __init__(
        self,
        network: nn.Module,
        domains: Sequence[str],
        exclusive: bool,
        image_shape: tuple[int, ...],
        step: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.domains = tuple(domains)
        self.exclusive = exclusive
        self.image_shape = tuple(image_shape)
        self.value_range = (-1.0, 1.0)
        self.step = step

    def forward(self, images: Tensor, target: Tensor) -> Any:
        """What the network returns for images and targets ``[N, K]``, in its present mode."""
        return self.network(images, target)

    def target(self, to: To, n: int = 1) -> Tensor:
        """The target of ``n`` images, float32 ``[n, K]``; ``to`` is as for ``translate``.

        Raises ConfigError for domains that there are not.
        """
        if isinstance(to, Tensor):
            if tuple(to.shape) != (n, len(self.domains)):
                raise ConfigError(
                    f"to has shape {list(to.shape)}; allowed is [{n}, {len(self.domains)}], a row "
                    "for each image"
                )
            return to.float()
        named = [to] if isinstance(to, (str, int)) or is_integer(to) else list(to)
        if self.exclusive and len(named) != 1:
            raise ConfigError(
                f"to is {shortened(to)}; allowed is one domain, of {self._in_words()}, which "
                "exclude each other"
            )
        row = torch.zeros(len(self.domains))
        for one in named:
            row[self._number(one)] = 1
        return row.repeat(n, 1)

    def translate(
        self, images: Tensor, to: To, *, seed: SupportsIndex | None = None, batch: int = 16
    ) -> Tensor:
        """``images`` as they would be in the domain ``to``, float32 ``[N, C, H, W]`` in [-1, 1].

        The network runs in eval mode; the result is on the CPU. Images of any size are taken, as by
        :meth:`gankit.translator.LoadedTranslator.translate`.

        Args:
            images: floating point ``[N, C, H, W]`` in [-1, 1], on any device.
            to: a domain by its name or number; of attributes also a sequence, those that all images
                shall have, while they lose the others; or the targets themselves, ``[N, K]``.
            seed: decides the noise of a network that draws some. None draws it from torch's global
                generator.
            batch: how many images the network takes at a time.

        Raises:
            ConfigError: an argument outside what is said here.
        """
        batch = whole("batch", batch)
        check_images(images, self.image_shape[0])
        target = self.target(to, len(images))
        return translate(self.network, images, seed=seed_or_drawn(seed), batch=batch, target=target)

    def metadata(self) -> dict[str, str]:
        """What a program must know to use the network, as text, for ``gankit export``."""
        values = {
            "gankit_version": __version__,
            "step": self.step,
            "domains": list(self.domains),
            "exclusive": self.exclusive,
            "image_shape": list(self.image_shape),
            "value_range": list(self.value_range),
        }
        return text_values(values)

    def extra_repr(self) -> str:
        return f"domains={self.domains}, image_shape={self.image_shape}, step={self.step}"

    def _number(self, one: object) -> int:
        if isinstance(one, str) and one in self.domains:
            return self.domains.index(one)
        # A class may be called 1, so names come before numbers.
        number = int(one) if isinstance(one, str) and one.isascii() and one.isdigit() else one
        if is_integer(number) and 0 <= number < len(self.domains):
            return int(number)
        raise ConfigError(
            f"to is {shortened(one)}; allowed are {self._in_words()}, or 0 to "
            f"{len(self.domains) - 1}"
        )

    def _in_words(self) -> str:
        more = len(self.domains) - _NAMED
        return ", ".join(self.domains[:_NAMED]) + (f" and {more} more" if more > 0 else "")
