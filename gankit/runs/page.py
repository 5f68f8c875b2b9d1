"""``report.html``: all that a run's folder says, on one page that needs no other file."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from gankit._version import __version__
from gankit.atomic import atomic_write
from gankit.json_text import as_number
from gankit.metrics.registry import METRICS, values_of
from gankit.runs.commands import commands
from gankit.runs.embedded import Embedded, embedded
from gankit.runs.html import Html, joined, table, tag
from gankit.runs.record import RunRecord, read_record
from gankit.runs.runfiles import REPORT
from gankit.runs.setting_rows import setting_rows
from gankit.runs.svg import plot
from gankit.runs.wording import duration, in_words, number
from gankit.training.callbacks.drawing import Drawing
from gankit.training.distributed import world
from gankit.training.environment import environment
from gankit.training.reports import Curves

if TYPE_CHECKING:
    from gankit.training.trainer import Metrics, Trainer

_LOG = logging.getLogger(__name__)
_ORIGINS = {"set": "set for this run", "recipe": "of the recipe", "default": "default"}


class ReportPage(Drawing):
    """Write ``report.html`` of the run in ``folder``, at checkpoints where that costs little.

    And always at the end (see ``Drawing``).
    """

    _needs = ("PIL", "pillow")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / REPORT)

    def on_log(self, trainer: Trainer, metrics: Metrics) -> None:
        self._changed = True

    def on_picture(self, trainer: Trainer, path: Path) -> None:
        self._changed = True

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        self._draw_if_cheap(trainer)

    def _draw(self, trainer: Trainer) -> None:
        state = {
            "step": trainer.step,
            "config": trainer.config,
            "environment": environment(trainer.data.device, world()[1]),
            "callbacks": {type(c).__name__: c.state_dict() for c in trainer.callbacks},
        }
        write_report(read_record(self.path.parent, state), self.path, say=self._warn)


def write_report(record: RunRecord, path: Path, *, say: Callable[[str], None]) -> None:
    """Write the page of ``record`` to ``path``; ``say`` is given a sentence on what is left out.

    Raises MissingExtra without Pillow, OSError if the page cannot be written.
    """
    for trouble in record.troubles:
        say(trouble)
    text = report(record, embedded(record.pictures, say))
    with atomic_write(path) as file:
        file.write(text.encode())


def report(record: RunRecord, pictures: list[Embedded]) -> str:
    """The page of ``record`` with ``pictures`` in it.

    It loads nothing: its policy forbids the browser to, and allows no script or style but its own.
    """
    template = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    name = record.folder.absolute().name
    values = {
        "title": joined(record.title or "a run", " - ", name),
        "version": joined(__version__),
        "header": _header(record),
        "main": joined(
            _samples(record, pictures),
            _plots(record),
            _metrics(record),
            _evaluations(record),
            _diagnostics(record),
            _commands(record),
            _settings(record),
            _networks(record),
            _environment(record),
        ),
        "footer": tag("p", f"Written by gankit {__version__} at step {record.step:,}."),
    }
    template = template.replace("$policy", _policy(template))
    return Template(template).substitute(values)


def _policy(template: str) -> str:
    allowed = {}
    for name in ("style", "script"):
        (text,) = re.findall(rf"<{name}>(.*?)</{name}>", Template(template).safe_substitute(), re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed[name] = f"{name}-src 'sha256-{digest}'"
    inside = f"{allowed['style']}; {allowed['script']}"
    return f"default-src 'none'; img-src data:; {inside}; base-uri 'none'; form-action 'none'"


def _section(title: str, *parts: object) -> Html:
    return tag("section", tag("h2", title), *parts)


def _header(record: RunRecord) -> Html:
    config = record.config
    steps, epochs = (None, None) if config is None else (config.steps, config.epochs)
    facts = {
        "step": f"{record.step:,}" + ("" if steps is None else f" of {steps:,}"),
        "epochs": (number(record.epoch) if record.rows else "none logged")
        + ("" if epochs is None else f" of {epochs:,}"),
        "training time": duration(record.seconds) if record.rows else "unknown",
        "images per second": number(record.images_per_second),
        "parameters": f"{sum(record.parameters.values()):,}" if record.parameters else "unknown",
    }
    words = "finished" if record.finished else "not finished"
    return joined(
        tag("h1", record.title or "a run"),
        tag("p", f"{record.folder}, {words}", class_="faint"),
        *(tag("p", trouble, class_="faint") for trouble in record.troubles),
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()),
            class_="facts",
        ),
    )


def _samples(record: RunRecord, pictures: list[Embedded]) -> Html:
    if not pictures:
        return _section("Samples", tag("p", "The run has no sample picture yet."))
    controls = tag(
        "div",
        tag("label", "Step", for_="slider"),
        tag(
            "input",
            type="range",
            id="slider",
            min=0,
            max=len(pictures) - 1,
            step=1,
            value=len(pictures) - 1,
        ),
        tag("output", f"step {pictures[-1].step:,}", id="shown", for_="slider"),
        tag("button", "Play", type="button", id="play"),
        id="controls",
        class_="controls",
        hidden=True,
    )
    figures = (
        tag(
            "figure",
            tag(
                "img",
                src=picture.source,
                width=picture.width,
                height=picture.height,
                alt=f"Sample grid of {record.title or 'the run'} at step {picture.step:,}",
            ),
            data_step=picture.step,
            hidden=picture is not pictures[-1],
        )
        for picture in pictures
    )
    note = (
        f"{len(pictures)} of the {len(record.pictures)} pictures in {record.folder / 'samples'}."
        if len(pictures) < len(record.pictures)
        else "From the same noise and samples each time."
    )
    return _section(
        "Samples",
        controls if len(pictures) > 1 else "",
        tag("div", *figures, class_="samples"),
        tag("p", note, class_="faint"),
    )


def _plots(record: RunRecord) -> Html:
    if not record.rows:
        return _section("Curves", tag("p", "Nothing was logged yet."))
    last = int(record.rows[-1]["step"])
    speed = Curves("images per second", {"images_per_second": "images per second"})
    return _section(
        "Curves",
        tag(
            "div",
            *(plot(each, record.rows, last) for each in [*record.all_curves, speed]),
            class_="plots",
        ),
        tag("p", "Thin: means between two logs. Thick: their moving average.", class_="faint"),
    )


def _metrics(record: RunRecord) -> Html:
    labels = {c: name for curves in record.all_curves for c, name in curves.columns.items()}
    rows: list[tuple[object, ...]] = []
    for column in record.columns:
        found, label = record.summary(column), labels.get(column, column)
        name = column if label == column else f"{label} ({column})"
        if found is None:
            rows.append((name, "no number", "", ""))
            continue
        ends = (f"{number(v)} at step {step:,}" for v, step in (found.lowest, found.highest))
        rows.append((name, number(found.last), *ends))
    if not rows:
        return Html("")
    head = ("metric", "last", "lowest", "highest")
    return _section("Metrics", table(head, rows, "The columns of metrics.csv."))


def _evaluations(record: RunRecord) -> Html:
    if not record.evaluations:
        return Html("")
    return _section("Evaluation", *map(_evaluation, reversed(record.evaluations)))


def _evaluation(result: Mapping[str, Any]) -> Html:
    """One result and its protocol, without which its numbers mean nothing."""
    known = values_of(METRICS)
    rows: list[tuple[object, ...]] = []
    for name, value in result["values"].items():
        spread = str(name).endswith("_std")  # as large as the images vary, whatever they are worth
        better = "higher" if name in known and known[name].higher_is_better else "lower"
        known_number = as_number(value)
        words = in_words(value) if known_number is None else number(known_number)
        label = known[name].label if name in known else str(name)
        label = label if label == name else f"{label} ({name})"
        rows.append((label, words, f"{better} is better" if name in known and not spread else ""))
    step = result.get("step")
    words = f"step {step:,}" if isinstance(step, int) else "a step that was not recorded"
    features = result.get("features")
    words += "" if features is None else f", with the features {in_words(features)}"
    n, real = result.get("n_generated"), result.get("real")
    words += f": {n:,} images against {in_words(real)}" if isinstance(n, int) and real else ""
    protocol = [
        (str(name), in_words(value))
        for name, value in result.items()
        if name not in ("values", "step") and value not in (None, {}, "")
    ]
    return joined(
        table(("metric", "value", ""), rows, f"At {words}."),
        tag(
            "details",
            tag("summary", "How it was measured"),
            table(("what", "value"), [*protocol], "Numbers of another protocol do not compare."),
        ),
    )


def _diagnostics(record: RunRecord) -> Html:
    title = "Diagnostics"
    if record.warnings is None:
        return _section(title, tag("p", "No checkpoint says what the diagnostics have found."))
    if record.warnings:
        items = (
            tag("li", tag("b", f"Step {step:,}. "), sentence) for step, sentence in record.warnings
        )
        return _section(title, tag("ul", *items, class_="warnings"))
    if not record.looks:
        words = (
            "The diagnostics have not looked at this run: they look at GANs that draw images from "
            "noise, from G's 500th update on."
        )
    else:
        times = "once" if record.looks == 1 else f"{record.looks:,} times"
        words = f"The diagnostics have looked at the networks {times} and had nothing to warn of."
    return _section(title, tag("p", words))


def _commands(record: RunRecord) -> Html:
    found = commands(record)
    if not found:
        return Html("")
    lines = (
        joined(tag("dt", f"To {each.purpose}:"), tag("dd", tag("code", each.line)))
        for each in found
    )
    return _section("How to go on", tag("dl", *lines, class_="commands"))


def _settings(record: RunRecord) -> Html:
    if record.config is None:
        return Html("")
    rows = setting_rows(record.config)
    asked = [(row.name, row.value) for row in rows if row.origin == "set"]
    every = [(row.name, row.value, _ORIGINS[row.origin]) for row in rows]
    recipe = record.config.recipe
    own = (
        table(("setting", "value"), [*asked], f"What was set beside the recipe {recipe!r}.")
        if asked
        else tag("p", f"All is as in the recipe {recipe!r}.")
    )
    whole = table(("setting", "value", "chosen by"), [*every], "Every setting.")
    more = tag("details", tag("summary", f"All {len(rows)} settings"), whole)
    return _section("Settings", own, more)


def _networks(record: RunRecord) -> Html:
    specs = record.description.get("networks")
    specs = specs if isinstance(specs, dict) else {}
    rows = []
    for name in dict.fromkeys([*map(str, specs), *record.parameters]):
        spec = specs.get(name)
        path = spec.get("class_path") if isinstance(spec, dict) else spec
        arguments = spec.get("init_args") if isinstance(spec, dict) else None
        count = record.parameters.get(name)
        rows.append(
            (
                name,
                "" if path is None else in_words(path),
                "" if not arguments else in_words(arguments),
                "" if count is None else f"{count:,}",
            )
        )
    if not rows:
        return Html("")
    head = ("network", "class", "arguments", "parameters")
    return _section("Networks", table(head, [*rows], "As they were built."))


def _environment(record: RunRecord) -> Html:
    if not record.environment:
        return Html("")
    rows = [(str(key), in_words(value)) for key, value in record.environment.items()]
    return _section("Environment", table(("what", "value"), [*rows], "At the newest checkpoint."))
