"""Accelerate a whole program that does not know of gankit, for the length of a ``with`` block."""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import bce_label_smoothing, leaky_relu_dropout
from ..ops.autograd import is_row_major
from .optimizers import KINDS, Steps, fuse, steps_of
from .patterns import match, pays
from .report import AccelerationReport, History, Row
from .run import Ran, as_torch_reads, run_children, takes

# Layers that are called by themselves, as attributes of a module.
_LAYERS: tuple[Any, ...] = (
    nn.Linear,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.InstanceNorm2d,
    nn.ConvTranspose2d,
    nn.Dropout2d,
)
# With fewer elements torch's own loss takes as long.
_LEAST_LOSSES = 512

_Patch = tuple[Any, str, Any]
_INHERITED = object()


class Recorder:
    """What ran as what while :func:`patched` was on."""

    def __init__(self) -> None:
        self._histories: list[History] = []
        self._of: weakref.WeakKeyDictionary[nn.Sequential, History] = weakref.WeakKeyDictionary()
        self._names: Counter[str] = Counter()
        self._others: dict[str, Row] = {}
        self._optimizers: list[tuple[str, Steps | str]] = []

    def sequential(self, module: nn.Sequential) -> Ran:
        """Where a call of ``module`` notes what ran as what."""
        history = self._of.get(module)
        if history is None:
            name = _whose(module) or f"Sequential {len(self._histories) + 1}"
            self._names[name] += 1
            if self._names[name] > 1:
                name += f" ({self._names[name]})"
            history = History(module, name)
            self._of[module] = history
            self._histories.append(history)
        history.called(module)
        return history.ran

    def other(self, name: str, op: str) -> None:
        """Notes a layer or function outside of every ``nn.Sequential``."""
        self._others.setdefault(f"{name} {op}", Row("by itself", (name,), op))

    def optimizer(self, name: str, steps: Steps | str) -> None:
        """Notes an optimizer: the count of its steps, or why it was left alone."""
        self._optimizers.append((name, steps))

    @property
    def optimizers(self) -> int:
        """How many took fused steps."""
        return sum(bool(row.fused) for row in self._optimizer_rows())

    def _optimizer_rows(self) -> list[Row]:
        """What most steps of each were."""
        rows = []
        for number, (name, steps) in enumerate(self._optimizers, 1):
            op, reason = f"fused {name}", steps if isinstance(steps, str) else ""
            if isinstance(steps, Steps) and steps.plain > steps.fused:
                reason = steps.reason
            elif isinstance(steps, Steps) and not steps.fused:
                reason = f"it made no step, which would have been a {op}"
            rows.append(Row(f"optimizer {number}", (name,), "" if reason else op, reason))
        return rows

    def report(self) -> AccelerationReport:
        """All of it."""
        rows = [row for history in self._histories for row in history.rows()]
        return AccelerationReport(
            (*rows, *self._others.values(), *self._optimizer_rows()),
            len(self._histories),
            self.optimizers,
        )


def _whose(module: nn.Module) -> str:
    """Where a module that is being called lies, such as ``"Generator netG.main"``.

    The class and the variable of the outermost module around it, as far as the calls that lead here
    tell; empty for a Sequential by itself that no variable holds.
    """
    owner, frames = module, []
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        frames.append(frame)
        holder = frame.f_locals.get("self")
        if (
            isinstance(holder, nn.Module)
            and hasattr(holder, "_modules")  # its __init__ may not have come so far
            and not type(holder).__module__.startswith("torch.nn.parallel")
            and any(m is owner for m in holder.modules())
        ):
            owner = holder
    variable = ""
    for frame in frames:
        if frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "gankit"):
            continue
        held = (k for k, v in list(frame.f_locals.items()) if v is owner and k != "self")
        variable = variable or next(held, "")
    if owner is module and not variable:
        return ""
    path = next(path for path, inner in owner.named_modules() if inner is module)
    name = " ".join(filter(None, (type(owner).__name__, variable)))
    return f"{name}.{path}" if path else name


