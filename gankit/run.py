"""Run somebody's training script accelerated, and compare it with how it was."""

from __future__ import annotations

import builtins
import contextlib
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from .acceleration import AccelerationReport
from .acceleration.patched import patched
from .acceleration.run import serve_reference
from .errors import ConfigError
from .ops import backend

__all__ = ["compare", "measure", "run_script"]

# Steps that warm the caches and are not timed.
_WARM_UP = 3
# Of what a failed run printed, as many are shown.
_LINES_OF_ERROR = 20


class _Enough(BaseException):
    """The script has made its steps. Not an Exception, so that scripts let it pass."""


def run_script(
    script: str, arguments: Sequence[str] = (), *, accelerated: bool = True
) -> tuple[int, AccelerationReport]:
    """Run a Python script as ``python script arguments...`` would, with its networks accelerated.

    What is replaced, and put back at the end, is listed at
    :func:`gankit.acceleration.patched.patched`.

    Args:
        script: path of the file.
        arguments: what the script finds in ``sys.argv[1:]``.
        accelerated: False runs it as it is.

    Returns:
        The exit code, and the report of what ran as what. An exception of the script is printed
        with its traceback and gives 1, as in Python itself, and an interrupt 130.

    Raises:
        ConfigError: there is no such file.
    """
    if not Path(script).is_file():
        raise ConfigError(f"{script}: no such file; expected the path of a Python script")
    with _arguments(script, arguments):
        if not accelerated:
            return _execute(script), AccelerationReport()
        with patched() as recorder:
            code = _execute(script)
        return code, recorder.report()


@contextlib.contextmanager
def _arguments(script: str, arguments: Sequence[str]) -> Iterator[None]:
    argv, path, hook, main = sys.argv, list(sys.path), sys.excepthook, sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    # runpy.run_path would put the whole path into argv, where Python leaves what was typed.
    vars(sys.modules["__main__"]).update(__file__=os.path.abspath(script), __builtins__=builtins)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.excepthook, sys.modules["__main__"] = argv, path, hook, main


def _execute(script: str) -> int:
    path = os.path.abspath(script)  # what Python makes of __file__
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
        exec(code, vars(sys.modules["__main__"]))
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return int(end.code or 0)
        print(end.code, file=sys.stderr)
        return 1
    except _Enough:
        return 0
    except (Exception, KeyboardInterrupt) as error:
        # Without the frames of this file, which are not the script's.
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != path:
            trace = trace.tb_next
        error.__traceback__ = trace
        sys.excepthook(type(error), error, trace)  # the script may have set its own
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def compare(script: str, arguments: Sequence[str], steps: int) -> str:
    """Run a script's first steps as it is and accelerated, each in a process of its own.

    And once more with the ops' definition in plain PyTorch. Its standard input is empty.

    A step is one call of ``step`` of the optimizer that steps first. Each run starts from the same
    seeds of torch, NumPy and random.

    Args:
        script: path of the file.
        arguments: of the script.
        steps: how many to make, at least 1.

    Returns:
        Words: the speed of both, and the largest difference of a parameter, relative to the largest
        in its tensor, between the fused ops and their definition in plain PyTorch.

    Raises:
        ConfigError: the script is missing, fails, or ends before it has made a step.
    """
    if steps < 1:
        raise ConfigError(f"--compare: expected at least 1 step, got {steps}")
    if not Path(script).is_file():
        raise ConfigError(f"{script}: no such file; expected the path of a Python script")
    results = {
        mode: measure(mode, script, arguments, steps)
        for mode in ("plain", "accelerated", "reference")
    }
    return _words(results)


def measure(mode: str, script: str, arguments: Sequence[str], steps: int) -> dict[str, Any]:
    """Run the first steps of a script in a process of its own.

    Args:
        mode: ``"plain"``, ``"accelerated"`` or ``"reference"`` (accelerated, by the ops' definition
            in plain PyTorch).
        script, arguments, steps: as for :func:`compare`.

    Returns:
        ``seconds`` of each step but the first ones, the parameters after the ``first`` and the
        ``last`` step, the number of ``steps``, whether the script ``drops``, and how many runs
        of layers each op served (``fused``).

    Raises:
        ConfigError: the script fails, or ends before it has made a step.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, mode)
        command = [sys.executable, "-m", "gankit.run", mode, str(steps), str(file)]
        paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(
            [*command, script, *arguments],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not file.exists():
            end = done.stderr.strip().splitlines() or ["it took no step of an optimizer"]
            words = "\n".join(end[-_LINES_OF_ERROR:])
            raise ConfigError(f"{script}: its {mode} run ended with:\n{words}")
        result: dict[str, Any] = torch.load(file, weights_only=True)
    return result


def _words(results: dict[str, Any]) -> str:
    plain, ours = results["plain"], results["accelerated"]
    lines = []
    times = [statistics.median(r["seconds"]) if r["seconds"] else None for r in (plain, ours)]
    if times[0] and times[1]:
        lines.append(
            f"plain {times[0] * 1e3:.2f} ms, accelerated {times[1] * 1e3:.2f} ms per step "
            f"(median of {len(ours['seconds'])}): {times[0] / times[1]:.2f}x"
        )
    else:
        lines.append(f"too few steps to time: the first {_WARM_UP} are not counted")
    reference = results["reference"]
    for name in ("first", "last"):
        gap = _difference(ours[name], reference[name])
        step = 1 if name == "first" else ours["steps"]
        lines.append(
            f"largest relative difference of a parameter from the reference backend after "
            f"{step} step(s): {gap:.1e}"
        )
    if ours["drops"]:
        lines.append(
            "the script uses dropout: the reference draws the same masks, plain torch draws others"
        )
    return "\n".join(lines)


def _difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if b.numel():
            scale = b.double().abs().max().item() or 1.0
            worst = max(worst, (a.double() - b.double()).abs().max().item() / scale)
    return worst


class _Counter:
    """Counts the steps, times them and keeps the parameters after the first and the last."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.times: list[float] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        self.first: list[torch.Tensor] = []

    def __call__(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if not any(optimizer is known for known in self.optimizers):
            self.optimizers.append(optimizer)
        if optimizer is not self.optimizers[0]:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        if len(self.times) == 1:
            self.first = self.parameters()
        if len(self.times) >= self.steps:
            raise _Enough

    def parameters(self) -> list[torch.Tensor]:
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        return [p.detach().cpu().clone() for group in groups for p in group["params"]]


def _record(mode: str, steps: int, file: str, script: str, arguments: Sequence[str]) -> int:
    """One run of a comparison, in a process of its own."""
    random.seed(0)
    torch.manual_seed(0)
    with contextlib.suppress(ImportError):
        import numpy

        numpy.random.seed(0)  # noqa: NPY002 (scripts draw from the global generator)
    counter = _Counter(steps)
    register_optimizer_step_post_hook(counter)
    with contextlib.ExitStack() as stack:
        if mode == "reference":
            stack.enter_context(backend("reference"))
            serve_reference()
        code, report = run_script(script, arguments, accelerated=mode != "plain")
    if code or not counter.times:
        return code or 1
    times = counter.times[_WARM_UP:]
    torch.save(
        {
            "seconds": [b - a for a, b in itertools.pairwise(times)],
            "first": counter.first,
            "last": counter.parameters(),
            "steps": len(counter.times),
            "drops": "leaky_relu_dropout" in report.counts,
            "fused": report.counts,
        },
        file,
    )
    return 0


if __name__ == "__main__":
    sys.exit(_record(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]))
