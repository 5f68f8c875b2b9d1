"""Transposed convolution, batch normalisation and activation as one module."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import nn

from ..ops import conv_transpose2d, conv_transpose2d_bn_act
from ..ops.conv_transpose2d_bn_act import likes_channels_last
from .batch_norm_act import BatchNormAct2d
from .convert import adopt, check_layer, refuse_rebuilding
from .recording import records_graph, refuse_scripting
from .traits import declares


@declares(per_sample=True, any_layout=True)  # its batch norm is a module of its own
class ConvTransposeBNAct2d(nn.ConvTranspose2d):
    """``nn.Sequential(nn.ConvTranspose2d(...), nn.BatchNorm2d(...), activation)`` as one module.

    ``weight`` and ``bias`` are the convolution's, ``bn`` is a :class:`BatchNormAct2d`; initialisers
    that match on class names find both. In evaluation batch norm is multiplied into the
    convolution where that pays; see :func:`gankit.ops.conv_transpose2d_bn_act`. The keys of the
    ``state_dict`` are ``weight``, ``bias`` and ``bn.*``: :meth:`from_torch` takes over the layers
    of a network saved otherwise.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as for ``nn.ConvTranspose2d``.
        output_padding, groups, bias, dilation, padding_mode, device, dtype: the same.
        eps, momentum, affine, track_running_stats: as for ``nn.BatchNorm2d``.
        activation: ``"relu"``, ``"leaky_relu"``, ``"tanh"`` or ``"none"``.
        negative_slope: of ``"leaky_relu"``, finite.
        batch_groups, process_group: ``groups`` and ``process_group`` of :class:`BatchNormAct2d`.

    Shape:
        ``[N, Cin, H, W]`` to ``[N, Cout, H', W']``, as for ``nn.ConvTranspose2d``. In training on
        the CPU the result is channels last where x or the weight is, unless x is one pixel high or
        wide: use ``flatten`` on it, not ``view``.

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
        check_layer("convolution", convolution, nn.ConvTranspose2d)
        check_layer("norm", norm, nn.BatchNorm2d)
        bn = BatchNormAct2d.from_torch(norm, activation)
        if norm.num_features != convolution.out_channels:
            raise ValueError(
                f"norm: expected {convolution.out_channels} channels, as the convolution gives, "
                f"got {norm.num_features}"
            )
        fused = adopt(cls, convolution)
        fused._modules["bn"] = bn
        return fused

    def to_torch(self) -> tuple[nn.ConvTranspose2d, nn.modules.batchnorm._BatchNorm, nn.Module]:
        """Convolution, batch norm and activation (``nn.Identity`` for none) as torch's layers.

        Raises:
            TypeError: this layer, or the batch norm in it, has hooks.
            ValueError: it has several groups or a process group, which torch's has not.
        """
        check_layer("self", self, ConvTransposeBNAct2d)
        norm, activation = self.bn.to_torch()
        convolution = adopt(nn.ConvTranspose2d, self)
        del convolution._modules["bn"]
        return convolution, norm, activation

    def __prepare_scriptable__(self) -> NoReturn:
        refuse_scripting(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        refuse_rebuilding(self.bn, depth=2)  # behind copy.deepcopy, with which a fusion begins
        return super().__reduce_ex__(protocol)

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        bn = self.bn
        if records_graph():
            z: torch.Tensor = bn(super().forward(x, output_size))
            return z
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
            if likes_channels_last(x, self.weight):
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
