"""Run somebody's training script accelerated, and compare it with how it was."""

from __future__ import annotations

import builtins
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
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
# Of fewer than this the median may be anything.
_FEW = 20
# Of what a failed run printed, as many are shown.
_LINES_OF_ERROR = 20


# What the accelerated run is compared with, in words.
_COMPARED = {
    "plain torch": "plain",
    "the reference backend (the same layers accelerated, by the ops' definition)": "reference",
}


class _Enough(BaseException):
    """The script has made its steps. Not an Exception, so that scripts let it pass."""


def run_script(
    script: str,
    arguments: Sequence[str] = (),
    *,
    module: bool = False,
    accelerated: bool = True,
) -> tuple[int, AccelerationReport]:
    """Run a Python script as ``python script arguments...`` would, with its networks accelerated.

    What is replaced, and put back at the end, is listed at
    :func:`gankit.acceleration.patched.patched`.

    Args:
        script: path of the file.
        arguments: what the script finds in ``sys.argv[1:]``.
        module: ``script`` is a module, such as ``"package.train"``, or a package with a
            ``__main__``, and is run as ``python -m`` would.
        accelerated: False runs it as it is.

    Returns:
        The exit code, and the report of what ran as what. An exception of the script is printed
        with its traceback and gives 1, as in Python itself, and an interrupt 130.

    Raises:
        ConfigError: there is no such file or module.
    """
    with _as_main(script, arguments, module):
        _check(script, module)
        if not accelerated:
            return _execute(script, module), AccelerationReport()
        with patched() as recorder:
            code = _execute(script, module)
        return code, recorder.report()


def _wait_for_threads(before: set[threading.Thread]) -> None:
    """Until the script's own have ended, as Python waits for all but daemons."""
    while True:
        new = [t for t in threading.enumerate() if t not in before and not t.daemon]
        if not new:
            return
        new[0].join()


def _check(script: str, module: bool) -> None:
    if not module:
        if not Path(script).is_file():
            what = "a folder" if Path(script).is_dir() else "no such file"
            raise ConfigError(f"{script}: {what}; expected the path of a Python script")
        if not os.access(script, os.R_OK):
            raise ConfigError(f"{script}: it may not be read; expected a Python script")
        if script.endswith(".ipynb"):
            raise ConfigError(
                f"{script}: a notebook; expected a Python script, which "
                f"`jupyter nbconvert --to script {script}` makes of it"
            )
        return
    parts = script.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ConfigError(f"-m {script}: expected the name of a module, such as package.train")
    # The packages that a module lies in are imported later, where they run accelerated.
    if parts[0] not in sys.modules and importlib.util.find_spec(parts[0]) is None:
        raise ConfigError(f"-m {script}: there is no module named {parts[0]}")


