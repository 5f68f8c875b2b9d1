"""Decide whether a discriminator may see real and fake images in one pass.

One pass over ``cat([real, fake])`` computes the same numbers as two passes only if every layer
treats each sample on its own. That is a property of the code of each layer, so it is what the class
of each declares (:mod:`gankit.nn.traits`): a subclass may do anything in its ``forward``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.nn.traits import has_global_hooks, has_hooks, runs_in_order, traits_of
from gankit.training.arguments import Auto, auto

_BATCH_NORM = frozenset({nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d})
_INSTANCE_NORM = frozenset({nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d})


@dataclass(frozen=True)
class Pairing:
    """What was found in one discriminator.

    ``reason`` is empty when one pass is exact, else it says which module asks for two.
    ``eval_only`` lists batch norms that treat samples one by one only in eval mode; they are looked
    at before each pass because ``train()`` may be called at any time. ``grouped`` lists those that
    must take each half by itself, as they do within ``halves``.
    """

    reason: str = ""
    eval_only: tuple[tuple[str, nn.Module], ...] = field(default_factory=tuple)
    grouped: tuple[Any, ...] = field(default_factory=tuple)

    @contextmanager
    def halves(self) -> Iterator[None]:
        """Inside the block batch norms take their statistics over each half of a batch."""
        for module in self.grouped:
            module.groups *= 2
        try:
            yield
        finally:
            for module in self.grouped:
                module.groups //= 2

    def reason_now(self) -> str:
        """The reason for two passes in the modules' present mode; empty when one pass is exact."""
        if self.reason:
            return self.reason
        for name, module in self.eval_only:
            if module.training:
                return f"{name} is a {type(module).__name__} in training mode, which mixes samples"
        return ""


class PairedPass:
    """Whether D sees real and fake images in one pass: as asked for, or where that is exact."""

    def __init__(self, discriminator: nn.Module, asked: Auto) -> None:
        self.asked, self.found = asked, examine(discriminator)
        self._shapes_differ = False

    def serves(self, real: Tensor, fake: Tensor) -> bool:
        """Whether one pass serves these images. Raises ConfigError if it must and cannot."""
        self._shapes_differ = real.shape != fake.shape
        if self._shapes_differ and self.asked is True:
            raise ConfigError(
                f"paired=True needs fakes shaped like the real images: G made {list(fake.shape)}, "
                f"real is {list(real.shape)}"
            )
        return not self.reason()

    def reason(self) -> str:
        """The reason for two passes in D's present mode; empty where there is one pass."""
        if self.asked is False:
            return "paired=False"
        if self._shapes_differ:
            return "G's images have another shape than the real ones"
        return "" if self.asked is True else self.found.reason_now()

    def note(self) -> str:
        """What is done and why, as a sentence."""
        reason = self.reason()
        if reason:
            return f"D makes two passes, one over real and one over fake images: {reason}."
        why = "paired=True" if self.asked is True else "every layer treats each sample on its own"
        return f"D makes one pass over real and fake images: {why}."


def examine(discriminator: nn.Module) -> Pairing:
    """Walk ``discriminator`` and return whether one pass over both halves is exact.

    Every module, ``discriminator`` and containers included, must be of a class that declares
    ``per_sample`` or ``grouped`` (that very class, no hooks, no patched ``forward``), since any
    other ``forward`` is Python code that could look across the batch.
    """
    # Also where one pass is not known to be exact, since a user may vouch for it.
    grouped = tuple(m for m in discriminator.modules() if traits_of(m).grouped)
    if has_global_hooks():
        return Pairing(
            "global module hooks are installed, and they would see one pass in place of two",
            grouped=grouped,
        )
    eval_only: list[tuple[str, nn.Module]] = []
    for name, module in discriminator.named_modules():
        label = f"D.{name}" if name else "D"
        reason = "".join(_objections(module, label))
        if reason:
            return Pairing(reason, grouped=grouped)
        if type(module) in _BATCH_NORM:
            eval_only.append((label, module))
    return Pairing("", tuple(eval_only), grouped)


