"""What happens beside the training: progress, metrics, pictures, checkpoints."""

from __future__ import annotations

import csv
import errno
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch
from torch import Tensor

from gankit.errors import ConfigError, MissingExtra
from gankit.training.atomic import atomic_write
from gankit.training.autoencoder_step import AutoencoderStep
from gankit.training.modules import eval_mode
from gankit.training.noise import Distribution
from gankit.training.pictures import generate, save_grid
from gankit.training.point_pictures import are_points, save_points

if TYPE_CHECKING:
    from gankit.training.step import GANStep
    from gankit.training.trainer import Metrics, Trainer

_LOG = logging.getLogger(__name__)
# As many points make a density or a cloud.
_POINTS = 2000
COLUMNS = (
    "step",
    "epoch",
    "d_loss",
    "g_loss",
    "d_real",
    "d_fake",
    "critic_distance",
    "images_per_second",
)
_NAMES = {"d_loss": "D loss", "g_loss": "G loss", "d_real": "D(real)", "d_fake": "D(fake)"}
SAMPLE_NAME = re.compile(r"epoch_\d{4,}_step_\d{7,}\.png")
MAX_GIF_FRAMES = 200


class Callback:
    """Base of all callbacks: override what is needed. None of them may draw from global RNGs."""

    def on_start(self, trainer: Trainer) -> None:
        """Called before the first step."""

    def on_step(self, trainer: Trainer) -> None:
        """Called after each step. It must not wait for the device."""

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        """Called every ``log_every`` steps and after the last one."""

    def on_epoch(self, trainer: Trainer) -> None:
        """Called when an epoch is done."""

    def on_end(self, trainer: Trainer) -> None:
        """Called when the run has reached its end."""

    def close(self) -> None:
        """Called last, also when the run ended with an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run gives back to ``load_state_dict``: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave; also called with an empty ``state``."""


class Progress(Callback):
    """A tqdm bar where ``stream`` is a terminal, else a plain line every ``seconds``.

    What is said through ``logging`` meanwhile stands above the bar, on lines of its own. Where the
    stream is closed, then or later, the run goes on without.
    """

    def __init__(self, stream: TextIO | None = None, seconds: float = 5.0) -> None:
        self.stream: TextIO | None = stream if stream is not None else sys.stderr
        self.seconds = seconds
        self._bar: Any = None
        self._redirected = ExitStack()
        self._last_line = 0.0

    def on_start(self, trainer: Trainer) -> None:
        self._last_line = time.monotonic()
        if self.stream is not None and self.stream.isatty():
            try:
                from tqdm import tqdm
                from tqdm.contrib.logging import logging_redirect_tqdm
            except ImportError as error:
                raise MissingExtra("tqdm", "train") from error
            self._redirected.enter_context(logging_redirect_tqdm())
            with self._while_someone_reads():
                self._bar = tqdm(
                    total=trainer.total_steps,
                    initial=trainer.step,
                    file=self.stream,
                    unit="step",
                    dynamic_ncols=True,
                )

    def on_step(self, trainer: Trainer) -> None:
        if self._bar is not None:
            with self._while_someone_reads():
                self._bar.update(1)

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        parts = [
            f"{name} {getattr(metrics, key):.{3 if key.endswith('loss') else 2}f}"
            for key, name in _names(trainer).items()
        ]
        text = "  ".join([*parts, f"{metrics.images_per_second:,.0f} images/s"])
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            return
        if self.stream is None:
            return
        now = time.monotonic()
        if now - self._last_line >= self.seconds or trainer.step == trainer.total_steps:
            self._last_line = now
            where = f"step {metrics.step}/{trainer.total_steps}  epoch {metrics.epoch:.1f}"
            with self._while_someone_reads():
                print(f"{where}  {text}", file=self.stream, flush=True)

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
        self._redirected.close()


