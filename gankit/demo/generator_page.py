"""The page of a generator of images out of noise."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr
from torch import Tensor

from gankit.demo.parts import Downloads, Guard, enlarged, new_page, seed_slider
from gankit.demo.sampling import STEPS, Sampler, Samples
from gankit.errors import ConfigError
from gankit.loaded import LoadedGenerator
from gankit.training.pictures import channels_in_words
from gankit.training.point_pictures import save_points

_MOST, _FAR = 64, 3.0
# The choice of a class that stands for all of them.
_IN_TURN = -1
_POINTS = 4000


class GeneratorPage:
    """The handlers of the page; each returns what its components show."""

    def __init__(self, G: LoadedGenerator) -> None:
        self.sampler, self.downloads = Sampler(G), Downloads()

    def draw(self, n: int, seed: int, truncation: float, label: int | None = None) -> Samples:
        """What ``gankit sample`` draws; truncation 0 is none, label -1 the classes in turn."""
        chosen = None if label in (None, _IN_TURN) else label
        return self.sampler.draw(int(n), int(seed), truncation or None, chosen)

    def show(self, *choices: Any) -> tuple[list[Any], Samples, int]:
        """The gallery, what is in it, and the number of the chosen image: the first."""
        samples = self.draw(*choices)
        names = self.sampler.G.interface.class_name
        captions = [None] * len(samples.z) if samples.labels is None else samples.labels.tolist()
        shown = [
            enlarged(image) if label is None else (enlarged(image), names(label))
            for image, label in zip(samples.images, captions, strict=True)
        ]
        return shown, samples, 0

    def files(self, samples: Samples | None) -> list[str]:
        """The images as a picture of all and as arrays."""
        if samples is None:
            raise ConfigError("there are no images yet")
        grid, arrays = (self.downloads.place(name) for name in ("grid.png", "images.npz"))
        self.sampler.write(samples, math.ceil(math.sqrt(len(samples.z))), grid, arrays)
        return [str(grid), str(arrays)]

    def keep(
        self, samples: Samples | None, chosen: int, label: int | None
    ) -> tuple[Tensor, int | None, str]:
        """The noise of the chosen image, its class for the walk, and what was done."""
        if samples is None:
            raise ConfigError("there are no images yet")
        chosen = min(chosen, len(samples.z) - 1)
        if samples.labels is not None:
            label = int(samples.labels[chosen])
        return samples.z[chosen], label, f"Image {chosen + 1} is kept for the walk."

    def ends(self, a: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensor]:
        """The ends of the walk; those that were not kept are of the seeds 0 and 1."""
        return (
            self.sampler.one(0) if a is None else a,
            self.sampler.one(1) if b is None else b,
        )

    def stroll(
        self,
        a: Tensor | None,
        b: Tensor | None,
        place: float,
        spherical: bool,
        label: int | None = None,
    ) -> tuple[Any, Any, Any]:
        """The pictures of A, of the place between, and of B."""
        points = self.sampler.between(*self.ends(a, b), spherical)
        shown = points[[0, round(place * (STEPS - 1)), STEPS - 1]]
        first, between, last = map(enlarged, self.sampler.images(shown, label))
        return first, between, last

    def film(
        self, a: Tensor | None, b: Tensor | None, spherical: bool, label: int | None = None
    ) -> str:
        """The walk as a GIF."""
        out = self.downloads.place("walk.gif")
        self.sampler.film(*self.ends(a, b), spherical, label, out)
        return str(out)

    def direct(self, seed: int, label: int | None, *amounts: float) -> tuple[Any, Tensor]:
        """The picture of the first image of ``seed`` moved along the directions, and its noise."""
        z = self.sampler.moved(self.sampler.one(int(seed)), amounts)
        return enlarged(self.sampler.image(z, label)), z


def build(G: LoadedGenerator, title: str) -> gr.Blocks:
    """The page of ``G``; what it cannot do is not there."""
    page, guard = GeneratorPage(G), Guard()
    with new_page(title) as blocks:
        gr.Markdown(f"# {title}\n\n{_about(G)}")
        a, b = gr.State(None), gr.State(None)
        with gr.Tab("Images"):
            samples, chosen, keeps, said = _images(page, guard, blocks)
        with gr.Tab("Walk"):
            label, stroll = _walk(page, guard, blocks, a, b)
        for button, end in zip(keeps, (a, b), strict=True):
            kept = button.click(
                guard(page.keep), [samples, chosen, label], [end, label, said], api_name=False
            )
            kept.success(**stroll)
        if len(page.sampler.directions):
            with gr.Tab("Directions"):
                z, keeps = _directions(page, guard, blocks)
            for button, end in zip(keeps, (a, b), strict=True):
                button.click(lambda z: z, z, end, api_name=False).success(**stroll)
    return blocks


def _images(
    page: GeneratorPage, guard: Guard, blocks: gr.Blocks
) -> tuple[Any, Any, list[Any], Any]:
    """The tab of samples: what was drawn, which is chosen, the buttons that keep it for the walk,
    and the line that says so."""
    normal = page.sampler.distribution == "normal"
    with gr.Row():
        n = gr.Slider(1, _MOST, value=16, step=1, label="Images")
        seed = seed_slider()
        truncation = gr.Slider(
            0,
            3 if normal else 1,
            value=0,
            step=0.05,
            label="Truncation",
            info="of the noise; 0: none",
        )
        label = _classes(page, [("each in turn", _IN_TURN)])
    gallery = gr.Gallery(
        label="Images, of which one may be chosen",
        show_label=False,
        format="png",
        object_fit="contain",
        height="auto",
        buttons=["download", "fullscreen"],
        elem_classes="gankit-exact",
        interactive=False,
    )
    samples, chosen = gr.State(None), gr.State(0)
    with gr.Row():
        keeps = [gr.Button(f"Keep the chosen image as {name}", size="sm") for name in "AB"]
        write = gr.Button("Write files of all images", size="sm")
    said = gr.Markdown()
    files = gr.File(label="Files", file_count="multiple", interactive=False, visible=False)
    choices = [n, seed, truncation, label]
    _follow(blocks, choices, guard(page.show), choices, [gallery, samples, chosen], "images")
    gallery.select(_number, None, chosen, api_name=False)
    write.click(guard(page.files), samples, files, api_name=False).success(
        lambda: gr.File(visible=True), None, files, api_name=False
    )
    return samples, chosen, keeps, said


def _number(event: gr.SelectData) -> int:
    return int(event.index)


def _walk(
    page: GeneratorPage, guard: Guard, blocks: gr.Blocks, a: Any, b: Any
) -> tuple[Any, dict[str, Any]]:
    """The tab of the walk: its class, and what an event does that shows it anew."""
    gr.Markdown("From A to B: two images that were kept, or at first those of the seeds 0 and 1.")
    with gr.Row():
        place = gr.Slider(0, 1, value=0.5, step=0.01, label="From A to B")
        spherical = gr.Checkbox(
            value=page.sampler.distribution == "normal",
            label="Along the great circle",
            info="where samples lie; else along the line",
        )
        label = _classes(page, [])
    with gr.Row():
        shown = [_still(name) for name in ("A", "between", "B")]
    make = gr.Button("Make a GIF of the walk", size="sm")
    film = gr.Image(label="Walk", format="gif", interactive=False, visible=False)
    inputs = [a, b, place, spherical, label]
    stroll: dict[str, Any] = {"fn": guard(page.stroll), "inputs": inputs, "outputs": shown}
    _follow(blocks, [place, spherical, label], **stroll, api_name="walk")
    make.click(guard(page.film), [a, b, spherical, label], film, api_name=False).success(
        lambda: gr.Image(visible=True), None, film, api_name=False
    )
    return label, {**stroll, "show_progress": "hidden", "api_name": False}


def _directions(page: GeneratorPage, guard: Guard, blocks: gr.Blocks) -> tuple[Any, list[Any]]:
    """The tab of SeFa's directions: the noise that is shown, and the buttons that keep it."""
    gr.Markdown("Along the directions of the noise that change images most, found by SeFa.")
    with gr.Row():
        with gr.Column(min_width=280):
            seed, label = seed_slider(), _classes(page, [])
            amounts = [
                gr.Slider(-_FAR, _FAR, value=0, step=0.1, label=f"Direction {number}")
                for number in range(1, len(page.sampler.directions) + 1)
            ]
        with gr.Column(min_width=280):
            shown, z = _still("Image"), gr.State(None)
            with gr.Row():
                keeps = [gr.Button(f"Keep as {name}", size="sm") for name in "AB"]
                reset = gr.Button("Back to 0", size="sm")
    inputs = [seed, label, *amounts]
    _follow(blocks, inputs, guard(page.direct), inputs, [shown, z], "directions")
    reset.click(lambda: [0] * len(amounts), None, amounts, api_name=False)
    return z, keeps