def _objections(module: nn.Module, label: str) -> Iterator[str]:
    """Yield at most one reason why ``module`` asks for two passes."""
    kind, traits = type(module), traits_of(module)
    if "forward" in vars(module):
        yield f"{label} ({kind.__name__}) has a patched forward"
    elif has_hooks(module):
        yield f"{label} ({kind.__name__}) has hooks, and they would see one pass in place of two"
    elif kind in _BATCH_NORM:
        if getattr(module, "running_mean", None) is None:
            yield f"{label} ({kind.__name__}) keeps no running statistics, so it mixes samples"
    elif kind in _INSTANCE_NORM:
        if getattr(module, "running_mean", None) is not None:
            yield f"{label} ({kind.__name__}) tracks statistics over the batch"
    elif isinstance(module, nn.Flatten) and kind is nn.Flatten:
        if module.start_dim < 1:
            yield f"{label} (Flatten) flattens the batch dimension"
    elif isinstance(module, nn.Unflatten) and kind is nn.Unflatten:
        if not isinstance(module.dim, int) or module.dim < 1:
            yield f"{label} (Unflatten) may split the batch dimension"
    elif not traits.per_sample and not traits.grouped:
        yield (
            f"{label} is a {kind.__name__}, which is not known to treat samples one by one; "
            "pass paired=True if it does"
        )


def reads_logits(D: nn.Module, from_logits: object, precision: str) -> bool:
    """Whether D's output counts as logits, or as probabilities. Raises ConfigError where bf16 needs
    logits, or where D's code hides what it returns."""
    logits = auto("from_logits", from_logits)
    logits = not ends_in_sigmoid(D) if logits == "auto" else logits
    if precision == "bf16" and not logits:
        raise ConfigError(
            "precision='bf16' needs a D that returns logits, since in bfloat16 a probability near "
            "1 rounds to 1 and its gradient to 0: build D with output='logit' or without its last "
            "nn.Sigmoid, or pass from_logits=True if it returns logits already"
        )
    return logits


def ends_in_sigmoid(discriminator: nn.Module) -> bool:
    """Whether ``discriminator`` returns probabilities: the last layer that does work is nn.Sigmoid.

    Layers that only reshape or drop are passed over. Without any nn.Sigmoid the answer is False.
    What comes last is known of ``nn.Sequential`` and of classes that declare their ``output``
    (:mod:`gankit.nn.traits`), as those of ``gankit.models`` do; a module with one child and no
    parameters of its own is taken to return what that child returns.

    Raises ConfigError if there is an nn.Sigmoid, but Python code decides where it acts.
    """
    if not _has_sigmoid(discriminator):
        return False
    last = last_layer(discriminator)
    if isinstance(last, nn.Sigmoid):
        return True
    if last is not None and not _has_sigmoid(last) and next(last.parameters(), None) is not None:
        return False
    raise ConfigError(
        f"from_logits='auto' cannot tell what D ({type(discriminator).__name__}) returns: it has "
        f"an nn.Sigmoid, but {type(last).__name__} comes last, whose code may do anything; set "
        "from_logits to True if D returns logits, to False if it returns probabilities"
    )


def _has_sigmoid(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Sigmoid) for part in module.modules())


def last_layer(module: nn.Module) -> nn.Module | None:
    """The innermost module known to give ``module`` its values; None if it only reshapes."""
    traits, in_order = traits_of(module), runs_in_order(module)
    output = getattr(module, traits.output, None) if traits.output else None
    if isinstance(output, nn.Module):
        return last_layer(output)
    children = list(module.children())
    if not children:
        return None if traits.keeps_values or in_order else module
    alone = len(children) == 1 and next(module.parameters(recurse=False), None) is None
    if not (in_order or alone):
        return module
    for child in reversed(children):
        last = last_layer(child)
        if last is not None:
            return last
    return None