@contextlib.contextmanager
def patched() -> Iterator[Recorder]:
    """Inside the block plain networks, losses and optimizers of torch run accelerated.

    Every ``nn.Sequential`` runs as :func:`gankit.accelerate` would have it, without its class being
    touched; single Linear, normalisation, transposed convolution and dropout layers (and
    ``F.dropout``), ``nn.BCELoss`` and ``nn.BCEWithLogitsLoss`` run as ops; Adam, AdamW and SGD take
    torch's fused step where there is one and the program did not choose. Afterwards torch is as it
    was. It holds for the whole process; ``torch.jit.script`` sees torch as it was.
    """
    recorder = Recorder()
    patches = [
        (nn.Sequential, "forward", _sequential(recorder)),
        *((kind, "forward", _layer(kind, recorder)) for kind in _LAYERS),
        (nn.BCELoss, "forward", _loss(nn.BCELoss, False, recorder)),
        (nn.BCEWithLogitsLoss, "forward", _loss(nn.BCEWithLogitsLoss, True, recorder)),
        *((kind, "__init__", _optimizer(kind, recorder)) for kind in KINDS),
        (F, "dropout", _dropout(recorder)),
    ]
    originals = [(owner, name, vars(owner).get(name, _INHERITED)) for owner, name, _ in patches]
    script = torch.jit.script

    @functools.wraps(script)
    def script_plain(*args: Any, **kwargs: Any) -> Any:
        _install(before)
        try:
            return script(*args, **kwargs)
        finally:
            _install(everything)

    everything = [*patches, (torch.jit, "script", script_plain)]
    before = [*originals, (torch.jit, "script", script)]
    _install(everything)
    try:
        yield recorder
    finally:
        _install(before)


def _install(patches: list[_Patch]) -> None:
    for owner, name, value in patches:
        if value is _INHERITED:
            delattr(owner, name)
        else:
            setattr(owner, name, value)


def _sequential(recorder: Recorder) -> Callable[..., Any]:
    original = nn.Sequential.forward

    @functools.wraps(original)
    def forward(self: nn.Sequential, input: Any) -> Any:
        if type(self) is not nn.Sequential:
            return original(self, input)
        ran = None if torch.compiler.is_compiling() else recorder.sequential(self)
        return run_children(tuple(self._modules.values()), input, ran)

    return forward


def _layer(kind: Any, recorder: Recorder) -> Callable[..., Any]:
    original = kind.forward

    @functools.wraps(original)
    def forward(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        if type(self) is kind and not args and not kwargs and takes(input):
            found = match((self,), 0, False)
            if kind is nn.ConvTranspose2d and not is_row_major(input):
                found = None
            if found is not None and found.fits(input):
                if not torch.compiler.is_compiling():
                    recorder.other(kind.__name__, found.op)
                return found.run(as_torch_reads(kind, input), False)
        return original(self, input, *args, **kwargs)

    return forward


def _dropout(recorder: Recorder) -> Callable[..., Tensor]:
    original = F.dropout

    @functools.wraps(original)
    def dropout(
        input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        drops = training and not inplace and isinstance(p, float) and 0.0 < p < 1.0
        if drops and takes(input) and pays("dropout", input):
            if not torch.compiler.is_compiling():
                recorder.other("dropout", "leaky_relu_dropout")
            return leaky_relu_dropout(as_torch_reads(nn.Dropout, input), 1.0, p, save="input")
        return original(input, p, training, inplace)

    return dropout


def _loss(kind: Any, from_logits: bool, recorder: Recorder) -> Callable[..., Tensor]:
    original = kind.forward

    @functools.wraps(original)
    def forward(self: Any, input: Tensor, target: Tensor) -> Tensor:
        fits = (
            type(self) is kind
            and self.weight is None
            and getattr(self, "pos_weight", None) is None
            and takes(input)
            and type(target) is Tensor
            and input.numel() >= _LEAST_LOSSES
            and (target.shape, target.dtype, target.device)
            == (input.shape, input.dtype, input.device)
        )
        if not fits:
            return original(self, input, target)
        if not torch.compiler.is_compiling():
            recorder.other(kind.__name__, "bce_label_smoothing")
        return bce_label_smoothing(input, target, from_logits=from_logits, reduction=self.reduction)

    return forward


def _optimizer(kind: Any, recorder: Recorder) -> Callable[..., None]:
    original = kind.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if type(self) is kind:
            recorder.optimizer(kind.__name__, fuse(self) or steps_of(self))

    return __init__
