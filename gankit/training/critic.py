"""D as a ``GANStep`` calls it: on real and generated images, with labels, and for a penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses.wrapped import eagerly
from gankit.nn.inference import eval_mode
from gankit.training.arguments import Auto
from gankit.training.labelling import Labelling, check_takes_labels
from gankit.training.outputs import Output, PerImage, read_output
from gankit.training.pairing import PairedPass
from gankit.training.phases import Batch


class Critic:
    """Reads what D returns as :class:`gankit.training.outputs.Output`.

    Args:
        D: the discriminator.
        run: ``run(D, *inputs)``, how the step calls networks (``Step.run``).
        labelling: whether D is given labels or classifies.
        paired: as for ``GANStep``.
    """

    def __init__(
        self, D: nn.Module, run: Callable[..., Any], labelling: Labelling, paired: Auto
    ) -> None:
        self.D, self.run, self.labelling = D, run, labelling
        self.passes = PairedPass(D, paired)

    def __call__(
        self, images: Tensor, batch: Batch, function: Callable[..., Any] | None = None
    ) -> Output:
        """D's output on ``images`` with the labels of ``batch``, or ``function``'s in D's place."""
        labels = self.labelling.of_d(batch)
        return self._read(self.run(function or self.D, images, *labels), len(images))

    def both(
        self,
        real: Tensor,
        fake: Tensor,
        batch: Batch,
        function: Callable[..., Any] | None = None,
    ) -> tuple[Output, Output]:
        """Those on ``real`` and on ``fake``, in one pass of D where that is exact or asked for."""
        if not self.passes.serves(real, fake):
            return self(real, batch, function), self(fake, batch, function)
        labels = [torch.cat([one, one]) for one in self.labelling.of_d(batch)]
        with self.passes.found.halves():
            out = self.run(function or self.D, torch.cat([real, fake.to(real.dtype)]), *labels)
        return self._read(out, 2 * len(real)).halves(len(real))

    def penalty(
        self,
        function: Callable[..., Tensor],
        real: Tensor,
        fake: Tensor,
        batch: Batch,
        *,
        alone: bool,
    ) -> Tensor:
        """``function`` of D, or of a critic of one score per image unless D returns one ``alone``.

        Raises ConfigError if it cannot be given the labels that D takes, or returns no 0-d tensor.
        """
        labels = self.labelling.of_d(batch)
        if labels:
            check_takes_labels(function)
        with eagerly():  # compiled code has no double backward
            value = function(
                self.D if alone else PerImage(self.D),
                real,
                fake,
                **({"critic_args": labels} if labels else {}),
            )
        if not isinstance(value, Tensor) or value.ndim != 0:
            got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ConfigError(f"penalty returned {got}; allowed is a 0-d tensor")
        return value

    @torch.no_grad()
    def scores(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """What D returns for each image in eval mode, the mean of several scores; ``[N]``."""
        batch = {} if labels is None else {"label": labels}
        with eval_mode(self.D):
            out = self.D(images, *self.labelling.of_d(batch))
        return self._read(out, len(images)).per_image()

    def _read(self, out: Any, n: int) -> Output:
        return read_output(out, n, classifies=self.labelling.classifies)