def _names(trainer: Trainer) -> dict[str, str]:
    """The words for those of the four numbers of a step that this run has."""
    step = trainer.gan_step
    return step.names if isinstance(step, AutoencoderStep) else _NAMES


class MetricsCSV(Callback):
    """One row per log in ``path``. Rows past the step a run resumes at are dropped first."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_start(self, trainer: Trainer) -> None:
        rows = [row for row in read_metrics(self.path) if int(row["step"]) <= trainer.step]
        if trainer.step >= trainer.log_every and not rows:
            _LOG.warning(
                "%s has no rows up to step %d, where the run goes on; the curves begin here",
                self.path,
                trainer.step,
            )
        ended_between = trainer.step % trainer.log_every and trainer.step < trainer.total_steps
        if ended_between and rows and int(rows[-1]["step"]) == trainer.step:
            rows.pop()  # the steps of the run's last row are part of the next one
        with atomic_write(self.path) as file:
            lines = [",".join(COLUMNS)] + [",".join(row[c] for c in COLUMNS) for row in rows]
            file.write(("\n".join(lines) + "\n").encode())

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        values = (getattr(metrics, column) for column in COLUMNS)
        line = ",".join(
            f"{value:.6g}" if isinstance(value, float) else str(value) for value in values
        )
        append_line(self.path, line)


def append_line(path: Path, line: str) -> None:
    """Append a whole line to ``path``, or nothing if the disk is full (OSError naming ``path``)."""
    with open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        data = (line + "\n").encode()
        try:
            written = file.write(data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                file.truncate(end)
            raise OSError(error.errno, error.strerror, str(path)) from error


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The whole rows of a metrics.csv; an empty list if there is none.

    A file of an earlier gankit may lack columns: ``critic_distance`` follows from two others, and
    what follows from nothing is ``nan``. Half a row, left by a crash, is passed over.
    """
    path = Path(path)
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        rows = [dict(zip(header, line, strict=True)) for line in lines if len(line) == len(header)]
    return [_completed(row) for row in rows if row.get("step", "").isdigit()]


def _completed(row: dict[str, str]) -> dict[str, str]:
    if not row.get("critic_distance"):
        with suppress(KeyError, ValueError):
            row["critic_distance"] = f"{float(row['d_real']) - float(row['d_fake']):.6g}"
    return {column: row.get(column) or "nan" for column in COLUMNS}


class SampleGrid(Callback):
    """Draw ``samples/epoch_EEEE_step_SSSSSSS.png``: generated images left, real ones right.

    It draws after epoch ``first``, after every ``every``-th epoch and at the end, always from the
    same z. ``inverted`` shows dark on light (Matplotlib's ``gray_r``). Points of one or two numbers
    are drawn as densities, with D's answer, or as clouds. Of an autoencoder it draws the real
    images that went through it, after the samples of a variational one.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        first: int = 1,
        every: int = 10,
        rows: int = 8,
        columns: int = 8,
        inverted: bool = False,
        distribution: Distribution = "normal",
        seed: int = 0,
    ) -> None:
        for name, value in (
            ("first", first),
            ("every", every),
            ("rows", rows),
            ("columns", columns),
        ):
            if value < 1:
                raise ConfigError(f"{name} is {value}; allowed are integers from 1")
        self.folder = Path(folder)
        self.first, self.every = first, every
        self.rows, self.columns = rows, columns
        self.inverted = inverted
        self.distribution = distribution
        self.seed = seed
        self._drawn_at = -1

    def on_epoch(self, trainer: Trainer) -> None:
        if trainer.epoch == self.first or trainer.epoch % self.every == 0:
            self._draw(trainer)

    def on_end(self, trainer: Trainer) -> None:
        if self._drawn_at != trainer.step:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        points = are_points(trainer.data.images)
        n = max(_POINTS, self.rows * self.columns) if points else self.rows * self.columns
        step = trainer.gan_step
        fakes = generate(step.sampled, n, seed=self.seed, distribution=self.distribution)
        picks = torch.randperm(
            len(trainer.data), generator=torch.Generator().manual_seed(self.seed)
        )
        reals = trainer.data.gather(picks[torch.arange(n) % len(picks)]).cpu()
        epoch = -(-trainer.step // trainer.steps_per_epoch)
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"epoch_{epoch:04d}_step_{trainer.step:07d}.png"
        panels = [fakes.reshape(n, *reals.shape[1:]), reals]
        if isinstance(step, AutoencoderStep):
            back = step.reconstruct(reals.to(trainer.data.device)).cpu()
            # Codes drawn from N(0, 1) mean something to a variational decoder alone.
            panels = [*panels[: step.loss.variational], back, reals]
        if points:
            answer = None
            # One curve is no answer of an encoder, nor of a D that asks for labels.
            if not isinstance(step, AutoencoderStep) and not trainer.conditional:
                answer = partial(_answer, step)
            save_points(path, panels[0], reals, answer=answer)
        else:
            save_grid(path, panels, columns=self.columns, inverted=self.inverted)
        self._drawn_at = trainer.step


@torch.no_grad()
def _answer(step: GANStep, points: Tensor) -> Tensor:
    """D's probabilities, or scores, in eval mode on the CPU."""
    with eval_mode(step.D):
        out = step.D(points.to(next(step.D.parameters()).device)).float().cpu()
    return out.sigmoid() if step.from_logits and not step.loss.scores else out


