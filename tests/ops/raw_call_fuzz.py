"""Calls every raw op with one argument of a valid call replaced; run by test_raw_calls.py.

A process of its own, so that a crash is a failed test. Prints each call before it is made, and
``fault: ...`` where one neither raises an error that names the argument nor gives the numbers of
the reference.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import torch
from op_specs import SPECS

from gankit.ops.registry import Kernel

Call = tuple[Any, ...]


def other_tensors(x: torch.Tensor) -> Iterator[tuple[str, Any]]:
    """What may stand in place of a tensor."""
    for dtype in (torch.int64, torch.float64, torch.float16, torch.bool, torch.complex64):
        yield str(dtype), x.to(dtype)
    yield "no dimensions", x.new_ones(())
    yield "one more dimension", x.unsqueeze(0)
    yield "empty", x.new_empty(0)
    yield "meta", x.to("meta")
    yield "None", None
    yield "expanded", x.new_ones(()).expand(x.shape)
    yield "strided", torch.stack((x, x), -1)[..., 0]
    yield "twice as many", torch.cat((x.reshape(-1), x.reshape(-1)))
    if x.dim():
        yield "no samples", x[:0]
        yield (
            "one sample, a huge stride",
            x[:1].as_strided((1, *x.shape[1:]), (2**62, *x.stride()[1:])),
        )
        yield "one sample less", x[1:]
        yield "longer", torch.cat((x, x), -1)
        yield "shorter", x[..., 1:]
        yield "reversed dimensions", x.permute(*range(x.dim() - 1, -1, -1))
        yield "no positions", x[..., :0]


def others(value: Any) -> Iterator[tuple[str, Any]]:
    """What may stand in place of an argument."""
    if isinstance(value, torch.Tensor):
        yield from other_tensors(value)
    elif isinstance(value, bool):
        yield "flipped", not value
    elif isinstance(value, int):
        for number in (-(2**63), -1, 0, 1, 2, 3, 7, 2**31, 2**40 + 1, 2**63 - 1):
            yield str(number), number
    elif isinstance(value, float):
        for real in (float("nan"), float("inf"), -1.0, 0.0, 1e300):
            yield str(real), real
    elif isinstance(value, (tuple, list)):
        for numbers in ((), (1,), (1, 2, 3), (0, 0), (-1, -1), (2**40, 2**40), (2**63 - 1,) * 2):
            yield str(numbers), numbers


def own(arguments: Call) -> Call:
    """The same call on tensors of its own, which it may overwrite."""
    return tuple(
        x.detach().clone(memory_format=torch.preserve_format)
        if isinstance(x, torch.Tensor) and not (x.numel() > 1 and 0 in x.stride())
        else x
        for x in arguments
    )


def run(function: Any, arguments: Call) -> list[torch.Tensor]:
    """The results, and the arguments, some of which an op writes to."""
    result = function(*arguments)
    found = result if isinstance(result, (tuple, list)) else (result,)
    return [x for x in (*found, *arguments) if isinstance(x, torch.Tensor)]


def fault(op: Any, kernel: Kernel, arguments: Call) -> str:
    """What is wrong with a call; empty for a right result or an error that names an argument."""
    try:
        found = run(op, own(arguments))
    except Exception as error:
        # One argument that changes may make another wrong; the dispatcher's own words have quotes.
        names = "|".join([*(argument.name for argument in op._schema.arguments), "input", "target"])
        if re.search(rf"\b({names})(, ({names}))*: |'({names})'", str(error)):
            return ""
        return f"{type(error).__name__} that names no argument: {error}"
    try:
        wanted = run(kernel.reference, own(arguments))
    except Exception as error:
        return f"a result where the reference raises {type(error).__name__}: {error}"
    for f, w in zip(found, wanted, strict=True):
        if f.device != w.device or f.shape != w.shape or f.dtype != w.dtype:
            return f"{f.dtype} {tuple(f.shape)} on {f.device}, expected {w.dtype} {tuple(w.shape)}"
        if f.device.type != "meta" and not torch.allclose(
            f, w, rtol=1e-3, atol=1e-4, equal_nan=True
        ):
            return "wrong numbers"
    return ""


def main() -> None:
    """Every op of the names given."""
    torch.set_num_threads(1)
    for stem in sys.argv[1:]:
        kernels = {}
        for kernel in SPECS[stem].kernels:
            kernels.update({kernel.raw: kernel, kernel.public: kernel})
        seen: dict[Any, int] = {}
        for op, arguments in SPECS[stem].raw_samples(torch.float32, torch.device("cpu")):
            seen[op] = seen.get(op, 0) + 1
            if seen[op] > 2:
                continue
            arguments = tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in arguments)
            for i, argument in enumerate(op._schema.arguments):
                for what, value in others(arguments[i]):
                    call = (*arguments[:i], value, *arguments[i + 1 :])
                    print(f"{op} {argument.name}: {what}", flush=True)
                    # Floats scale numbers and reach no address: it is enough that nothing crashes.
                    found = fault(op, kernels[op], call)
                    if found and not isinstance(value, float):
                        print(f"fault: {op} {argument.name}: {what}: {found}", flush=True)
    print("all calls made")


if __name__ == "__main__":
    main()
