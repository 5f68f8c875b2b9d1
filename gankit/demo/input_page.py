"""The page of networks that take a picture, or sound, and give one back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from gankit.cli.enhance import enhance_file
from gankit.cli.upscale import enlarged_file
from gankit.data.audio_files import soundfile
from gankit.data.image_files import decode
from gankit.data.images import normalize_bytes
from gankit.demo.parts import (
    Downloads,
    Guard,
    new_page,
    picture,
    seed_slider,
    upload,
    without_folder,
)
from gankit.domain_translator import DomainTranslator
from gankit.enhancer import LoadedEnhancer
from gankit.errors import ConfigError, DataError
from gankit.saved import Loaded
from gankit.training.upscaling import TILE
from gankit.translator import LoadedTranslator
from gankit.upscaler import LoadedUpscaler

_WAYS = {"a2b": "from a to b", "b2a": "from b to a"}


def translated(model: Loaded, file: str | None, way: Any, seed: int) -> Any:
    """The picture in ``file`` as ``gankit translate`` makes it; None where there is no file.

    ``way`` is the direction, the domain, or a list of attributes.
    """
    if file is None:
        return None
    assert isinstance(model, LoadedTranslator | DomainTranslator)
    if isinstance(model, LoadedTranslator):
        channels = model.shapes[model.direction(way)[0]][0]
    else:
        channels = model.image_shape[0]
    content = Path(file).name, Path(file).read_bytes()
    images = normalize_bytes(decode(content, channels=channels)[None])
    return picture(model.translate(images, way, seed=int(seed))[0])


def upscaled(model: LoadedUpscaler, file: str | None) -> Any:
    """The picture in ``file`` as ``gankit upscale`` makes it; None where there is no file."""
    from PIL import Image

    if file is None:
        return None
    place = Path(file)
    try:
        pixels = enlarged_file(model, place, TILE, place.name)
    except DataError as error:
        raise without_folder(error, place) from error
    return Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).numpy())


def enhanced(
    model: LoadedEnhancer, file: str | None, seed: int, downloads: Downloads
) -> str | None:
    """A file of the sound in ``file`` as ``gankit enhance`` makes it; None where there is none."""
    if file is None:
        return None
    place = Path(file)
    out = downloads.place(f"clean-{place.name}")
    try:
        enhance_file(model, place, out, int(seed))
    except DataError as error:
        raise without_folder(error, place) from error
    return str(out)


def build(model: Loaded, title: str) -> gr.Blocks:
    """The page of ``model``."""
    if isinstance(model, LoadedEnhancer):
        return _of_sound(model, title)
    guard, options, seeds = Guard(), list[Any](), list[Any]()
    run: Callable[..., Any]
    with new_page(title) as blocks:
        if isinstance(model, LoadedUpscaler):
            _check_channels([model.channels])
            about = f"An image becomes {model.scale} times as high and as wide."

            def run(file: str | None) -> Any:
                return upscaled(model, file)

        elif isinstance(model, LoadedTranslator | DomainTranslator):
            about = "An image becomes one of another domain."
            noisy = _networks_draw_noise(model)

            def run(file: str | None, way: Any, seed: int = 0) -> Any:
                return translated(model, file, way, seed)

        gr.Markdown(f"# {title}\n\n{about}")
        if isinstance(model, LoadedTranslator | DomainTranslator):
            with gr.Row():
                options = [_way(model)]
                seeds = [seed_slider()] if noisy else []
        with gr.Row():
            given = upload()
            made = gr.Image(
                label="Result", format="png", interactive=False, buttons=["download", "fullscreen"]
            )
        inputs = [given, *options, *seeds]
        gr.on(
            [part.change for part in inputs if not isinstance(part, gr.State)],
            guard(run),
            inputs,
            made,
            api_name="translate" if options else "upscale",
            trigger_mode="always_last",
        )
    return blocks


def _of_sound(model: LoadedEnhancer, title: str) -> gr.Blocks:
    soundfile()
    downloads, guard = Downloads(), Guard()

    def run(file: str | None, seed: int = 0) -> str | None:
        return enhanced(model, file, seed, downloads)

    with new_page(title) as blocks:
        gr.Markdown(
            f"# {title}\n\nSpeech loses its noise. Files may have any rate and length; the network "
            f"works at {model.sample_rate} Hz."
        )
        seeds = [seed_slider()] if hasattr(model.network, "z_shape") else []
        with gr.Row():
            given = gr.Audio(label="Noisy", type="filepath", sources=["upload", "microphone"])
            made = gr.Audio(label="Clean", type="filepath", interactive=False, buttons=["download"])
        inputs = [given, *seeds]
        gr.on(
            [part.change for part in inputs],
            guard(run),
            inputs,
            made,
            api_name="enhance",
            trigger_mode="always_last",
        )
    return blocks


def _way(model: LoadedTranslator | DomainTranslator) -> Any:
    """The choice of where to; a value that nobody sees where there is one direction."""
    if isinstance(model, DomainTranslator):
        _check_channels([model.image_shape[0]])
        names = list(model.domains)
        if model.exclusive:
            return gr.Radio(names, value=names[0], label="Domain")
        return gr.CheckboxGroup(names, label="Attributes", info="what the result shall have")
    _check_channels([shape[0] for shape in model.shapes.values()])
    if len(model.directions) == 1:
        return gr.State(model.directions[0])
    return gr.Radio(
        [(_WAYS[way], way) for way in model.directions],
        value=model.directions[0],
        label="Direction",
    )


def _networks_draw_noise(model: LoadedTranslator | DomainTranslator) -> bool:
    networks = (
        list(model.networks.values()) if isinstance(model, LoadedTranslator) else [model.network]
    )
    return any(getattr(network, "dropout_is_noise", False) for network in networks)


def _check_channels(channels: Sequence[int]) -> None:
    for count in channels:
        if count not in (1, 3):
            raise ConfigError(
                f"the network takes or makes images of {count} channels; allowed for pictures are "
                "1 and 3"
            )