class SamplesGif(Callback):
    """Join the pictures of ``folder`` into a GIF at the end of the run."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        milliseconds: int = 250,
    ) -> None:
        self.folder, self.path, self.milliseconds = Path(folder), Path(path), milliseconds

    def on_end(self, trainer: Trainer) -> None:
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingExtra("pillow", "train") from error
        files = sorted(f for f in self.folder.iterdir() if SAMPLE_NAME.fullmatch(f.name))
        if not files:
            return
        stride = -(-len(files) // MAX_GIF_FRAMES)
        files = files[::-1][::stride][::-1]
        frames = [Image.open(file).convert("L" if _is_grey(trainer) else "RGB") for file in files]
        durations = [self.milliseconds] * (len(frames) - 1) + [8 * self.milliseconds]
        with atomic_write(self.path) as file:
            frames[0].save(
                file,
                format="GIF",
                save_all=True,
                append_images=frames[1:],
                duration=durations,
                loop=0,
            )


def _is_grey(trainer: Trainer) -> bool:
    return trainer.data.shape[0] == 1


class LossCurves(Callback):
    """Plot the losses and D's mean probabilities of a metrics.csv at the end of the run."""

    def __init__(self, metrics: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
        self.metrics, self.path = Path(metrics), Path(path)

    def on_end(self, trainer: Trainer) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtra("matplotlib", "train") from error
        scores = trainer.gan_step.loss.scores
        answer = "mean score" if scores else "mean probability"
        names = _names(trainer)
        panels: list[tuple[list[tuple[str, str]], str]] = [
            ([(key, names[key]) for key in ("d_loss", "g_loss") if key in names], "loss"),
            ([(key, names[key]) for key in ("d_real", "d_fake") if key in names], answer),
        ]
        if scores:
            panels[1][0].append(("critic_distance", "D(real) - D(fake)"))
        if isinstance(trainer.gan_step, AutoencoderStep):
            panels.pop()
        rows = read_metrics(self.metrics)
        steps = [int(row["step"]) for row in rows]
        figure = Figure(figsize=(8, 6), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        rows_of_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (pairs, label) in zip(rows_of_axes, panels, strict=True):
            for column, name in pairs:
                axes.plot(steps, [float(row[column]) for row in rows], label=name)
            axes.set_ylabel(label)
            axes.grid(alpha=0.3)
            axes.legend()
        rows_of_axes[-1].set_xlabel("step")
        if not scores:
            rows_of_axes[-1].set_ylim(0, 1)
        with atomic_write(self.path) as file:
            canvas.print_png(file)
