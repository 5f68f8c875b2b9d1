"""Instance normalisation and its activation as one module."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import nn

from ..ops import batch_norm_act
from .batch_norm_act import ACTIVATIONS
from .convert import activation_layer, activation_of, adopt, check_layer
from .recording import activated, records_graph, refuse_scripting
from .traits import declares


@declares(per_sample=True, any_layout=True)
class InstanceNormAct2d(nn.InstanceNorm2d):
    """``nn.Sequential(nn.InstanceNorm2d(num_features), activation)`` as one op.

    Instance normalisation is that of Ulyanov, Vedaldi and Lempitsky (2016, arXiv:1607.08022): each
    channel of each sample has its own mean and variance, in training and in evaluation. It runs as
    :func:`gankit.ops.batch_norm_act` with one group per sample. Drop-in: the parameters and the
    ``state_dict`` are those of ``nn.InstanceNorm2d``, whose running statistics it does not have.

    Args:
        num_features: C of the input.
        eps: added to the variance, finite and > 0.
        affine: a scale and a shift per channel; off by default, as in ``nn.InstanceNorm2d``.
        device, dtype: as in ``nn.InstanceNorm2d``.
        activation: ``"relu"``, ``"leaky_relu"``, ``"tanh"`` or ``"none"``.
        negative_slope: of ``"leaky_relu"``, finite.

    Shape:
        ``[N, C, H, W]`` or ``[C, H, W]`` with more than one pixel; the output has the same shape
        and dtype, and is channels last where the input is.

    Raises:
        ValueError: a setting or a shape that is not allowed.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        *,
        affine: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        activation: str = "relu",
        negative_slope: float = 0.2,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}"
            )
        if not float("-inf") < negative_slope < float("inf"):
            raise ValueError(f"negative_slope: expected a finite number, got {negative_slope}")
        if not 0.0 < eps < float("inf"):
            raise ValueError(f"eps: expected a finite number > 0, got {eps}")
        super().__init__(num_features, eps, affine=affine, device=device, dtype=dtype)
        self.activation = activation
        self.negative_slope = negative_slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if records_graph():
            return activated(super().forward(x), self.activation, self.negative_slope)
        self._check_input_dim(x)
        samples = x if x.dim() == 4 else x[None]
        if samples.shape[1] != self.num_features:
            raise ValueError(
                f"x: expected {self.num_features} channels, as the module was made for, "
                f"got shape {tuple(x.shape)}"
            )
        if samples.shape[2] * samples.shape[3] == 1:
            raise ValueError(f"x: expected more than 1 pixel, got shape {tuple(x.shape)}")
        y = batch_norm_act(
            samples,
            None,
            None,
            self.weight,
            self.bias,
            True,
            0.0,
            self.eps,
            activation=self.activation,
            negative_slope=self.negative_slope,
            groups=max(1, samples.shape[0]),
        )
        return y if x.dim() == 4 else y[0]

    @classmethod
    def from_torch(
        cls, norm: nn.InstanceNorm2d, activation: nn.Module | None = None
    ) -> InstanceNormAct2d:
        """The same two layers as one, over the very same parameters.

        Args:
            norm: an instance norm without running statistics.
            activation: ``nn.ReLU``, ``nn.LeakyReLU``, ``nn.Tanh``, ``nn.Identity`` or None.

        Raises:
            TypeError: a layer of another type, or one with hooks.
            ValueError: it tracks running statistics, which in evaluation take the place of those of
                the instance.
        """
        check_layer("norm", norm, nn.InstanceNorm2d)
        if norm.track_running_stats or norm.running_mean is not None:
            raise ValueError(
                "norm: expected track_running_stats=False and no running statistics, got "
                f"track_running_stats={norm.track_running_stats}"
            )
        name, slope = activation_of(nn.Identity() if activation is None else activation)
        return adopt(cls, norm, activation=name, negative_slope=slope)

    def to_torch(self) -> tuple[nn.InstanceNorm2d, nn.Module]:
        """Instance norm and activation (``nn.Identity`` for none) as torch's layers.

        Raises:
            TypeError: this layer has hooks.
        """
        check_layer("self", self, InstanceNormAct2d)
        norm = adopt(nn.InstanceNorm2d, self, ("activation", "negative_slope"))
        return norm, activation_layer(self.activation, self.negative_slope).train(self.training)

    def __prepare_scriptable__(self) -> NoReturn:
        refuse_scripting(self)

    def extra_repr(self) -> str:
        slope = f", negative_slope={self.negative_slope}" if self.activation == "leaky_relu" else ""
        return f"{super().extra_repr()}, activation={self.activation!r}{slope}"
