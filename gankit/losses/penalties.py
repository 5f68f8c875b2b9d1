"""Penalties on the gradient of a critic with respect to its input."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError, GankitWarning, outside_gankit
from gankit.losses.chain import Chain
from gankit.losses.recorded import RecordedCritic, recorded
from gankit.losses.wrapped import eagerly, innermost, module_of
from gankit.ops import grad_norm_penalty, interpolate
from gankit.ops.grad_norm_penalty import MODES
from gankit.ops.grad_norm_penalty.reference import ZERO_CENTRED
from gankit.ops.grad_norm_penalty.spec import BACKWARD, FORWARD
from gankit.scalars import is_integer

__all__ = ["gradient_penalty"]

Critic = nn.Module | Callable[..., Tensor]
Select = str | int | Tensor | Callable[[Tensor], Tensor] | None
_PLACES = ("interpolates", "real", "fake", "both", "perturbed")
_PATHS = ("auto", "analytic", "autograd")
_HALF = (torch.float16, torch.bfloat16)


def gradient_penalty(
    critic: Critic,
    real: Tensor,
    fake: Tensor,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    mode: str = "two-sided",
    at: str = "interpolates",
    path: str = "auto",
    critic_args: Sequence[Any] = (),
    select: Select = None,
    seed: Tensor | None = None,
) -> Tensor:
    """``weight`` times the mean over samples of a penalty on the critic's input gradient.

    With ``g_i`` the gradient of sample i's output with respect to sample i's input:

    ========================================================  ====================================
    WGAN-GP (Gulrajani et al., 2017, arXiv:1704.00028)        the defaults
    WGAN-LP (Petzka et al., 2017, arXiv:1709.08894)           ``mode="one-sided"``
    R1 (Mescheder et al., 2018, arXiv:1801.04406)             ``mode="zero-centred", at="real"``
    R2 (the same)                                             ``mode="zero-centred", at="fake"``
    R1 + R2 (as in R3GAN: Huang et al., 2024,                 ``mode="zero-centred", at="both"``
    arXiv:2501.05441)
    DRAGAN (Kodali et al., 2017, arXiv:1705.07215)            ``at="perturbed"``
    ========================================================  ====================================

    R1 and R2 are there written with gamma / 2 for ``weight``.

    Two ways lead to the same value and parameter gradients. The *analytic* path serves critics that
    are piecewise linear in their input: linear layers, convolutions, batch norm in eval mode, ReLU,
    LeakyReLU and dropout, joined by sums, concatenation, average pooling, resampling, reshaping,
    and products with what does not depend on the input, such as the embedding of a label; weights
    may be computed, as by spectral norm. It takes four GEMMs per layer in place of six. A critic
    whose layers stand in a row, in nested ``nn.Sequential`` or in a model that declares itself such
    a chain (:mod:`gankit.nn.traits`), can be compiled and captured in a CUDA graph. The
    *autograd* path is double backward and serves any critic. Neither waits for the device. Of a
    critic behind ``torch.compile``, whose code has no double backward, or behind ``DataParallel``
    the module inside is called, eagerly.

    ``functools.partial(gradient_penalty, weight=10)`` fits ``GANStep(penalty=...)``.

    Args:
        critic: a module or any other callable, such as ``lambda x: D(x, labels)``, which takes the
            autograd path; ``[N, ...]`` to one value per sample, without a sigmoid.
        real: ``[N, ...]``, floating point.
        fake: the same shape. Gradients flow to ``real`` and ``fake`` where they require grad; that
            takes the autograd path.
        weight: finite, >= 0.
        target: the norm aimed at, finite, >= 0; without effect in mode ``"zero-centred"``.
        mode: ``"two-sided"``, ``"one-sided"`` or ``"zero-centred"``; see
            :func:`gankit.ops.grad_norm_penalty`.
        at: where the gradient is taken: ``"interpolates"`` (a random point on the line between
            each pair), ``"real"``, ``"fake"``, ``"both"`` (the sum of the penalties at the two), or
            ``"perturbed"`` (a random point between each real sample and itself plus uniform noise
            of half the standard deviation of ``real``).
        path: ``"analytic"`` (an error where it cannot be taken), ``"autograd"``, or ``"auto"``:
            analytic where it can.
        critic_args: further arguments of the critic, such as labels.
        select: what to make of a critic's output that is not one value per sample: ``"mean"`` over
            all but the batch (patch critics), a column's number, an int64 tensor ``[N]`` with a
            column for each sample (class heads), or a function of the output, which takes the
            autograd path.
        seed: of the weights of interpolation: int64, one element, on ``real``'s device. None draws
            it from torch's generator. The noise of ``"perturbed"`` always comes from there.

    Returns:
        0-d tensor, float32 for half-precision inputs and under autocast.

    Raises:
        ConfigError: an argument is not allowed, shapes do not fit (both are named), or
            ``path="analytic"`` cannot be taken (what stops it is named).

    Warns:
        GankitWarning: the critic has batch norm in training mode, which mixes samples.
    """
    if not callable(critic):
        raise ConfigError(
            f"critic is a {type(critic).__name__}; allowed is a module or another callable"
        )
    _check(real, fake, weight, target, mode, at, path)
    critic = innermost(critic)
    known = module_of(critic)
    for name, module in () if known is None else known.named_modules():
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm):
            _warn_of_batch_norm(name, module)
            break
    stops = _why_not_analytic(critic, real, fake, select) if path != "autograd" else "it may not"
    with torch.autocast(real.device.type, enabled=False), eagerly():
        real, fake = _widened(known, real, fake)
        penalties = []
        for x in (real, fake) if at == "both" else (_points(real, fake, at, seed),):
            swept = stops or recorded(critic, x.detach(), critic_args)
            if not isinstance(swept, str):
                penalties.append(_analytic(swept, x, select, target, mode))
            elif path == "analytic":
                raise ConfigError(f"path='analytic' cannot be taken: {swept}")
            else:
                penalties.append(_by_autograd(critic, x, critic_args, select, target, mode))
        return weight * (penalties[0] if len(penalties) == 1 else penalties[0] + penalties[1])


def _by_autograd(
    critic: Critic,
    x: Tensor,
    critic_args: Sequence[Any],
    select: Select,
    target: float,
    mode: str,
) -> Tensor:
    learning = torch.is_grad_enabled()
    with torch.enable_grad():
        if not x.requires_grad:
            x = x.detach().requires_grad_()
        scores = _scores(critic(x, *critic_args), select, x)
        (grad,) = torch.autograd.grad(scores.sum(), x, create_graph=learning)
    grad = grad.float() if grad.dtype in _HALF else grad
    return grad_norm_penalty(grad, target=target, mode=mode)


def _analytic(
    chain: Chain | RecordedCritic, x: Tensor, select: Select, target: float, mode: str
) -> Tensor:
    number = MODES[mode] if target > 0 else ZERO_CENTRED
    with torch.no_grad():
        _scores(chain.output, select, x)
        grad = chain.down(_of_scores(chain.output, select))
        wide = grad.float() if grad.dtype in _HALF else grad
        penalty, norms = FORWARD(wide, float(target), number)
    if not torch.is_grad_enabled() or not chain.parameters:
        return penalty

    def sweep(upstream: Tensor) -> list[Tensor]:
        h = BACKWARD(upstream, wide, norms, float(target), number)
        return chain.up(h.to(grad.dtype))

    if torch.compiler.is_compiling():
        # A compiler wants tensors alone between forward and backward.
        with torch.no_grad():
            grads = sweep(torch.ones_like(penalty))
        scaled: Tensor = _Precomputed.apply(penalty, len(grads), *chain.parameters, *grads)
        return scaled
    result: Tensor = _Swept.apply(penalty, sweep, *chain.parameters)
    return result


class _Swept(torch.autograd.Function):
    """The penalty as a function of the weights; their gradients are swept when asked for."""

    @staticmethod
    def forward(
        ctx: Any, penalty: Tensor, sweep: Callable[[Tensor], list[Tensor]], *weights: Tensor
    ) -> Tensor:
        ctx.sweep = sweep
        ctx.save_for_backward(*weights)
        return penalty.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "gradient_penalty: its gradient is not differentiable on the analytic path; "
                "use path='autograd'"
            )
        _ = ctx.saved_tensors  # raises if a weight was modified in place since
        with torch.autocast(upstream.device.type, enabled=False):
            return None, None, *ctx.sweep(upstream)


class _Precomputed(torch.autograd.Function):
    """The same with gradients that are there already and only have to be scaled."""

    @staticmethod
    def forward(ctx: Any, penalty: Tensor, count: int, *weights_and_grads: Tensor) -> Tensor:
        ctx.count = count
        ctx.save_for_backward(*weights_and_grads[count:])
        return penalty.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        scaled = [upstream.to(grad.dtype) * grad for grad in ctx.saved_tensors]
        return None, None, *scaled, *[None] * ctx.count


def _why_not_analytic(critic: Critic, real: Tensor, fake: Tensor, select: Select) -> str:
    if callable(select):
        return "select is a function, whose own derivative is not known"
    if torch.is_grad_enabled():
        for name, x in (("real", real), ("fake", fake)):
            if x.requires_grad:
                return f"{name} requires grad, and the analytic path gives the weights' alone"
    return ""


def _points(real: Tensor, fake: Tensor, at: str, seed: Tensor | None) -> Tensor:
    if at == "interpolates":
        return interpolate(real, fake, seed=seed)
    if at == "perturbed":
        noise = 0.5 * real.std() * torch.rand_like(real)
        return interpolate(real + noise, real, seed=seed)
    return real if at == "real" else fake


def _scores(output: Tensor, select: Select, x: Tensor) -> Tensor:
    """One value per sample, after ``select``."""
    if not isinstance(output, Tensor):
        raise ConfigError(f"critic returned a {type(output).__name__}; allowed is a tensor")
    n, found = x.shape[0], output
    if output.dim() > 0 and output.shape[0] == n:
        if isinstance(select, Tensor):
            _check_columns(select, output)
            found = output.gather(1, select[:, None])
        elif isinstance(select, str):
            found = output.flatten(1).mean(1) if output.dim() > 1 else output
        elif isinstance(select, int) or is_integer(select):
            _check_column(select, output)
            found = output[:, select]
        elif select is not None:
            found = select(output)
    if found.dim() == 0 or found.shape[0] != n or found.numel() != n:
        after = "" if select is None else f", and after select {list(found.shape)}"
        raise ConfigError(
            f"critic returned {list(output.shape)} for an input of {list(x.shape)}{after}; allowed "
            f"is one value per sample, [{n}] or [{n}, 1], or a select that makes it so"
        )
    return found


def _of_scores(output: Tensor, select: Select) -> Tensor:
    """The gradient of the scores' sum with respect to the output; ``select`` is linear."""
    if isinstance(select, Tensor):
        return torch.zeros_like(output).scatter_(1, select[:, None], 1.0)
    if isinstance(select, str):
        return torch.full_like(output, output.shape[0] / max(1, output.numel()))
    if is_integer(select):
        gradient = torch.zeros_like(output)
        gradient[:, select] = 1.0
        return gradient
    return torch.ones_like(output)


