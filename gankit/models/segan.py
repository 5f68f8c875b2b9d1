"""The networks of SEGAN (Pascual, Bonafonte and Serra, 2017, arXiv:1703.09452).

Convolutions of 31 samples and stride 2 halve a window of sound down to a code, and transposed ones
double it again beside what the encoder had of that length. Layers have no bias, as in the authors'
code: without noise, silence stays silent. Keys of the ``state_dict`` are ``down.LEVEL.weight``,
``down_act.LEVEL.weight`` and ``up.STEP.weight``, ``up_act.STEP.weight`` of the generator,
``down.LEVEL.weight``, ``norm.LEVEL.*``, ``score.weight``, ``head.*`` and ``reference`` of the
discriminator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError, DataError
from gankit.models.checks import check_positive, check_slope
from gankit.models.initialization import Init, initialize
from gankit.nn import VirtualBatchNorm
from gankit.nn.recording import records_graph
from gankit.nn.traits import declares
from gankit.scalars import is_integer, is_number

__all__ = ["Discriminator", "Generator"]

_KERNEL = 31
# Feature maps of each level, in widths: 16 to 1024 in the paper.
_GROWTH = (1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 64)
# Samples of the code that a window of the default number of levels ends in, at the least.
_CODE = 8


@declares(per_sample=True)
class Generator(nn.Module):
    """Windows of noisy speech, and noise at the code, to windows of clean speech.

    PReLU with a slope per feature map; a decoder's level sees the encoder's convolution of that
    length in front of its PReLU. The last layer has Tanh.

    Args:
        window: samples of a window in training.
        width: feature maps of the first level; the following ones have 2, 2, 4, 4, 8, 8, 16, 16,
            32 and 64 times as many.
        levels: 1 to 11, such that ``window`` is a multiple of ``2^levels``. None: the most for
            which the code has at least 8 samples, which is 11 for 16,384 samples, as in the paper.
        preemphasis: p of the filter ``y[t] = x[t] - p x[t-1]`` that sound goes through first, and
            whose inverse it goes through last, outside of the network; from 0, below 1.
        init: ``"truncated"``, N(0, 0.02) cut at two standard deviations, as in the authors' code;
            ``"pytorch"``; or a function applied to every submodule.

    Attributes:
        window, preemphasis: as given.
        size_multiple: the length of a window is a multiple of this number, ``2^levels``.
        z_channels: feature maps of the code, and of z.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        window: int = 16384,
        width: int = 16,
        levels: int | None = None,
        preemphasis: float = 0.95,
        init: Init = "truncated",
    ) -> None:
        super().__init__()
        if not is_number(preemphasis) or not 0.0 <= preemphasis < 1.0:
            raise ConfigError(f"preemphasis must be from 0 and below 1, got {preemphasis!r}")
        widths = _widths(window, width, levels)
        self.window = int(window)
        self.preemphasis = float(preemphasis)
        self.size_multiple, self.z_channels = 2 ** len(widths), widths[-1]
        self.down = _convolutions(1, widths)
        self.down_act = nn.ModuleList(nn.PReLU(maps) for maps in widths)
        self.up, self.up_act = nn.ModuleList(), nn.ModuleList()
        before = 2 * widths[-1]  # z beside the code
        for maps in (*reversed(widths[:-1]), 1):
            self.up.append(
                nn.ConvTranspose1d(before, maps, _KERNEL, 2, _KERNEL // 2, 1, bias=False)
            )
            before = 2 * maps  # the skip comes beside it
        self.up_act.extend(nn.PReLU(maps) for maps in reversed(widths[:-1]))
        initialize(self, init, truncated=_truncated)

    def z_shape(self, length: int) -> tuple[int, int]:
        """The shape of z for a window of ``length`` samples, without the batch."""
        return self.z_channels, length // self.size_multiple

    def forward(self, noisy: Tensor, z: Tensor | None = None) -> Tensor:
        """Windows ``[N, 1, L]`` with pre-emphasis to clean ones ``[N, 1, L]`` in [-1, 1].

        ``z`` is N(0, 1) noise ``[N, *z_shape(L)]``; None draws it from torch's default generator.
        Raises DataError for other shapes, or where L is no multiple of ``size_multiple``.
        """
        if not records_graph():  # which may be for any length
            self._check(noisy, z)
        if z is None:
            z = torch.randn(noisy.shape[0], *self.z_shape(noisy.shape[2]), device=noisy.device).to(
                noisy.dtype
            )
        skips: list[Tensor] = []
        x = noisy
        for down, act in zip(self.down, self.down_act, strict=True):
            skips.append(down(x))
            x = act(skips[-1])
        skips.pop()  # it is the code
        x = torch.cat([z.to(x.dtype), x], 1)
        for up, act in zip(self.up, self.up_act, strict=False):
            x = torch.cat([act(up(x)), skips.pop()], 1)
        clean: Tensor = self.up[-1](x).tanh()
        return clean

    def _check(self, noisy: Tensor, z: Tensor | None) -> None:
        multiple = self.size_multiple
        length = noisy.shape[2] if noisy.dim() == 3 else 0
        if noisy.dim() != 3 or noisy.shape[1] != 1 or not length or length % multiple:
            raise DataError(
                f"windows must have shape [N, 1, L], L a multiple of {multiple}, got "
                f"{list(noisy.shape)}"
            )
        expected = [noisy.shape[0], *self.z_shape(length)]
        if z is not None and list(z.shape) != expected:
            raise DataError(f"z must have shape {expected}, got {list(z.shape)}")


@declares(per_sample=True, output="head")
class Discriminator(nn.Module):
    """Windows of clean or enhanced speech beside the noisy ones, to a score each.

    The encoder of the generator with virtual batch norm and LeakyReLU, a convolution of one sample
    to one feature map, and a linear layer. It keeps the reference batch of its norms, which goes
    through it with every batch; until :meth:`set_reference` has set it, scores are NaN.

    Args:
        in_channels: of the input, candidate and noisy window beside one another.
        window: samples of a window.
        width, levels: as for :class:`Generator`.
        references: windows of the reference batch.
        negative_slope: of LeakyReLU, finite and >= 0.
        init: as for :class:`Generator`; the scale of a norm is then N(1, 0.02).

    Attributes:
        window: as given.
        reference: the reference batch, ``[references, in_channels, window]``.

    Raises:
        ConfigError: a setting is not allowed.
    """

    reference: Tensor

    def __init__(
        self,
        in_channels: int = 2,
        window: int = 16384,
        width: int = 16,
        levels: int | None = None,
        references: int = 16,
        negative_slope: float = 0.3,
        init: Init = "truncated",
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("references", references)
        check_slope(negative_slope)
        widths = _widths(window, width, levels)
        self.window, self.references, self.slope = int(window), int(references), negative_slope
        self.down = _convolutions(in_channels, widths)
        self.norm = nn.ModuleList(VirtualBatchNorm(maps) for maps in widths)
        self.score = nn.Conv1d(widths[-1], 1, 1, bias=False)
        self.head = nn.Linear(self.window // 2 ** len(widths), 1)
        shape = (self.references, int(in_channels), self.window)
        self.register_buffer("reference", torch.full(shape, float("nan")))
        initialize(self, init, truncated=_truncated)

    @torch.no_grad()
    def set_reference(self, pairs: Tensor) -> None:
        """Keep ``pairs`` ``[references, in_channels, window]`` as the reference batch.

        Raises DataError for another shape, or values that are not finite.
        """
        if pairs.shape != self.reference.shape or not bool(pairs.isfinite().all()):
            raise DataError(
                f"the reference batch must be finite of shape {list(self.reference.shape)}, got "
                f"{list(pairs.shape)}"
            )
        self.reference.copy_(pairs)

    def forward(self, pairs: Tensor) -> Tensor:
        """Windows ``[N, in_channels, window]`` to scores ``[N, 1]``.

        Raises DataError for another shape.
        """
        if pairs.dim() != 3 or pairs.shape[1:] != self.reference.shape[1:]:
            raise DataError(
                f"windows must have shape [N, {', '.join(map(str, self.reference.shape[1:]))}], "
                f"got {list(pairs.shape)}"
            )
        x = torch.cat([self.reference.to(pairs.dtype), pairs])
        for down, norm in zip(self.down, self.norm, strict=True):
            x = F.leaky_relu(norm(down(x), self.references), self.slope)
        scores: Tensor = self.head(self.score(x[self.references :]).flatten(1))
        return scores


def _widths(window: int, width: int, levels: int | None) -> list[int]:
    """The feature maps of each level."""
    check_positive("width", width)
    if not is_integer(window) or window < 2 or window % 2:
        raise ConfigError(f"window must be an even number of samples, got {window!r}")
    if levels is None:
        found = [n for n in range(1, len(_GROWTH) + 1) if not window % 2**n]
        levels = max((n for n in found if window // 2**n >= _CODE), default=1)
    if not is_integer(levels) or not 1 <= levels <= len(_GROWTH) or window % 2**levels:
        raise ConfigError(
            f"levels must be an integer from 1 to {len(_GROWTH)} with a window that is a multiple "
            f"of 2^levels, got levels {levels!r} and window {window}"
        )
    return [int(width) * growth for growth in _GROWTH[:levels]]


def _convolutions(channels: int, widths: list[int]) -> nn.ModuleList:
    layers = nn.ModuleList()
    for before, maps in zip([channels, *widths], widths, strict=False):
        layers.append(nn.Conv1d(before, maps, _KERNEL, 2, _KERNEL // 2, bias=False))
    return layers


def _truncated(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
        nn.init.trunc_normal_(module.weight, 0.0, 0.02, -0.04, 0.04)
    elif isinstance(module, VirtualBatchNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)
