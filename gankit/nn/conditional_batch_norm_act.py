"""Conditional batch normalisation and its activation as one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .batch_norm_act import NormAct, check_images
from .recording import activated
from .traits import declares


@declares(grouped=True, any_layout=True)
class ConditionalBatchNormAct2d(NormAct):
    """Batch normalisation whose scale and shift differ from sample to sample, and its activation.

    Conditional batch normalisation (Dumoulin, Shlens and Kudlur, 2016, arXiv:1610.07629; De Vries
    et al., 2017, arXiv:1707.00683): the network computes the scale and the shift of a sample from
    its class, style or noise, as in SAGAN and BigGAN. The module has no parameters of its own; its
    buffers and its ``state_dict`` are those of ``nn.BatchNorm2d(num_features, affine=False)``. It
    runs as one :func:`gankit.ops.batch_norm_act`.

    Args:
        num_features: C of the input.
        eps, momentum, track_running_stats, device, dtype: as in ``nn.BatchNorm2d``.
        activation: ``"relu"``, ``"leaky_relu"``, ``"tanh"`` or ``"none"``.
        negative_slope: of ``"leaky_relu"``, finite.
        groups, process_group: as in :class:`gankit.nn.BatchNormAct2d`.

    Raises:
        ValueError: a setting or a shape that is not allowed.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        activation: str = "relu",
        negative_slope: float = 0.2,
        groups: int = 1,
        process_group: Any = None,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            momentum,
            False,
            track_running_stats,
            device,
            dtype,
            activation=activation,
            negative_slope=negative_slope,
            groups=groups,
            process_group=process_group,
        )

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
    ) -> torch.Tensor:
        """``activation(scale * normalised(x) + shift)``.

        Args:
            x: ``[N, C, H, W]``, contiguous or channels last, as is the output.
            scale, shift: ``[N, C]``, or ``[C]`` for all samples; in x's dtype, or in another
                floating dtype, from which they are converted to float32 (with x of float64: to
                float64).
        """
        if self.recorded():
            y = nn.modules.batchnorm._BatchNorm.forward(self, x)
            y = y * scale[..., None, None] + shift[..., None, None]
            return activated(y, self.activation, self.negative_slope)
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        return self.run(x, *(p if p.dtype == x.dtype else p.to(wide) for p in (scale, shift)))

    def _check_input_dim(self, input: torch.Tensor) -> None:
        check_images(input)