def _check_columns(select: Tensor, output: Tensor) -> None:
    fits = select.dtype == torch.int64 and output.dim() == 2 and select.shape == output.shape[:1]
    if not fits:
        raise ConfigError(
            f"select is a {select.dtype} tensor of {list(select.shape)} for an output of "
            f"{list(output.shape)}; allowed is int64 [N] for an output [N, columns]"
        )


def _check_column(select: int, output: Tensor) -> None:
    if output.dim() < 2 or not -output.shape[1] <= select < output.shape[1]:
        raise ConfigError(
            f"select is {select} for an output of {list(output.shape)}; allowed is the number of "
            "one of its columns"
        )


def _widened(critic: nn.Module | None, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype: the critic's where autocast handed over halves of wider weights."""
    dtype = torch.promote_types(real.dtype, fake.dtype)
    weights = None if critic is None else next(iter(critic.parameters()), None)
    if dtype in _HALF and weights is not None and weights.dtype not in _HALF:
        dtype = weights.dtype
    return real.to(dtype), fake.to(dtype)


def _warn_of_batch_norm(name: str, module: nn.Module) -> None:
    warnings.warn(
        f"gradient_penalty: {name or 'critic'} ({type(module).__name__}) is in training mode and "
        "mixes samples, so that there is no gradient of one sample alone to penalise; use layer "
        "norm or none (Gulrajani et al., 2017, section 4), or eval mode",
        GankitWarning,
        stacklevel=outside_gankit(),
    )


def _check(
    real: Tensor, fake: Tensor, weight: float, target: float, mode: str, at: str, path: str
) -> None:
    for name, x in (("real", real), ("fake", fake)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            came = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise ConfigError(f"{name} is {came}; allowed is a floating-point tensor [N, ...]")
    if real.shape != fake.shape or real.dim() == 0:
        raise ConfigError(
            f"real has shape {list(real.shape)} and fake {list(fake.shape)}; allowed is one shape "
            "[N, ...] for both"
        )
    if real.device != fake.device:
        raise ConfigError(f"real is on {real.device} and fake on {fake.device}")
    for name, value in (("weight", weight), ("target", target)):
        if not 0.0 <= value < math.inf:
            raise ConfigError(f"{name} is {value}; allowed are finite numbers >= 0")
    for name, chosen, allowed in (
        ("mode", mode, tuple(MODES)),
        ("at", at, _PLACES),
        ("path", path, _PATHS),
    ):
        if chosen not in allowed:
            raise ConfigError(f"{name} is {chosen!r}; allowed are {', '.join(allowed)}")
