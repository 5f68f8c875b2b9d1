"""From a run or weights to a page that is served."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import torch

from gankit.errors import ConfigError, MissingExtra
from gankit.loaded import LoadedGenerator
from gankit.saved import Loaded, load
from gankit.training.point_pictures import are_points
from gankit.translator import LoadedTranslator

# Uploads are read into memory as a whole.
_LARGEST_UPLOAD = "64mb"


def open_model(
    path: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> Loaded:
    """What ``gankit.load`` gives for ``path``, if there is a page for it.

    Args:
        path: as of ``gankit.load``.
        more: files of the other directions of a run that translates both ways; ``gankit export``
            writes one for each.
        device, trust: as of ``gankit.load``.

    Raises:
        ConfigError: an autoencoder without a distribution of codes, ``more`` files that are not
            directions of one run, or as ``gankit.load``.
        CheckpointError: as ``gankit.load``.
    """
    model: Loaded = load(path, device=device, trust=trust)
    if more:
        parts = [model, *(load(file, device=device, trust=trust) for file in more)]
        model = _both_ways(parts)
    if isinstance(model, LoadedGenerator) and model.z_distribution is None:
        raise ConfigError(
            f"{path} is the decoder of an autoencoder without a distribution of codes to draw from"
        )
    return model


def _both_ways(parts: list[Loaded]) -> LoadedTranslator:
    translators = [part for part in parts if isinstance(part, LoadedTranslator)]
    networks = {way: net for part in translators for way, net in part.networks.items()}
    shapes = translators[0].shapes if translators else {}
    if len(networks) != len(parts) or any(part.shapes != shapes for part in translators):
        raise ConfigError("several files are given; allowed are those of a2b and b2a of one run")
    return LoadedTranslator(networks, shapes, translators[0].step)


def title_of(path: str | os.PathLike[str]) -> str:
    """What a page of ``path`` is called: the name of the folder, file or model."""
    name = os.fspath(path).rpartition(":")[2]
    return Path(name).resolve().stem or "gankit"


def interface(model: Loaded, *, title: str = "gankit") -> Any:
    """The page of ``model``, a ``gradio.Blocks``, which ``launch`` serves.

    Args:
        model: what ``open_model`` or ``gankit.load`` returned.
        title: the heading.

    Raises:
        MissingExtra: Gradio is not installed.
        ConfigError: images of a number of channels that are no picture.
    """
    check_gradio()
    if isinstance(model, LoadedGenerator):
        from gankit.demo.generator_page import build, build_points

        return (build_points if are_points(model.image_shape) else build)(model, title)
    from gankit.demo.input_page import build as build_input

    return build_input(model, title)


def check_gradio() -> None:
    """Raises MissingExtra where Gradio is not installed."""
    # It asks its makers' server for news where this is not set when it is imported.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MissingExtra("gradio", "demo") from error


def launch(
    page: Any,
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    open_browser: bool = False,
    block: bool = True,
) -> str:
    """Serve ``page``, of ``interface``, and return its address.

    Args:
        page: of ``interface``.
        host: the address to listen at; None: 127.0.0.1, or as ``GRADIO_SERVER_NAME`` says.
        port: None: the first free one from 7860 on, or as ``GRADIO_SERVER_PORT`` says.
        share: also a public address, which tunnels through a server of Gradio's makers.
        open_browser: show it.
        block: come back when the server has ended.

    Raises OSError if it cannot listen there.
    """
    from gankit.demo.parts import CSS, theme

    if host is not None:
        _check_host(host.strip("[]"))
    _, local, public = page.launch(
        server_name=host,
        server_port=port,
        share=share,
        inbrowser=open_browser,
        prevent_thread_lock=not block,
        max_file_size=_LARGEST_UPLOAD,
        ssr_mode=False,
        quiet=not block,
        theme=theme(),
        css=CSS,
    )
    return str(public or local)


def _check_host(host: str) -> None:
    # Gradio would try a hundred ports of it, for many seconds each.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, 0), family=family):
            pass
    except OSError as error:
        raise OSError(f"cannot listen at host {host}: {error.strerror}") from error
