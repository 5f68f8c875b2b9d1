"""batch_norm_act in pure PyTorch: what every other backend is checked against.

Statistics have shape [groups, C]; group i is the i-th of equal slices of the batch. Weight and bias
have shape [C], or both [N, C] with a row for each sample. Arithmetic is in the dtype of the
statistics: float64 for float64 inputs, float32 for all others.
"""

from __future__ import annotations

import torch

NONE, RELU, LEAKY_RELU, TANH = range(4)

_Pair = tuple[torch.Tensor, torch.Tensor]
_Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def result_like(x: torch.Tensor) -> torch.Tensor:
    """An empty tensor in the layout of the op's results: channels last if x is, else contiguous."""
    if not x.is_contiguous() and x.movedim(1, -1).is_contiguous():
        return torch.empty_like(x.movedim(1, -1), memory_format=torch.contiguous_format).movedim(
            -1, 1
        )
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype of statistics and parameters that belong to ``x``."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def grouped(x: torch.Tensor, groups: int) -> torch.Tensor:
    """[N, C, ...] as [groups, N / groups, C, positions], in the compute dtype."""
    n, channels = x.shape[:2]
    positions = x.shape[2:].numel()
    return x.to(compute_dtype(x)).reshape(groups, n // groups, channels, positions)


def over_elements(statistic: torch.Tensor) -> torch.Tensor:
    """[groups, C] (or [C], the same for all groups) to broadcast against :func:`grouped`."""
    return statistic.reshape(groups_of(statistic), 1, statistic.shape[-1], 1)


def over_samples(parameter: torch.Tensor, groups: int) -> torch.Tensor:
    """[N, C] (or [C], the same for all samples) to broadcast against :func:`grouped`."""
    if parameter.dim() == 1:
        return parameter.reshape(1, 1, -1, 1)
    samples, channels = parameter.shape
    return parameter.reshape(groups, samples // groups, channels, 1)


def per_sample(weight: torch.Tensor | None, bias: torch.Tensor | None) -> bool:
    """Whether each sample has a scale and a shift of its own."""
    return (weight is not None and weight.dim() == 2) or (bias is not None and bias.dim() == 2)


def groups_of(statistic: torch.Tensor) -> int:
    """How many groups [groups, C] or [C] is for; also where there are no channels."""
    return statistic.shape[0] if statistic.dim() == 2 else 1


def activate(z: torch.Tensor, activation: int, slope: float) -> torch.Tensor:
    """y from z."""
    if activation == RELU:
        return torch.where(z <= 0, 0, z)
    if activation == LEAKY_RELU:
        return torch.where(z > 0, z, z * slope)
    return torch.tanh(z) if activation == TANH else z


def slope_of(z: torch.Tensor, activation: int, slope: float) -> torch.Tensor:
    """The activation's derivative at z; at zero that of the negative branch, as in torch."""
    if activation == RELU:
        return torch.where(z <= 0, 0.0, torch.ones_like(z))
    if activation == LEAKY_RELU:
        return torch.where(z > 0, torch.ones_like(z), slope)
    return 1 - torch.tanh(z).square() if activation == TANH else torch.ones_like(z)


def normalised(x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, eps: float) -> torch.Tensor:
    """(x - mean) / sqrt(var + eps), in the shape of :func:`grouped`."""
    return (grouped(x, groups_of(mean)) - over_elements(mean)) * over_elements((var + eps).rsqrt())


def scaled(
    xhat: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
) -> torch.Tensor:
    """z from xhat."""
    z = xhat if weight is None else xhat * over_samples(weight, xhat.shape[0])
    return z if bias is None else z + over_samples(bias, xhat.shape[0])


def statistics(x: torch.Tensor, groups: int) -> _Pair:
    """Mean and biased variance of every channel in every group."""
    wide = grouped(x, groups)
    if x.numel() == 0:
        zeros = wide.new_zeros(groups, x.shape[1])
        return zeros, zeros.clone()
    mean = wide.mean((1, 3))
    return mean, (wide - over_elements(mean)).square().mean((1, 3))


def apply(
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    activation: int,
    slope: float,
) -> torch.Tensor:
    """y from x and given statistics."""
    z = scaled(normalised(x, mean, var, eps), weight, bias)
    return result_like(x).copy_(activate(z, activation, slope).reshape(x.shape))


def forward(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    groups: int,
    eps: float,
    activation: int,
    slope: float,
) -> _Triple:
    """y, mean and biased variance."""
    mean, var = statistics(x, groups)
    return apply(x, mean, var, weight, bias, eps, activation, slope), mean, var


def sums(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    activation: int,
    slope: float,
) -> _Pair:
    """Sums of h and of h * xhat, where h = dL/dz, over each channel.

    Of each group, [groups, C]; with a weight or bias of [N, C], of each sample, [N, C].
    """
    xhat = normalised(x, mean, var, eps)
    h = slope_of(scaled(xhat, weight, bias), activation, slope) * grouped(grad, xhat.shape[0])
    if per_sample(weight, bias):
        return h.sum(3).reshape(x.shape[:2]), (h * xhat).sum(3).reshape(x.shape[:2])
    return h.sum((1, 3)), (h * xhat).sum((1, 3))


def weighted(sum_h: torch.Tensor, weight: torch.Tensor | None, groups: int) -> torch.Tensor:
    """The sum over each group of q = weight * h (or of q * xhat), from what :func:`sums` gives."""
    sum_q = sum_h if weight is None else sum_h * weight
    slices, channels = sum_q.shape
    return sum_q.reshape(groups, slices // groups, channels).sum(1)


def parameter_gradients(sum_h: torch.Tensor, sum_hx: torch.Tensor, of_samples: bool) -> _Pair:
    """dL/dweight and dL/dbias, in the shapes of weight and bias, from what :func:`sums` gives."""
    return (sum_hx, sum_h) if of_samples else (sum_hx.sum(0), sum_h.sum(0))


def grad_input(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean_q: torch.Tensor | None,
    mean_qx: torch.Tensor | None,
    eps: float,
    activation: int,
    slope: float,
) -> torch.Tensor:
    """dL/dx from q = weight * h = dL/dxhat.

    The means of q and q * xhat over a group are None where the statistics are constants.
    """
    xhat = normalised(x, mean, var, eps)
    q = slope_of(scaled(xhat, weight, bias), activation, slope) * grouped(grad, xhat.shape[0])
    if weight is not None:
        q = q * over_samples(weight, xhat.shape[0])
    if mean_q is not None and mean_qx is not None:
        q = q - over_elements(mean_q) - xhat * over_elements(mean_qx)
    return result_like(x).copy_((q * over_elements((var + eps).rsqrt())).reshape(x.shape))


def backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    activation: int,
    slope: float,
    training: bool,
    need_input: bool,
    need_parameters: bool,
) -> _Triple:
    """dL/dx, dL/dweight, dL/dbias; what is not needed is empty."""
    common = (eps, activation, slope)
    grad_x = mean.new_empty(0, dtype=x.dtype)
    grad_weight, grad_bias = mean.new_empty(0), mean.new_empty(0)
    mean_q = mean_qx = None
    if training or need_parameters:
        sum_h, sum_hx = sums(grad, x, mean, var, weight, bias, *common)
        if training:
            groups, count = groups_of(mean), max(x.numel() // max(mean.numel(), 1), 1)
            mean_q, mean_qx = (weighted(s, weight, groups) / count for s in (sum_h, sum_hx))
        if need_parameters:
            grad_weight, grad_bias = parameter_gradients(sum_h, sum_hx, per_sample(weight, bias))
    if need_input:
        grad_x = grad_input(grad, x, mean, var, weight, bias, mean_q, mean_qx, *common)
    return grad_x, grad_weight, grad_bias


def update_(
    running_mean: torch.Tensor,
    running_var: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    batches: torch.Tensor | None,
    momentum: float,
    count: int,
) -> None:
    """Moves the running statistics, group after group.

    ``count`` values per channel and group make the variance unbiased; 0 says that it is. With
    ``batches``, the number of batches seen so far, the step is the cumulative average's, else
    ``momentum``.
    """
    correction = count / (count - 1) if count > 1 else 1.0
    for i in range(mean.shape[0]):
        step = momentum if batches is None else 1 / (batches + (i + 1)).to(mean.dtype)
        # As the compiled kernels and torch's batch norm: no new version for autograd.
        running_mean.data.copy_((1 - step) * running_mean + step * mean[i])
        running_var.data.copy_((1 - step) * running_var + step * correction * var[i])