def _classes(page: GeneratorPage, first: list[tuple[str, int]]) -> Any:
    """The choice of a class, or where there are no classes, a value that nobody sees."""
    if not page.sampler.classes:
        return gr.State(None)
    choices = [*first, *page.sampler.classes]
    return gr.Dropdown(choices, value=choices[0][1], label="Class")


def _still(name: str) -> Any:
    return gr.Image(
        label=name,
        format="png",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_classes="gankit-exact",
        min_width=200,
    )


def _follow(
    blocks: gr.Blocks,
    parts: list[Any],
    fn: Any,
    inputs: Any,
    outputs: Any,
    api_name: str,
) -> None:
    """Call ``fn`` when the page opens and when one of ``parts`` is moved."""
    moved = [part.change for part in parts if not isinstance(part, gr.State)]
    gr.on(
        [blocks.load, *moved],
        fn,
        inputs,
        outputs,
        api_name=api_name,
        show_progress="hidden",
        trigger_mode="always_last",
    )


def build_points(G: LoadedGenerator, title: str) -> gr.Blocks:
    """The page of a generator of points of one or two numbers, which are drawn in a plot."""
    page, guard = GeneratorPage(G), Guard()

    def plot(n: int, seed: int, truncation: float, label: int | None) -> str:
        out = page.downloads.place("points.png")
        save_points(out, page.draw(n, seed, truncation, label).images)
        return str(out)

    with new_page(title) as blocks:
        gr.Markdown(f"# {title}\n\nPoints out of {G.z_dim} numbers of noise.")
        with gr.Row():
            n = gr.Slider(100, _POINTS, value=1000, step=100, label="Points")
            seed = seed_slider()
            truncation = gr.Slider(
                0, 3, value=0, step=0.05, label="Truncation", info="of the noise; 0: none"
            )
            label = _classes(page, [("each in turn", _IN_TURN)])
        shown = gr.Image(
            label="Plot", show_label=False, format="png", interactive=False, buttons=["download"]
        )
        choices = [n, seed, truncation, label]
        _follow(blocks, choices, guard(plot), choices, shown, "points")
    return blocks


def _about(G: LoadedGenerator) -> str:
    channels, height, width = G.image_shape
    said = f"{height}×{width} images of {channels} channel{'s'[: channels > 1]}"
    said += f" out of {G.z_dim} {'normal' if G.z_distribution == 'normal' else 'uniform'} numbers"
    if G.n_classes is not None:
        said += f" and one of {G.n_classes} classes"
    if G.step is not None:
        said += f"; trained for {G.step} steps"
    drawn = channels_in_words(channels)
    return f"{said}; {drawn}." if drawn else f"{said}."
