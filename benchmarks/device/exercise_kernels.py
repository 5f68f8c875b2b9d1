"""Run every kernel of every op over the inputs that break kernels, and compare the results.

Made to run under compute-sanitizer: few calls, small tensors, each allocation of its own size (so
that an access past the end is one into foreign memory). Set PYTORCH_NO_CUDA_MEMORY_CACHING=1 for
that, or torch's allocator hides such accesses.

``python -m benchmarks.device.exercise_kernels [--device cuda] [--backend native] [--calls N]
[--large] [--huge]``: a sample of N calls per op and dtype, or all of them.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gankit.ops
from gankit.ops import backends
from gankit.ops.registry import Kernel, OpSpec

Call = tuple[str, Kernel, tuple[Any, ...]]

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
BITWISE = ("leaky_relu_dropout",)  # ops whose backends give the same bits
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# Around a vector, a Philox block and a thread block; the last is no multiple of anything.
SIZES = (0, 1, 7, 8, 9, 255, 256, 2048, 2049, 10007)
# More than one pass of the grid-stride loop on any GPU of today.
LARGE = 2**24 + 13
# Past every 32-bit index.
HUGE = 2**31 + 2**20 + 13
HUGE_BYTES = 60e9


def specs() -> Iterator[OpSpec]:
    """The spec of every op, found by its folder."""
    for path in sorted(Path(gankit.ops.__file__).parent.glob("*/spec.py")):
        spec: OpSpec = importlib.import_module(f"gankit.ops.{path.parent.name}.spec").SPEC
        yield spec


def layouts(shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Random tensors on the CPU: dense, shifted off 16 bytes, channels_last, expanded."""
    n = torch.Size(shape).numel()
    yield "dense", torch.randn(shape, dtype=torch.float64).to(dtype)
    yield "misaligned", torch.randn(n + 1, dtype=torch.float64).to(dtype)[1:].view(shape)
    if len(shape) == 4:
        yield (
            "channels_last",
            torch.randn(shape, dtype=torch.float64)
            .to(dtype)
            .contiguous(memory_format=torch.channels_last),
        )
    if n > 1:
        yield "expanded", torch.randn((), dtype=torch.float64).to(dtype).expand(shape)


def moved(x: Any, device: torch.device) -> Any:
    """``x`` on ``device`` with its strides and its offset into 16 bytes."""
    if not isinstance(x, Tensor):
        return x
    base = x if x._base is None else x._base
    return base.to(device, copy=True).as_strided(x.shape, x.stride(), x.storage_offset())


def spec_calls(spec: OpSpec, dtype: torch.dtype) -> Iterator[Call]:
    """The op's own samples for the dispatcher."""
    by_op = {kernel.raw: kernel for kernel in spec.kernels}
    for op, arguments in spec.raw_samples(dtype, torch.device("cpu")):
        if op in by_op:
            yield "sample", by_op[op], arguments


def leaky_relu_dropout_calls(dtype: torch.dtype, sizes: tuple[int, ...]) -> Iterator[Call]:
    """Every tail and layout of leaky_relu_dropout's kernels, elementwise and by channel."""
    from gankit.ops.leaky_relu_dropout import spec

    seed = torch.tensor([-7421703487172481123])
    shapes: list[tuple[int, ...]] = [(n,) for n in sizes]
    shapes += [(3, 5, 7, 9), (2, 16, 4, 4), (9, 13)] if LARGE not in sizes else []
    for shape in shapes:
        for layout, x in layouts(shape, dtype):
            if shape == (LARGE,) and layout != "dense":
                continue
            for channelwise in (False, True) if len(shape) > 1 else (False,):
                what = f"{list(shape)} {layout}{' by channel' if channelwise else ''}"
                draws = (seed, 5, 19661, 65536 / 45875, 0.2 * 65536 / 45875, channelwise)
                y = spec.FORWARD.reference(x, *draws)
                yield what, spec.FORWARD, (x, *draws)
                if layout != "expanded":
                    yield what, spec.INPLACE, (x, *draws)
                for gradient, grad in layouts(shape, dtype):
                    if gradient == layout or (layout != "misaligned" and shape != (LARGE,)):
                        both = f"{what}, gradient {gradient}"
                        yield both, spec.BACKWARD, (grad, y, *draws[3:5])
                        yield both, spec.BACKWARD_FROM_INPUT, (grad, x, *draws)


def huge_leaky_relu_dropout(device: torch.device, n: int) -> list[str]:
    """The kernels in force on ``n`` float16 elements; too many for the reference in one piece."""
    from gankit.ops.leaky_relu_dropout import reference, spec
    from gankit.ops.philox import draws16

    seed = torch.tensor([20], device=device)
    draws = (seed, 3, 19661, 65536 / 45875, 0.2 * 65536 / 45875, False)
    dropped = draws16(seed, 3, n) < 19661
    x = torch.randn(n, device=device, dtype=torch.float16)
    y = spec.FORWARD(x, *draws)
    differing = ["mask of huge y"] if not torch.equal(_bits(y) == 0, dropped) else []
    del dropped
    # In pieces, with nothing dropped: kept values do not depend on their place.
    keep = (seed, 3, 0, *draws[3:])
    first = spec.BACKWARD(x, y, *draws[3:5])
    second = spec.BACKWARD_FROM_INPUT(x, x, *draws)
    for start in range(0, n, 2**26):
        part = slice(start, start + 2**26)
        kept = _bits(y[part]) != 0
        expected = reference.forward(x[part], *keep)
        if not torch.equal(_bits(y[part])[kept], _bits(expected)[kept]):
            differing.append(f"huge y from {start}")
        expected = reference.backward(x[part], y[part], *draws[3:5])
        for name, found in (("backward", first), ("backward_from_input", second)):
            if not torch.equal(found[part], expected):
                differing.append(f"huge {name} from {start}")
    return differing


