"""The line that says how far a run is, on terminals of all widths and in logs."""

from __future__ import annotations

import io
import math
import os
import re
import struct
import threading

import pytest

from gankit.training import Metrics, Progress
from gankit.training.callbacks.progress import bar_line
from tests.training.test_trainer import make_trainer

NUMBERS = {
    "D loss": "0.867",
    "G loss": "0.730",
    "D(real)": "0.82",
    "D(fake)": "0.48",
    "images/s": "12,345",
}
LARGE = {
    "D loss": "-1234.567",
    "G loss": "-",
    "D(real)": "-12345.67",
    "D(fake)": "1234.50",
    "images/s": "1,234,567",
}


@pytest.mark.parametrize("width", [1, 2, 5, 10, 20, 40, 60, 80, 100, 132, 300])
@pytest.mark.parametrize("numbers", [{}, NUMBERS, LARGE])
@pytest.mark.parametrize(
    ("step", "total", "elapsed", "rate"),
    [
        (0, 600, 0.0, None),
        (451, 600, 2.1, 208.4),
        (94_000, 100_000, 37_230.0, 2.53),
        (5, 10**7, 9e4, 1e-4),
        (8, 8, 1e-3, 1e6),
        (12, 8, 1.0, 3.0),
    ],
)
def test_no_line_is_too_long(
    step: int, total: int, elapsed: float, rate: float | None, numbers: dict[str, str], width: int
) -> None:
    line = bar_line(step, total, elapsed, rate, numbers, width)
    assert 1 <= len(line) <= max(width - 1, 1)
    if width >= 10:
        assert f"{math.floor(100 * min(step / total, 1))}%" in line


def test_eighty_columns_say_it_all() -> None:
    line = bar_line(451, 600, 2.1, 208.4, NUMBERS, 80)
    for part in ("75%", "451/600", "208/s", "<00:00", *NUMBERS.values()):
        assert (part in line) == (part != "12,345")
    for name in ("D loss 0.867", "G loss 0.730", "D(real) 0.82", "D(fake) 0.48"):
        assert name in line
    line = bar_line(94_000, 100_000, 37_230, 2.53, NUMBERS, 80)
    for part in ("94%", "94000/100000", "10:20:30<39:31", "2.5/s"):
        assert part in line
    for part in ("D 0.867", "G 0.730", "D(x) 0.82", "D(G) 0.48"):
        assert part in line


def test_narrow_and_wide_terminals() -> None:
    narrow = bar_line(451, 600, 2.1, 208.4, NUMBERS, 40)
    assert re.match(r" 75%\|[#-]+\| <00:00 D 0\.867 G 0\.730", narrow)
    wide = bar_line(451, 600, 2.1, 208.4, NUMBERS, 160)
    assert "208 steps/s" in wide
    assert "12,345 images/s" in wide
    assert "|######################--------|" in wide


def on_a_terminal(rows: int, columns: int, steps: int = 12) -> str:
    """What a run writes to a terminal of that size."""
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    read: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:  # the other end has gone
                return
            if not data:
                return
            read.append(data)

    listener = threading.Thread(target=listen)
    listener.start()
    with open(slave, "w") as stream:
        make_trainer(Progress(stream), log_every=2).fit(steps=steps)
    listener.join(timeout=30)
    os.close(master)
    return b"".join(read).decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="has no pseudo-terminals")
@pytest.mark.parametrize(("rows", "columns"), [(24, 40), (24, 80), (24, 100), (0, 0), (0, 80)])
def test_a_terminal_of_any_size(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = on_a_terminal(rows, columns)
    shown = [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert all(len(line) < (columns or 80) for line in shown)
    last = shown[-1]
    assert last.startswith("100%")
    if columns == 40:
        assert re.search(r"D [\d.]+ G [\d.]+$", last)
    else:
        for part in (r"12/12", r"/s ", r"<00:00", r"D loss \d", r"G loss \d", r"D\(fake\) 0\.\d\d"):
            assert re.search(part, last)


def test_lines_of_a_log_say_how_long_it_takes() -> None:
    stream = io.StringIO()
    make_trainer(Progress(stream, seconds=0)).fit(steps=8)
    first, last = stream.getvalue().splitlines()
    assert re.search(r"  elapsed \d\d:\d\d  left \d\d:\d\d$", first)
    assert last.endswith("  left 00:00")


def test_the_time_left_is_that_of_the_steps_of_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("gankit.training.callbacks.progress.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    progress = Progress(stream)
    trainer = make_trainer(progress)
    trainer.step, trainer.total_steps = 1000, 2000
    progress.on_start(trainer)
    trainer.step, clock[0] = 1100, 50.0
    progress.on_log(
        trainer,
        Metrics(1100, 1.0, 10.0, {"d_loss": 0.5, "g_loss": math.nan, "d_real": 0.5, "d_fake": 0.5}),
    )
    assert stream.getvalue().endswith("  elapsed 00:50  left 07:30\n")
    assert "G loss -  " in stream.getvalue()
    assert "nan" not in stream.getvalue()
