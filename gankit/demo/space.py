"""A folder that is a Hugging Face Space as it is: the page of a generator and its weights."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gankit._version import __version__
from gankit.demo.opening import check_gradio, interface, open_model, title_of
from gankit.enhancer import LoadedEnhancer
from gankit.errors import ConfigError
from gankit.exporting import export
from gankit.json_text import json_text
from gankit.translator import LoadedTranslator

_APP = '''"""The page of a generator; `python app.py` shows it on this machine too."""

from __future__ import annotations

from pathlib import Path

from gankit.demo import interface, launch, open_model

FILES = [Path(__file__).with_name(name) for name in {files}]

if __name__ == "__main__":
    launch(interface(open_model(*FILES), title={title}))
'''

_README = """---
title: {title}
emoji: 🎨
colorFrom: green
colorTo: blue
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
pinned: false
---

The page of a generator that gankit {gankit} exported: its weights are in {files},
and `app.py` shows them. On your own machine:

    pip install -r requirements.txt
    python app.py
"""


def write_space(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    direction: str | None = None,
    title: str | None = None,
) -> Path:
    """Write a folder with app.py, requirements.txt, README.md and the weights as safetensors.

    The versions in requirements.txt are those that are installed here. The generator is one of
    gankit's own networks, since the Space has no other code.

    Args:
        run: as of ``gankit.load``, ``"hub:NAME"`` too.
        out: the folder, new or empty.
        direction: ``"a2b"`` or ``"b2a"``, of a run that translates; None: all that it has.
        title: of the page (default: the name of the run).

    Returns:
        The folder; a new one is there as a whole or not at all.

    Raises:
        ConfigError: a folder that holds something, a direction that there is not, or as
            ``open_model``.
        CheckpointError: as ``open_model``.
        MissingExtra: Gradio or safetensors is not installed.
        OSError: the folder cannot be written.
    """
    check_gradio()
    run, out = Path(run), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder; allowed is a new or an empty one")
    model = open_model(run)
    ways: list[str | None] = [None]
    if isinstance(model, LoadedTranslator):
        ways = list(model.directions) if direction is None else [model.direction(direction)]
    elif direction is not None:
        raise ConfigError(
            f"direction is {direction!r}, which is for runs of pix2pix, CycleGAN and DiscoGAN; "
            "allowed is None"
        )
    title = title or title_of(run)
    interface(model, title=title)  # raises an error where there is no page
    files = [f"{way or 'generator'}.safetensors" for way in ways]
    extras = "demo,audio" if isinstance(model, LoadedEnhancer) else "demo"
    place = out.resolve()  # "." has no name
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for way, name in zip(ways, files, strict=True):
            if run.suffix == ".safetensors":
                shutil.copyfile(run, temporary / name)
            else:
                export(run, "safetensors", temporary / name, direction=way)
        texts = {
            "app.py": _APP.format(files=json_text(files), title=json_text(title)),
            "requirements.txt": _requirements(extras),
            "README.md": _README.format(
                title=json_text(title),
                gradio=version("gradio"),
                python=".".join(platform.python_version_tuple()[:2]),
                gankit=__version__,
                files=" and ".join(f"`{name}`" for name in files),
            ),
        }
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
        if place.exists():  # and stays, for somebody may stand in it
            for file in temporary.iterdir():
                os.replace(file, place / file.name)
        else:
            os.replace(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _requirements(extras: str) -> str:
    lines = [f"gankit[{extras}]=={__version__}"]
    for package in ("gradio", "matplotlib", "numpy", "pillow", "safetensors", "scipy", "torch"):
        if package == "scipy" and "audio" not in extras:
            continue
        try:
            # A local version, such as that of torch for CPUs alone, is not in the index.
            lines.append(f"{package}=={version(package).partition('+')[0]}")
        except PackageNotFoundError:  # of what this page does not need
            continue
    return "\n".join([*lines, ""])
