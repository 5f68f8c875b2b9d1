"""Whether an exported file computes what its network does, for every batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.training.checkpoint import rng_kept

ADVICE = (
    "take the batch size from the shape of an input, without int(), len() or a branch that depends "
    "on it"
)
# None is the batch that graphs are traced with.
BATCHES = (1, 2, 5, 17)
# Where torch does not vouch for a graph, which may be that of some sizes or multiples alone.
MANY_BATCHES = (*range(1, 34), 64, 65, 128, 129, 257)
TRACED = 3
# The largest difference relative to the largest output, of a network with folded batch norm and of
# a file, whose program may sum in another order.
_TOLERANCES = {
    torch.float64: (1e-10, 1e-9),
    torch.float32: (1e-5, 1e-4),
    torch.float16: (1e-2, 2e-2),
    torch.bfloat16: (6e-2, 6e-2),
}
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Expected:
    """What ``network`` returned for a batch of each size, and how large that is."""

    name: str
    inputs: Mapping[int, Inputs]
    outputs: Mapping[int, Tensor]

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        name: str,
        network: nn.Module,
        inputs_of: Callable[[int], Inputs],
        batches: Sequence[int] = BATCHES,
    ) -> Expected:
        """Run ``network``, which is in eval mode, on ``batches``; ``name`` is for errors.

        Raises ConfigError if it fails, returns no tensor with a row per input, or draws random
        numbers, which no file could be compared with.
        """
        inputs = {n: inputs_of(n) for n in batches}
        with rng_kept():
            outputs = {n: _returned(name, network, some, n) for n, some in inputs.items()}
            made = cls(name, inputs, outputs)
            again = _returned(name, network, inputs[5], 5)
        difference = made._difference(again, 5)
        if difference > _TOLERANCES[again.dtype][0]:
            raise ConfigError(
                f"{name} draws random numbers in its forward, as noise layers and dropout outside "
                f"of training do: two calls on one input differ by {difference:.2g} of its largest "
                "output; make its random numbers an input or leave them out in eval mode"
            )
        return made

    def check(self, what: str, call: Callable[..., Tensor], *, in_file: bool) -> None:
        """Raise ConfigError unless ``call`` returns the same for each of the batches.

        ``what`` begins the sentence.
        """
        for n, inputs in self.inputs.items():
            wanted = self.outputs[n]
            try:
                made = call(*inputs)
            except Exception as error:  # of another program
                wrong = f"fails ({reason(error)})"
            else:
                difference = self._difference(made, n)
                if difference <= _TOLERANCES[wanted.dtype][in_file]:
                    continue
                wrong = f"differs by {difference:.2g} of its largest output"
                if made.shape != wanted.shape:
                    wrong = f"returns {list(made.shape)} in place of {list(wanted.shape)}"
            raise ConfigError(
                f"{what} {wrong} for a batch of {n}; if the forward uses the batch size, {ADVICE}"
            )

    def _difference(self, made: Tensor, n: int) -> float:
        if made.shape != self.outputs[n].shape:
            return float("inf")
        largest = max(float(output.double().abs().max()) for output in self.outputs.values())
        difference = float((made.double() - self.outputs[n].double()).abs().max())
        return difference / largest if largest else difference


def _returned(name: str, network: nn.Module, inputs: Inputs, n: int) -> Tensor:
    try:
        out = network(*inputs)
    except Exception as error:  # a network of one's own may do anything
        raise ConfigError(f"{name} fails for a batch of {n}: {reason(error)}") from error
    if not isinstance(out, Tensor) or out.dtype not in _TOLERANCES:
        what = out.dtype if isinstance(out, Tensor) else type(out).__name__
        raise ConfigError(f"{name} returned {what}; allowed is one floating-point tensor")
    if out.ndim == 0 or len(out) != n or not out.numel():
        raise ConfigError(
            f"{name} returned {list(out.shape)} for a batch of {n}; allowed is a row for each"
        )
    if not bool(torch.isfinite(out).all()):
        raise ConfigError(f"{name} returned NaN or infinite values")
    return out


def reason(error: BaseException) -> str:
    """The first line of the error that ``error`` came of."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().split("\n")[0]
    return text or type(error).__name__
