"""Transposed convolution and activation as one module."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import nn

from ..ops import conv_transpose2d
from ..ops.conv_transpose2d.reference import ACTIVATIONS
from .convert import activation_layer, activation_of, adopt, check_layer, refuse_rebuilding
from .recording import activated, records_graph, refuse_scripting
from .traits import declares


@declares(per_sample=True, any_layout=True)
class ConvTransposeAct2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` followed by an activation, by the algorithm that fits the shape.

    Drop-in: the same parameters, ``state_dict`` and initialisation as ``nn.ConvTranspose2d``. What
    runs is listed at :func:`gankit.ops.conv_transpose2d`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as for ``nn.ConvTranspose2d``.
        output_padding, groups, bias, dilation, padding_mode, device, dtype: the same.
        activation: ``"none"``, ``"relu"``, ``"leaky_relu"`` or ``"tanh"``.
        negative_slope: of LeakyReLU, finite and >= 0.

    Shape:
        ``[N, Cin, H, W]`` or ``[Cin, H, W]``, as for ``nn.ConvTranspose2d``.

    ``torch.nn.utils.fusion.fuse_conv_bn_eval`` and functions named alike raise TypeError where the
    layer has an activation, behind which a batch norm cannot be multiplied into it.

    Raises:
        ValueError: an activation or a slope that is not allowed.
    """

    def __init__(
        self,
        *args: Any,
        activation: str = "none",
        negative_slope: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if activation not in ACTIVATIONS:
            allowed = ", ".join(map(repr, ACTIVATIONS))
            raise ValueError(f"activation: expected one of {allowed}, got {activation!r}")
        _check_slope(negative_slope)
        self.activation = activation
        self.negative_slope = negative_slope

    @classmethod
    def from_torch(
        cls, convolution: nn.ConvTranspose2d, activation: nn.Module | None = None
    ) -> ConvTransposeAct2d:
        """The same two layers as one, over the very same parameters.

        Args:
            convolution: a transposed convolution.
            activation: ``nn.ReLU``, ``nn.LeakyReLU``, ``nn.Tanh``, ``nn.Identity`` or None.

        Raises:
            TypeError: a layer of another type, or one with hooks.
            ValueError: a negative slope below 0.
        """
        check_layer("convolution", convolution, nn.ConvTranspose2d)
        name, slope = activation_of(nn.Identity() if activation is None else activation)
        _check_slope(slope)
        return adopt(cls, convolution, activation=name, negative_slope=slope)

    def to_torch(self) -> tuple[nn.ConvTranspose2d, nn.Module]:
        """Convolution and activation (``nn.Identity`` for none) as torch's layers.

        Raises:
            TypeError: this layer has hooks.
        """
        check_layer("self", self, ConvTransposeAct2d)
        convolution = adopt(nn.ConvTranspose2d, self, ("activation", "negative_slope"))
        layer = activation_layer(self.activation, self.negative_slope)
        return convolution, layer.train(self.training)

    def __reduce_ex__(self, protocol: Any) -> Any:
        refuse_rebuilding(self, depth=2)  # behind copy.deepcopy, with which a fusion begins
        return super().__reduce_ex__(protocol)

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        if records_graph():
            y = super().forward(x, output_size)
            return activated(y, self.activation, self.negative_slope)
        output_padding: Any = self.output_padding
        if output_size is not None:
            sizes: Any = (self.stride, self.padding, self.kernel_size, 2, self.dilation)
            output_padding = tuple(self._output_padding(x, output_size, *sizes))
        settings: Any = (self.stride, self.padding, output_padding, self.groups, self.dilation)
        return conv_transpose2d(
            x,
            self.weight,
            self.bias,
            *settings,
            activation=self.activation,
            negative_slope=self.negative_slope,
        )

    def __prepare_scriptable__(self) -> NoReturn:
        refuse_scripting(self)

    def extra_repr(self) -> str:
        slope = f", negative_slope={self.negative_slope}" if self.activation == "leaky_relu" else ""
        return f"{super().extra_repr()}, activation={self.activation!r}{slope}"


def _check_slope(negative_slope: float) -> None:
    if not 0.0 <= negative_slope < float("inf"):
        raise ValueError(f"negative_slope: expected a finite number >= 0, got {negative_slope}")