@contextlib.contextmanager
def _as_main(script: str, arguments: Sequence[str], module: bool) -> Iterator[None]:
    argv, path, hook, main = sys.argv, list(sys.path), sys.excepthook, sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    vars(sys.modules["__main__"])["__builtins__"] = builtins
    # Python has "-m" there while it looks for a module.
    sys.argv = ["-m" if module else script, *arguments]
    sys.path.insert(0, os.getcwd() if module else str(Path(script).resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.excepthook, sys.modules["__main__"] = argv, path, hook, main


def _execute(script: str, module: bool) -> int:
    threads = set(threading.enumerate())
    try:
        code = _run_code(script, module)
        _wait_for_threads(threads)
    except KeyboardInterrupt:
        return 130
    return code


def _run_code(script: str, module: bool) -> int:
    try:
        code = _module_code(script) if module else _script_code(script)
        exec(code, vars(sys.modules["__main__"]))
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return int(end.code or 0)
        print(end.code, file=sys.stderr)
        return 1
    except (_Enough, _Refused) as end:
        if isinstance(end, _Refused):
            raise ConfigError(str(end)) from end
        return 0
    except (Exception, KeyboardInterrupt) as error:
        # Without the frames of this file and of the import of packages, which are not the script's.
        trace = error.__traceback__
        while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        error.__traceback__ = trace
        sys.excepthook(type(error), error, trace)  # the script may have set its own
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


class _Refused(BaseException):
    """There is no such module to run, which is not an error of the script."""


def _is_ours(file: str) -> bool:
    return file == _is_ours.__code__.co_filename or file.startswith("<frozen ")


def _script_code(script: str) -> types.CodeType:
    path = os.path.abspath(script)  # what Python makes of __file__
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    vars(sys.modules["__main__"]).update(__file__=path, __loader__=loader, __cached__=None)
    with open(path, "rb") as file:
        # Else it would be read with the future imports of this file.
        code: types.CodeType = compile(file.read(), path, "exec", dont_inherit=True)
    return code


def _module_code(name: str) -> types.CodeType:
    spec = _spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name += ".__main__"
        spec = _spec(name)
        if spec is None:
            package = name.removesuffix(".__main__")
            raise _Refused(f"-m {package}: the package has no module __main__ to run")
    if spec is None:
        raise _Refused(f"-m {name}: there is no module of that name to run")
    loader = spec.loader
    code = loader.get_code(name) if isinstance(loader, importlib.abc.InspectLoader) else None
    if code is None:
        raise _Refused(f"-m {name}: the module has no Python code to run")
    vars(sys.modules["__main__"]).update(
        __spec__=spec,
        __package__=spec.parent,
        __file__=spec.origin,
        __loader__=loader,
        __cached__=spec.cached,
    )
    sys.argv[0] = spec.origin or name
    return code


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        package = name.rpartition(".")[0]
        # A module that the package itself lacks is its own error.
        if error.name is not None and f"{package}.".startswith(f"{error.name}."):
            return None
        raise
    except ValueError:  # a module that was made by hand
        return None


def compare(script: str, arguments: Sequence[str], steps: int, *, module: bool = False) -> str:
    """Run a script's first steps as it is and accelerated, each in a process of its own.

    And once more accelerated by the ops' definition in plain PyTorch. Its standard input is empty.

    A step is one call of ``step`` of the optimizer that steps first. Each run starts from the same
    seeds of torch, NumPy and random.

    Args:
        script: path of the file.
        arguments: of the script.
        steps: how many to make, at least 1.
        module: as for :func:`run_script`.

    Returns:
        Words: the speed of both, and the largest difference of a parameter, relative to the largest
        in its tensor: of the accelerated script from the script as it is, and from the accelerated
        one by the ops' definition.

    Raises:
        ConfigError: the script is missing, fails, or ends before it has made a step.
    """
    if steps < 1:
        raise ConfigError(f"--compare: expected at least 1 step, got {steps}")
    with _as_main(script, arguments, module):
        _check(script, module)
    results = {
        mode: measure(mode, script, arguments, steps, module=module)
        for mode in ("plain", "accelerated", "reference")
    }
    return _words(results)


def measure(
    mode: str, script: str, arguments: Sequence[str], steps: int, *, module: bool = False
) -> dict[str, Any]:
    """Run the first steps of a script in a process of its own.

    Args:
        mode: ``"plain"``, ``"accelerated"`` or ``"reference"`` (accelerated, by the ops' definition
            in plain PyTorch).
        script, arguments, steps, module: as for :func:`compare`.

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
            [*command, *(["-m"] if module else []), script, *arguments],
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
        if len(ours["seconds"]) < _FEW:
            lines.append(
                f"so few steps tell little of the speed: give --compare {_FEW + 5} or more"
            )
    else:
        lines.append(f"too few steps to time: the first {_WARM_UP} are not counted")
    for name in ("first", "last"):
        step = 1 if name == "first" else ours["steps"]
        lines.append(f"largest relative difference of a parameter after {step} step(s):")
        for title, mode in _COMPARED.items():
            other = results[mode]
            if name == "last" and other["steps"] != ours["steps"]:
                gap = f"it made {other['steps']} step(s)"
            else:
                gap = f"{_difference(ours[name], other[name]):.1e}"
            lines.append(f"    accelerated from {title}: {gap}")
    if ours["drops"]:
        lines.append(
            "the script uses dropout: the reference draws the same masks, plain torch draws others,"
            " so only the difference from the reference tells of rounding"
        )
    return "\n".join(lines)


def _difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """Infinite where one is NaN or infinite and the other is not the same."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
        a, b = a.to(wide), b.to(wide)
        same = (a == b) | (a.isnan() & b.isnan())
        gap = torch.where(same, 0.0, (a - b).abs()).nan_to_num(math.inf, math.inf)
        if b.numel():
            largest = b.abs().nan_to_num(0.0, 0.0).max().item() or 1.0
            worst = max(worst, gap.max().item() / largest)
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


def _record(mode: str, steps: int, file: str, *words: str) -> int:
    """One run of a comparison, in a process of its own; ``words`` are the script's command line."""
    module = words[0] == "-m"
    script, *arguments = words[module:]
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
        if mode != "plain":  # as the command does
            from .training.memory import keep_freed_memory

            keep_freed_memory()
        code, report = run_script(script, arguments, module=module, accelerated=mode != "plain")
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
    sys.exit(_record(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
