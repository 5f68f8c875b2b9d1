"""Batch normalisation and its activation as one module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from ..ops import batch_norm_act
from .convert import activation_layer, activation_of, adopt, check_layer, refuse_rebuilding
from .recording import activated, records_graph, refuse_scripting
from .traits import declares

if TYPE_CHECKING:
    from typing_extensions import Self

ACTIVATIONS = ("relu", "leaky_relu", "tanh", "none")


def check_images(x: torch.Tensor) -> None:
    """Raise ValueError unless ``x`` has four dimensions."""
    if x.dim() != 4:
        raise ValueError(f"x: expected [N, C, H, W], got shape {tuple(x.shape)}")


class NormAct(nn.modules.batchnorm._BatchNorm):
    """What the modules share; the ``state_dict`` is that of torch's batch norm."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        activation: str = "relu",
        negative_slope: float = 0.2,
        groups: int = 1,
        process_group: Any = None,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}"
            )
        if not float("-inf") < negative_slope < float("inf"):
            raise ValueError(f"negative_slope: expected a finite number, got {negative_slope}")
        if groups < 1:
            raise ValueError(f"groups: expected an integer >= 1, got {groups}")
        # Torch's own argument, which its releases before 2.15 lack.
        extra: dict[str, Any] = {} if bias else {"bias": False}
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, **extra
        )
        self.activation = activation
        self.negative_slope = negative_slope
        self.groups = groups
        self.process_group = process_group

    @property
    def eps(self) -> float:
        """Added to the variance.

        Raises:
            TypeError: the caller is a function like ``nn.SyncBatchNorm.convert_sync_batchnorm`` or
                ``torch.nn.utils.fusion.fuse_conv_bn_eval``, which would drop the activation.
        """
        if not torch.compiler.is_compiling():
            refuse_rebuilding(self, depth=1)
        eps: float = self.__dict__["eps"]
        return eps

    @eps.setter
    def eps(self, value: float) -> None:
        self.__dict__["eps"] = value

    def recorded(self) -> bool:
        """Whether a graph is being recorded in which torch's batch norm does the same."""
        alone = self.groups == 1 and self.process_group is None
        return (alone or not self.training) and records_graph()

    def run(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The op, with this scale and shift, and the running statistics."""
        self._check_input_dim(x)
        if x.dim() >= 2 and x.shape[1] != self.num_features:
            raise ValueError(
                f"x: expected {self.num_features} channels, as the module was made for, "
                f"got shape {tuple(x.shape)}"
            )
        # Without running statistics the batch's own serve in evaluation too.
        own = self.training or (self.running_mean is None and self.running_var is None)
        tracking = self.training and self.track_running_stats
        use = not self.training or self.track_running_stats
        y = batch_norm_act(
            x,
            self.running_mean if use else None,
            self.running_var if use else None,
            weight,
            bias,
            own,
            self.momentum,
            self.__dict__["eps"],  # the property looks at its caller
            activation=self.activation,
            negative_slope=self.negative_slope,
            groups=self.groups if own else 1,
            num_batches_tracked=self.num_batches_tracked,
            process_group=self.process_group if self.training else None,
        )
        if tracking and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(self.groups)
        return y

    def __prepare_scriptable__(self) -> NoReturn:
        refuse_scripting(self)

    def extra_repr(self) -> str:
        parts = [super().extra_repr(), f"activation={self.activation!r}"]
        if self.activation == "leaky_relu":
            parts.append(f"negative_slope={self.negative_slope}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        return ", ".join(parts)


class _BatchNormAct(NormAct):
    """With one scale and shift for all samples, as torch's batch norm has them."""

    _torch: type[nn.modules.batchnorm._BatchNorm]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.recorded():
            y = nn.modules.batchnorm._BatchNorm.forward(self, x)
            return activated(y, self.activation, self.negative_slope)
        return self.run(x, self.weight, self.bias)

    @classmethod
    def from_torch(
        cls, norm: nn.modules.batchnorm._BatchNorm, activation: nn.Module | None = None
    ) -> Self:
        """The same two layers as one, over the very same parameters and buffers.

        Args:
            norm: the ``nn.BatchNorm1d`` or ``nn.BatchNorm2d`` that this class is a drop-in for.
            activation: ``nn.ReLU``, ``nn.LeakyReLU``, ``nn.Tanh``, ``nn.Identity`` or None.

        Raises:
            TypeError: a layer of another type, or one with hooks.
        """
        check_layer("norm", norm, cls._torch)
        name, slope = activation_of(nn.Identity() if activation is None else activation)
        return adopt(cls, norm, activation=name, negative_slope=slope, groups=1, process_group=None)

    def to_torch(self) -> tuple[nn.modules.batchnorm._BatchNorm, nn.Module]:
        """Batch norm and activation (``nn.Identity`` for none) as torch's layers.

        Raises:
            TypeError: this layer has hooks.
            ValueError: it has several groups or a process group, which torch's has not.
        """
        check_layer("self", self, type(self))
        if self.groups != 1 or self.process_group is not None:
            raise ValueError(
                "groups, process_group: expected 1 and None, which torch's batch norm has, "
                f"got {self.groups} and {self.process_group!r}"
            )
        extra = ("activation", "negative_slope", "groups", "process_group")
        norm = adopt(self._torch, self, extra)
        return norm, activation_layer(self.activation, self.negative_slope).train(self.training)


@declares(grouped=True, any_layout=True)
class BatchNormAct1d(_BatchNormAct):
    """``nn.Sequential(nn.BatchNorm1d(num_features), activation)`` as one op.

    Drop-in: the ``state_dict`` keys are those of ``nn.BatchNorm1d``, so are the arguments up to
    ``dtype``, and the name contains "BatchNorm", so initialisers that match on names find it.

    Args:
        num_features: C of the input ``[N, C]`` or ``[N, C, L]``.
        eps, momentum, affine, track_running_stats, device, dtype, bias: as in
            ``nn.BatchNorm1d``.
        activation: ``"relu"``, ``"leaky_relu"``, ``"tanh"`` or ``"none"``.
        negative_slope: of ``"leaky_relu"``, finite.
        groups: in training, slices of the batch with statistics of their own; may be set between
            calls. See :func:`gankit.ops.batch_norm_act`.
        process_group: in training, statistics over all processes of this ``torch.distributed``
            group, or ``"world"``; in place of ``nn.SyncBatchNorm``.

    ``nn.SyncBatchNorm.convert_sync_batchnorm``, ``torch.nn.utils.fusion.fuse_conv_bn_eval`` and
    functions named alike raise TypeError rather than drop the activation; :meth:`to_torch` gives
    the layers that they take. An instance of torch's ``_BatchNorm``, so ``update_bn`` of
    ``torch.optim.swa_utils`` and loops that freeze batch norms work.
    """

    _torch = nn.BatchNorm1d

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() not in (2, 3):
            raise ValueError(f"x: expected [N, C] or [N, C, L], got shape {tuple(input.shape)}")


@declares(grouped=True, any_layout=True)
class BatchNormAct2d(_BatchNormAct):
    """``nn.Sequential(nn.BatchNorm2d(num_features), activation)`` as one op.

    Drop-in: the ``state_dict`` keys are those of ``nn.BatchNorm2d``, so are the arguments up to
    ``dtype``, and the name contains "BatchNorm", so initialisers that match on names find it.

    Args:
        num_features: C of the input ``[N, C, H, W]``, contiguous or channels last.
        eps, momentum, affine, track_running_stats, device, dtype, bias: as in
            ``nn.BatchNorm2d``.
        activation: ``"relu"``, ``"leaky_relu"``, ``"tanh"`` or ``"none"``.
        negative_slope: of ``"leaky_relu"``, finite.
        groups: in training, slices of the batch with statistics of their own; may be set between
            calls. See :func:`gankit.ops.batch_norm_act`.
        process_group: in training, statistics over all processes of this ``torch.distributed``
            group, or ``"world"``; in place of ``nn.SyncBatchNorm``.

    ``nn.SyncBatchNorm.convert_sync_batchnorm``, ``torch.nn.utils.fusion.fuse_conv_bn_eval`` and
    functions named alike raise TypeError rather than drop the activation; :meth:`to_torch` gives
    the layers that they take. An instance of torch's ``_BatchNorm``, so ``update_bn`` of
    ``torch.optim.swa_utils`` and loops that freeze batch norms work.
    """

    _torch = nn.BatchNorm2d

    def _check_input_dim(self, input: torch.Tensor) -> None:
        check_images(input)
