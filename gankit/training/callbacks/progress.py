"""How far the training is, on a terminal or in a log."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from gankit.errors import MissingExtra
from gankit.training.callbacks.base import Callback

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer

# Where a terminal does not say how wide it is.
_WIDTH = 80
# Of a notebook's output; its stream's file, if any, is the terminal where the server was started.
_NOTEBOOK_WIDTH = 100
_LONGEST_BAR = 30


class Progress(Callback):
    """A tqdm bar where ``stream`` is a terminal or a notebook's, else a line every ``seconds``.

    By default it is the standard error stream; in a notebook the standard output, since notebooks
    show errors on a red ground. The line fits the terminal, one of unknown width is taken for 80
    columns wide, a notebook's output for 100; where it is narrow, names are shortened and the least
    needed is left out first. What is said through ``logging`` meanwhile stands above the bar, on
    lines of its own. Where the stream is closed, then or later, the run goes on without.
    """

    def __init__(self, stream: TextIO | None = None, seconds: float = 5.0) -> None:
        usual = sys.stdout if _of_a_notebook(sys.stdout) else sys.stderr
        self.stream: TextIO | None = stream if stream is not None else usual
        self.seconds = seconds
        self._bar: Any = None
        self._numbers: dict[str, str] = {}
        self._redirected = ExitStack()
        self._last_line = self._started = 0.0
        self._first = 0

    def on_start(self, trainer: Trainer) -> None:
        self._last_line = self._started = time.monotonic()
        self._first = trainer.step
        self._numbers = {}
        if self.stream is not None and (self.stream.isatty() or _of_a_notebook(self.stream)):
            try:
                from tqdm import TqdmWarning, tqdm

                with warnings.catch_warnings():
                    # That a notebook has no widgets: this bar is of text.
                    warnings.simplefilter("ignore", TqdmWarning)
                    from tqdm.contrib.logging import logging_redirect_tqdm
            except ImportError as error:
                raise MissingExtra("tqdm", "train") from error
            self._redirected.enter_context(logging_redirect_tqdm())
            with self._while_someone_reads():
                # With a delay it draws nothing yet, in tqdm's own words.
                self._bar = tqdm(
                    total=trainer.total_steps,
                    initial=trainer.step,
                    file=self.stream,
                    # Each line of a notebook is a message, which is kept in its file.
                    mininterval=0.5 if _of_a_notebook(self.stream) else 0.1,
                    delay=1e-9,
                )
                self._bar.format_meter = self._line
                self._bar.refresh()

    def _line(
        self, n: int, total: int, elapsed: float, rate: float | None, initial: int, **_: Any
    ) -> str:
        """What tqdm shows, in place of ``tqdm.format_meter``."""
        if not rate and elapsed:
            rate = (n - initial) / elapsed
        width = _WIDTH if self.stream is None else _width(self.stream)
        return bar_line(n, total, elapsed, rate, self._numbers, width)

    def on_step(self, trainer: Trainer) -> None:
        if self._bar is not None:
            with self._while_someone_reads():
                self._bar.update(1)

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        self._numbers = {
            label: _written(metrics.values[name], 2 if name in ("d_real", "d_fake") else 3)
            for name, label in trainer.gan_step.metrics.items()
        }
        self._numbers |= {
            value.label: _written(metrics.values[name], 3)
            for name, value in trainer.measures.items()
            if not math.isnan(metrics.values[name])
        }
        self._numbers["images/s"] = f"{metrics.images_per_second:,.0f}"
        if self._bar is not None or self.stream is None:
            return
        now = time.monotonic()
        if now - self._last_line >= self.seconds or trainer.step == trainer.total_steps:
            self._last_line = now
            done, left = trainer.step - self._first, trainer.total_steps - trainer.step
            elapsed = now - self._started
            words = [
                f"step {metrics.step}/{trainer.total_steps}",
                f"epoch {metrics.epoch:.1f}",
                *_in_full(self._numbers),
                f"elapsed {_clock(elapsed)}",
                f"left {_clock(left * elapsed / done) if done else '?'}",
            ]
            with self._while_someone_reads():
                print("  ".join(words), file=self.stream, flush=True)

    @contextmanager
    def _while_someone_reads(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            if self._bar is not None:
                with suppress(OSError):
                    self._bar.close()
            self.stream = self._bar = None

    def close(self) -> None:
        if self._bar is not None:
            with self._while_someone_reads():
                self._bar.close()
        self._bar = None
        self._redirected.close()


def bar_line(
    step: int,
    total: int,
    elapsed: float,
    rate: float | None,
    numbers: Mapping[str, str],
    width: int,
) -> str:
    """One line of at most ``width`` - 1 columns: how far it is, how long it takes, ``numbers``.

    Args:
        step, total: steps done and to be done.
        elapsed: seconds since the start.
        rate: steps per second, None or 0 where it is not known yet.
        numbers: by name, as text.
        width: columns of the terminal; the last stays free, since some go on in the next line.
    """
    share = min(step / total, 1.0) if total else 1.0
    left = _clock(max(total - step, 0) / rate) if rate else "?"
    percent, count = f"{math.floor(100 * share):3d}%", f"{step}/{total}"
    speed = "" if not rate else f"{rate:.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
    times = f"{_clock(elapsed)}<{left}"
    few = {name: value for name, value in numbers.items() if name != "images/s"}
    forms = [
        ([percent, count, times, speed and f"{speed[:-2]} steps/s"], _in_full(numbers), "  "),
        ([percent, count, times, speed], _in_full(few), " "),
        ([percent, count, f"<{left}", speed], _in_full(few), " "),
        ([percent, count, times, speed], _in_full(_short(few)), " "),
        ([percent, count, f"<{left}", speed], _in_full(_short(few)), " "),
        ([percent, f"<{left}", speed], _in_full(_short(few)), " "),
        ([percent, f"<{left}"], _in_full(_short(few)), " "),
        ([percent, f"<{left}"], _in_full(_short(few))[:2], " "),
        ([percent, f"<{left}"], [], " "),
        ([percent], [], " "),
    ]
    room = max(width - 1, 1)
    for parts, words, gap in forms:
        first, *rest = (part for part in (*parts, *words) if part)
        free = room - len(gap.join((first, *rest)))
        if free < 0:
            continue
        if free >= 7:  # a bar of less says nothing
            first = f"{first}|{_bar(share, min(free - 2, _LONGEST_BAR))}|"
        return gap.join((first, *rest))
    return percent[-room:]


def _bar(share: float, width: int) -> str:
    full = int(share * width)
    return "#" * full + "-" * (width - full)


def _in_full(numbers: Mapping[str, str]) -> list[str]:
    return [
        f"{value} {name}" if name == "images/s" else f"{name} {value}"
        for name, value in numbers.items()
    ]


def _short(numbers: Mapping[str, str]) -> dict[str, str]:
    """As in ``D 0.867 G 0.730 D(x) 0.82 D(G) 0.48``."""
    letters = {"D loss": "D", "G loss": "G", "D(real)": "D(x)", "D(fake)": "D(G)"}
    letters |= {"reconstruction": "rec.", "KL divergence": "KL"}
    return {letters.get(name, name): value for name, value in numbers.items()}


def _written(value: float, digits: int) -> str:
    """NaN is a number that is not there, such as G's loss before its first turn."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 1e5:
        return f"{value:.2e}"
    return f"{value:.{digits}f}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


def _of_a_notebook(stream: object) -> bool:
    """Whether a Jupyter kernel shows ``stream``: it is no terminal, but obeys carriage returns."""
    return type(stream).__module__.partition(".")[0] == "ipykernel"


def _width(stream: TextIO) -> int:
    """Columns of the terminal behind ``stream``."""
    if _of_a_notebook(stream):
        return _NOTEBOOK_WIDTH
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # none, or closed
        columns = 0
    return columns or _WIDTH
