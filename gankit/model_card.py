"""The card of a model folder: what the generator is, how it came about, and how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gankit import recipes
from gankit.domain_translator import DomainTranslator
from gankit.enhancer import LoadedEnhancer
from gankit.errors import ConfigError
from gankit.loaded import LoadedGenerator
from gankit.model_folder import PICTURE, WEIGHTS
from gankit.runs.component import split_spec
from gankit.runs.record import RunRecord
from gankit.runs.setting_rows import setting_rows
from gankit.runs.wording import in_words, number
from gankit.saved import SavedRun
from gankit.training.config import RunConfig
from gankit.translator import LoadedTranslator

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


def check_license(license: str | None) -> None:
    """Raise ConfigError unless ``license`` is written as the Hugging Face Hub lists licenses."""
    if license is not None and not _LICENSE.fullmatch(license):
        raise ConfigError(
            f"license is {license!r}; allowed are identifiers such as mit, apache-2.0 or cc-by-4.0"
        )


def model_card(
    saved: SavedRun,
    record: RunRecord | None,
    config: RunConfig,
    *,
    source: str,
    license: str | None,
    picture: bool,
) -> str:
    """Markdown with the YAML head of the Hugging Face Hub.

    Args:
        saved: the run.
        record: what the other files of its folder say; None where it has none.
        config: its settings, without places of the machine that trained it.
        source: what ``gankit.load`` is given, such as ``"hf:user/name"``.
        license: of the weights; None: the card says that none was given.
        picture: whether the folder has ``sample.png``.
    """
    title = source.rpartition("/")[2].rpartition(":")[2]
    task, use = _use(saved)
    head = ["library_name: gankit", f"pipeline_tag: {task}"]
    head += ["tags:", *(f"- {tag}" for tag in ("gan", "gankit", _plain(config.recipe)))]
    head += [] if license is None else [f"license: {license}"]
    parts = [f"---\n{chr(10).join(head)}\n---", f"# {title}", _what(config)]
    parts += [f"![what the generator makes]({PICTURE})"] if picture else []
    parts += ["## How to load", _code(f'import gankit\n\nG = gankit.load("{source}")\n{use}')]
    parts += [
        "The settings are checked before anything is imported; only gankit's own networks are "
        "built unless `trust=True` is given.",
        "## Training",
        _table(("", ""), _training(saved, record, config, license)),
        "Settings that differ from gankit's defaults:",
        _table(("setting", "value"), _settings(config)),
        "## Evaluation",
        _evaluation([] if record is None else record.evaluations),
        "## Limits",
        f"It makes what resembles its training data, {_data(config)}, at their size, and nothing "
        "else. Where no number stands above, none was measured. Matrices and convolution kernels "
        f"are float16 in `{WEIGHTS}` and float32 in memory; numbers above were measured before "
        "that rounding.",
    ]
    return "\n\n".join(parts) + "\n"


def _use(saved: SavedRun) -> tuple[str, str]:
    """The task as the Hugging Face Hub names it, and a line of Python."""
    module = saved.module
    if isinstance(module, LoadedEnhancer):
        return "audio-to-audio", f"clean = G.enhance(sound, {module.sample_rate})"
    if isinstance(module, LoadedTranslator):
        return "image-to-image", f"made = G.{module.directions[0]}(images)"
    if isinstance(module, DomainTranslator):
        return "image-to-image", f'made = G.translate(images, "{module.domains[0]}")'
    if not isinstance(module, LoadedGenerator):
        return "image-to-image", "large = G.upscale(images)"
    if module.z_distribution is None:
        return "unconditional-image-generation", "images = G(codes)"
    return "unconditional-image-generation", "images = G.sample(16, seed=0)  # in [-1, 1]"


def _what(config: RunConfig) -> str:
    try:
        what = recipes.get(config.recipe).summary
    except ConfigError:  # of another program
        what = "a network of its own"
    return f"Recipe `{config.recipe}`: {what}. Trained on {_data(config)} with gankit."


def _data(config: RunConfig) -> str:
    return f"`{split_spec('data', config.data)[0]}`"


def _training(
    saved: SavedRun, record: RunRecord | None, config: RunConfig, license: str | None
) -> list[tuple[str, str]]:
    environment: Mapping[str, Any] = {} if record is None else record.environment
    writer = environment.get("gankit", saved.description.get("gankit_version", "not recorded"))
    where = str(environment.get("device", "not recorded"))
    count = sum(value.numel() for value in saved.module.parameters())
    made = [
        ("data", f"{_data(config)}, images of {config.image_size} pixels"),
        ("steps", f"{saved.step:,}, batches of {config.batch_size}"),
        ("seed", in_words(config.seed)),
        ("parameters", f"{count:,}"),
        ("gankit", str(writer)),
        ("commit", str(environment.get("commit", "not recorded"))),
        ("torch", str(environment.get("torch", "not recorded"))),
        ("device", where),
        ("license", license or "none was given"),
    ]
    if isinstance(saved.module, LoadedEnhancer):
        made[0] = ("data", f"{_data(config)}, {saved.module.sample_rate} samples a second")
    return made


def _settings(config: RunConfig) -> list[tuple[str, str]]:
    rows = setting_rows(config)
    return [(f"`{row.name}`", f"`{row.value}`") for row in rows if row.origin != "default"]


def _evaluation(results: list[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        protocol = [
            f"{result.get('n_generated')} generated, {result.get('n_real')} real",
            f"features {result.get('features') or 'none'}",
            f"seed {result.get('seed')}",
            f"step {result.get('step')}",
        ]
        for name, value in result["values"].items():
            text = number(value) if isinstance(value, (int, float)) else str(value)
            rows.append((name, text, "; ".join(protocol)))
    if not rows:
        return "Not evaluated; `gankit evaluate` does."
    return _table(("metric", "value", "protocol"), rows)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    escaped = ([str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9-]", "-", name.lower()) or "gan"
