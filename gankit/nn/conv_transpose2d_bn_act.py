"""Transposed convolution, batch normalisation and activation as one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..ops import conv_transpose2d, conv_transpose2d_bn_act
from .batch_norm_act import BatchNormAct2d

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Tanh: "tanh",
    nn.Identity: "none",
}


class ConvTransposeBNAct2d(nn.ConvTranspose2d):
    """``nn.Sequential(nn.ConvTranspose2d(...), nn.BatchNorm2d(...), activation)`` as one module.

    ``weight`` and ``bias`` are the convolution's, ``bn`` is a :class:`BatchNormAct2d`; initialisers
    that match on class names find both. In evaluation batch norm is multiplied into the
    convolution where that pays; see :func:`gankit.ops.conv_transpose2d_bn_act`. The keys of the
    ``state_dict`` are ``weight``, ``bias`` and ``bn.*``: :meth:`from_torch` takes over the layers
    of a network saved otherwise.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias,
            dilation, padding_mode, device, dtype: as for ``nn.ConvTranspose2d``.
        eps, momentum, affine, track_running_stats: as for ``nn.BatchNorm2d``.
        activation: ``"relu"``, ``"leaky_relu"``, ``"tanh"`` or ``"none"``.
        negative_slope: of ``"leaky_relu"``, finite.
        batch_groups, process_group: ``groups`` and ``process_group`` of :class:`BatchNormAct2d`.

    Shape:
        ``[N, Cin, H, W]`` to ``[N, Cout, H', W']``, as for ``nn.ConvTranspose2d``. In training on
        the CPU the result is channels last whatever x is: use ``flatten`` on it, not ``view``.

    Raises:
        ValueError: a setting that is not allowed.
    """

    def __init__(
        self,
        *args: Any,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        activation: str = "relu",
        negative_slope: float = 0.2,
        batch_groups: int = 1,
        process_group: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bn = BatchNormAct2d(
            self.out_channels,
            eps,
            momentum,
            affine,
            track_running_stats,
            self.weight.device,
            self.weight.dtype,
            activation=activation,
            negative_slope=negative_slope,
            groups=batch_groups,
            process_group=process_group,
        )

    @classmethod
    def from_torch(
        cls, convolution: nn.ConvTranspose2d, norm: nn.BatchNorm2d, activation: nn.Module
    ) -> ConvTransposeBNAct2d:
        """The same layer over the very same parameters and buffers.

        Args:
            convolution: a transposed convolution.
            norm: batch norm of its output channels.
            activation: ``nn.ReLU``, ``nn.LeakyReLU``, ``nn.Tanh`` or ``nn.Identity``.

        Raises:
            TypeError: a layer of another type, or one with hooks.
            ValueError: the layers' channels differ.
        """
        for name, module, kinds in (
            ("convolution", convolution, (nn.ConvTranspose2d,)),
            ("norm", norm, (nn.BatchNorm2d,)),
            ("activation", activation, tuple(_ACTIVATIONS)),
        ):
            if type(module) not in kinds:
                allowed = ", ".join(f"nn.{kind.__name__}" for kind in kinds)
                raise TypeError(f"{name}: expected {allowed}, got {type(module).__name__}")
            hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
            if any(getattr(module, hook) for hook in hooks) or "forward" in vars(module):
                raise TypeError(
                    f"{name}: expected a layer without hooks (such as old-style spectral norm's) "
                    f"and with its own forward, got a {type(module).__name__} with one"
                )
        if norm.num_features != convolution.out_channels:
            raise ValueError(
                f"norm: expected {convolution.out_channels} channels, as the convolution gives, "
                f"got {norm.num_features}"
            )
        fused = cls(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,
            convolution.stride,
            convolution.padding,
            convolution.output_padding,
            convolution.groups,
            convolution.bias is not None,
            convolution.dilation,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
            activation=_ACTIVATIONS[type(activation)],
            negative_slope=getattr(activation, "negative_slope", 0.2),
            device="meta",
        )
        fused._parameters.update(convolution._parameters)
        fused.bn._parameters.update(norm._parameters)
        fused.bn._buffers.update(norm._buffers)
        fused.training = convolution.training
        fused.bn.train(norm.training)
        return fused

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        bn = self.bn
        extra: Any = self.output_padding
        if output_size is not None:
            sizes: Any = (self.stride, self.padding, self.kernel_size, 2, self.dilation)
            extra = tuple(self._output_padding(x, output_size, *sizes))
        settings: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.padding,
            "output_padding": extra,
            "groups": self.groups,
            "dilation": self.dilation,
        }
        if bn.training or bn.running_mean is None:
            if x.is_cpu and x.dim() == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            y: torch.Tensor = bn(conv_transpose2d(x, self.weight, self.bias, **settings))
            return y
        return conv_transpose2d_bn_act(
            x,
            self.weight,
            self.bias,
            bn.running_mean,
            bn.running_var,
            bn.weight,
            bn.bias,
            False,
            eps=bn.eps,
            activation=bn.activation,
            negative_slope=bn.negative_slope,
            **settings,
        )