def same_bits(kernel: Kernel, arguments: tuple[Any, ...], device: torch.device) -> bool:
    """Whether the backend in force gives the reference's bits (and strides) on ``device``."""
    return _agree(kernel, arguments, device, lambda a, b: torch.equal(_bits(a), _bits(b)))


def same_values(
    spec: OpSpec, kernel: Kernel, arguments: tuple[Any, ...], device: torch.device
) -> bool:
    """Whether they agree within the op's tolerances (and in strides)."""

    def close(a: Tensor, b: Tensor) -> bool:
        rtol, atol = spec.tolerances[a.dtype]
        return torch.allclose(b.double(), a.double(), rtol, atol, equal_nan=True)

    return _agree(kernel, arguments, device, close)


def _agree(
    kernel: Kernel,
    arguments: tuple[Any, ...],
    device: torch.device,
    same: Callable[[Tensor, Tensor], bool],
) -> bool:
    cpu = [moved(argument, torch.device("cpu")) for argument in arguments]
    there = [moved(argument, device) for argument in arguments]
    expected, found = kernel.reference(*cpu), kernel(*there)
    if expected is None:  # in place
        expected, found = cpu[0], there[0]
    if isinstance(expected, Tensor):
        expected, found = (expected,), (found,)
    return all(
        wanted.stride() == got.stride() and wanted.dtype == got.dtype and same(wanted, got.cpu())
        for wanted, got in zip(expected, found, strict=True)
    )


def _bits(x: Tensor) -> Tensor:
    return x.contiguous().view(INTEGERS[x.element_size()])


def exercise(
    device: torch.device, backend: str, large: bool, most: int | None = None
) -> tuple[int, list[str]]:
    """Returns the number of calls, at most ``most`` per op and dtype, and what differed."""
    torch.manual_seed(0)
    calls, differing = 0, []
    for spec in specs():
        for dtype in DTYPES:
            if backend == "triton" and dtype not in spec.kernels[0].triton_dtypes:
                continue
            if backend == "triton" and device.type == "cpu" and dtype == torch.bfloat16:
                continue  # Triton's interpreter has none
            todo = list(spec_calls(spec, dtype))
            if spec.name == "leaky_relu_dropout":
                todo += leaky_relu_dropout_calls(dtype, SIZES)
                if large and dtype in (torch.float32, torch.float16):
                    todo += leaky_relu_dropout_calls(dtype, (LARGE,))
            for what, kernel, arguments in _spread(todo, most):
                calls += 1
                with torch.no_grad():
                    if spec.name in BITWISE:
                        agree = same_bits(kernel, arguments, device)
                    else:
                        agree = same_values(spec, kernel, arguments, device)
                    if not agree:
                        differing.append(f"{kernel.name} {dtype} {what}")
    return calls, differing


def _spread(calls: list[Call], most: int | None) -> list[Call]:
    """``most`` of the calls, of each kernel in turn; all without a number."""
    if most is None:
        return calls
    by_kernel: dict[str, list[Call]] = {}
    for call in calls:
        by_kernel.setdefault(call[1].name, []).append(call)
    turns = itertools.zip_longest(*by_kernel.values())
    return [call for turn in turns for call in turn if call is not None][:most]


def main() -> int:
    """Prints what differed; returns 1 if anything did or if the backend is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--backend", default="native", choices=("native", "triton", "reference"))
    parser.add_argument("--calls", type=int, help="at most so many per op and dtype (all)")
    parser.add_argument("--large", action="store_true", help="also 2^24 elements and some")
    parser.add_argument(
        "--huge", action="store_true", help="also 2^31 elements and some, where memory allows"
    )
    chosen = parser.parse_args()
    found = backends.availability(chosen.backend, chosen.device)
    if not found.available:
        print(f"{chosen.backend} on {chosen.device}: {found.reason}", file=sys.stderr)
        return 1
    device = torch.device(chosen.device)
    with backends.backend(chosen.backend):
        calls, differing = exercise(device, chosen.backend, chosen.large, chosen.calls)
        if chosen.huge and device.type == "cuda" and torch.cuda.mem_get_info()[0] > HUGE_BYTES:
            calls += 3
            with torch.no_grad():
                differing += huge_leaky_relu_dropout(device, HUGE)
        elif chosen.huge:
            print(f"2^31 elements: left out, they need {HUGE_BYTES / 1e9:.0f} GB of a GPU's memory")
    print("\n".join([*differing, f"{calls} calls, {len(differing)} differ from the reference"]))
    return 1 if differing or not calls else 0


if __name__ == "__main__":
    sys.exit(main())
