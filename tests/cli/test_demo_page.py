"""``gankit demo``: what its page draws, and the page in a browser."""

from __future__ import annotations

import importlib.metadata
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gankit
from gankit.cli import main
from gankit.domain_translator import DomainTranslator
from gankit.errors import ConfigError, DataError
from tests.cli.devtools import BROWSER, Page
from tests.small_runs import environment

gr = pytest.importorskip("gradio", reason="the extra demo is not installed")

from gankit.demo import interface, launch, open_model, write_space  # noqa: E402
from gankit.demo.generator_page import GeneratorPage  # noqa: E402
from gankit.demo.input_page import enhanced, translated, upscaled  # noqa: E402
from gankit.demo.parts import Downloads, Guard, upload  # noqa: E402

Trained = Callable[[str], Path]


def labels(page: Any) -> set[str]:
    """The labels of what is seen on a page."""
    parts = (part["props"] for part in page.config["components"])
    return {part["label"] for part in parts if part.get("label")}


def arrays(*argv: str) -> Any:
    assert main(["sample", *argv, "--out", "samples.npz"]) == 0
    return np.load("samples.npz")


def pixels(picture: Any, size: int = 28) -> np.ndarray:
    """The pixels of an enlarged picture, each of which is a square of one color."""
    scale = picture.width // size
    whole = np.asarray(picture)
    assert (whole == whole[::scale, ::scale].repeat(scale, 0).repeat(scale, 1)).all()
    return whole[::scale, ::scale, None]


@pytest.mark.parametrize("choices", [(9, 3, 0.5, 7), (9, 3, 0, -1)], ids=["chosen", "in turn"])
def test_images_are_those_of_gankit_sample(
    choices: tuple[Any, ...], trained_once: Trained, in_a_folder_of_its_own: None
) -> None:
    run = str(trained_once("cgan"))
    flags = ["--truncation", "0.5", "--label", "7"] if choices[2] else []
    wanted = arrays(run, "--n", "9", "--seed", "3", *flags)
    page = GeneratorPage(open_model(run))
    shown, samples, _ = page.show(*choices)
    assert [name for _, name in shown] == [str(label) for label in wanted["labels"]]
    for (picture, _), image in zip(shown, wanted["images"], strict=True):
        assert (pixels(picture) == image).all()
    grid, file = page.files(samples)
    assert (np.load(file)["images"] == wanted["images"]).all()
    assert Image.open(grid).size == (3 * 58 + 2, 3 * 58 + 2)
    other = page.draw(9, 4, *choices[2:])
    assert not torch.equal(other.images, samples.images)


def test_a_walk_is_that_of_gankit_sample(
    trained_once: Trained, in_a_folder_of_its_own: None
) -> None:
    run = str(trained_once("gan"))
    wanted = arrays(run, "--walk", "0", "1", "--slerp", "--steps", "101")
    page = GeneratorPage(open_model(run))
    a, b = page.ends(None, None)
    assert np.array_equal(page.sampler.between(a, b, True).numpy(), wanted["z"])
    for place, between in ((0.37, 37), (0, 0), (1, 100)):
        pictures = page.stroll(None, None, place, True)
        for picture, number in zip(pictures, (0, between, 100), strict=True):
            image = torch.from_numpy(wanted["images"][number])
            expected = ((image.clamp(-1, 1) + 1) * 127.5).round().numpy()
            # A batch of another size is rounded otherwise.
            assert abs(pixels(picture)[..., 0] - expected[0]).max() <= 1
    # Two images that are kept.
    _, samples, _ = page.show(8, 5, 0)
    a, _, said = page.keep(samples, 2, None)
    b, _, _ = page.keep(samples, 6, None)
    assert "3" in said
    first, _, last = page.stroll(a, b, 0.5, True)
    for picture, number in ((first, 2), (last, 6)):
        expected = ((samples.images[number, 0].clamp(-1, 1) + 1) * 127.5).round().numpy()
        assert abs(pixels(picture)[..., 0] - expected).max() <= 1
    with Image.open(page.film(a, b, True)) as film:
        assert film.n_frames == 118


def test_directions_are_those_of_gankit_sample(
    trained_once: Trained, in_a_folder_of_its_own: None
) -> None:
    run = str(trained_once("gan"))
    wanted = arrays(run, "--sefa", "2", "--seed", "4", "--steps", "3")["z"]
    page = GeneratorPage(open_model(run))
    for row, amounts in ((0, (-3, 0)), (2, (3, 0)), (3, (0, -3)), (4, (0, 0))):
        _, z = page.direct(4, None, *amounts, 0, 0, 0)
        assert np.allclose(z.numpy(), wanted[row], atol=1e-6)
    # Uniform noise stays in its cube.
    _, z = GeneratorPage(open_model(trained_once("cgan"))).direct(4, 7, 3, 3, 3, 3, 3)
    assert float(z.abs().max()) == 1


def test_what_a_model_cannot_do_is_not_there(trained_once: Trained) -> None:
    def of(kind: str) -> set[str]:
        return labels(interface(open_model(trained_once(kind))))

    assert {"Seed", "Truncation", "From A to B", "Direction 5"} <= of("gan")
    assert "Class" not in of("gan")
    assert {"Class", "Direction 5"} <= of("cgan")
    assert of("gan-2d") == {"Points", "Plot", "Seed", "Truncation"}
    assert of("pix2pix-toy") == {"Image", "Result", "Seed"}  # it draws noise, and goes one way
    assert of("cyclegan-toy") == {"Image", "Result", "Direction"}
    assert of("srgan-toy") == {"Image", "Result"}
    assert of("segan-toy") == {"Noisy", "Clean", "Seed"}
    with pytest.raises(ConfigError, match="without a distribution"):
        open_model(trained_once("ae"))


class Painter(nn.Module):
    """Adds the target to the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        return (images + self.scale * target[:, :3, None, None]).clamp(-1, 1)


@pytest.mark.parametrize(("exclusive", "to"), [(True, "green"), (False, ["red", "blue"])])
def test_domains(exclusive: bool, to: Any, tmp_path: Path) -> None:
    model = DomainTranslator(Painter(), ["red", "green", "blue"], exclusive, (3, 4, 4))
    assert labels(interface(model)) == {"Image", "Result", "Domain" if exclusive else "Attributes"}
    Image.new("RGB", (6, 5)).save(tmp_path / "black.png")
    made = np.asarray(translated(model, str(tmp_path / "black.png"), to, 0))
    color = [0, 128, 0] if exclusive else [128, 0, 128]
    assert made.shape == (5, 6, 3)
    assert (made == color).all()


def test_images_in_and_out_are_those_of_the_commands(
    trained_once: Trained, in_a_folder_of_its_own: None
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 23, 3), np.uint8)
    Image.fromarray(noise).save("in.png")
    for kind, flags in (("pix2pix-toy", ["--seed", "5"]), ("cyclegan-toy", ["--direction", "b2a"])):
        run, way = str(trained_once(kind)), "b2a" if flags[0] == "--direction" else "a2b"
        assert main(["translate", run, "in.png", "--out", kind, *flags]) == 0
        made = translated(open_model(run), "in.png", way, 5)
        assert (np.asarray(made) == np.asarray(Image.open(f"{kind}/in.png"))).all()
        assert translated(open_model(run), None, way, 5) is None
    run = str(trained_once("srgan-toy"))
    assert main(["upscale", run, "in.png", "--out", "large.png"]) == 0
    made = upscaled(open_model(run), "in.png")
    assert (np.asarray(made) == np.asarray(Image.open("large.png"))).all()
    soundfile = pytest.importorskip("soundfile")
    soundfile.write("in.wav", np.random.default_rng(0).normal(0, 0.1, 9000), 16000)
    run = str(trained_once("segan-toy"))
    assert main(["enhance", run, "in.wav", "--out", "out.wav", "--seed", "5"]) == 0
    downloads = Downloads()  # whose files are there as long as it is
    made = enhanced(open_model(run), "in.wav", 5, downloads)
    assert Path(str(made)).read_bytes() == Path("out.wav").read_bytes()


def test_an_error_is_a_sentence_that_names_no_folder(trained_once: Trained, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    guard, bad = Guard(), str(tmp_path / "bad.png")
    calls: list[Callable[[], Any]] = [
        lambda: translated(open_model(trained_once("cyclegan-toy")), bad, "a2b", 0),
        lambda: upscaled(open_model(trained_once("srgan-toy")), bad),
        lambda: enhanced(open_model(trained_once("segan-toy")), bad, 0, Downloads()),
    ]
    for call in calls:
        with pytest.raises(gr.Error, match=r"^'?bad.png: not an? [^\n]*\.'?$") as caught:
            guard(call)()
        assert str(tmp_path) not in str(caught.value)
    payload = gr.FileData(path=bad, orig_name="bad.png")
    with pytest.raises(gr.Error, match=r"bad\.png: not an image"):
        upload().preprocess(payload)

    def other() -> None:
        raise DataError("what was wrong")

    with pytest.raises(gr.Error, match=r"what was wrong\."):
        guard(other)()


def test_the_command_says_what_is_wrong(
    trained_once: Trained, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "'70000' is not a port" in refused("demo", "run", "--port", "70000")
    assert "there is no" in refused("demo", "nowhere", "--no-open")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        sentence = refused("demo", str(trained_once("gan")), "--no-open", "--port", port)
        assert port in sentence
    space = ["export", str(trained_once("gan")), "--format", "space"]
    assert "--out" in refused(*space)
    license = refused(*space, "--out", "space", "--license", "mit")
    assert "--license is for --format hub" in license
    assert "a Space would lack" in refused(*space, "--out", "space", "--trust")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'gankit[demo]'" in refused("demo", str(trained_once("gan")))


def test_a_space_in_the_folder_at_hand(
    trained_once: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["export", str(trained_once("gan")), "--format", "space", "--out", "."]) == 0
    # Whoever stands there sees it.
    assert {file.name for file in Path().iterdir()} >= {"app.py", "generator.safetensors"}
    assert [file.name for file in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen at host {host}"):
        launch(gr.Blocks(), host=host, block=False)


def test_a_space_of_both_directions(
    trained_once: Trained, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run = trained_once("cyclegan-toy")
    space = write_space(run, tmp_path / "space")
    ways = ("a2b", "b2a")
    names = {"app.py", "requirements.txt", "README.md", *(f"{way}.safetensors" for way in ways)}
    assert {file.name for file in space.iterdir()} == names
    model = open_model(*(space / f"{way}.safetensors" for way in ways))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for way in ways:
        wanted = gankit.load(run).translate(images, way)
        assert torch.equal(model.translate(images, way), wanted)  # type: ignore[operator]
    for line in (space / "requirements.txt").read_text().splitlines()[1:]:
        package, _, version = line.partition("==")
        assert importlib.metadata.version(package).partition("+")[0] == version
    again = ("export", str(run), "--format", "space", "--out", str(space))
    assert "not an empty folder" in refused(*again)
    one = write_space(space / "b2a.safetensors", tmp_path / "one", title='the "toy"')
    assert {file.name for file in one.glob("*.safetensors")} == {"b2a.safetensors"}
    named = write_space("hub:nsgan-digits", tmp_path / "named")
    assert 'title="nsgan-digits"' in (named / "app.py").read_text()
    z = torch.zeros(1, 16)
    wanted = gankit.load("hub:nsgan-digits")(z)
    assert torch.equal(open_model(named / "generator.safetensors")(z), wanted)
    with pytest.raises(ConfigError, match="several files"):
        open_model(one / "b2a.safetensors", one / "b2a.safetensors")


@pytest.fixture(scope="module")
def space(
    trained_once: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """The folder of a Space, and the address at which its app.py is served."""
    folder = tmp_path_factory.mktemp("space") / "digits"
    assert (
        main(["export", str(trained_once("cgan")), "--format", "space", "--out", f"{folder}"]) == 0
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder.with_suffix(".log").open("wb")
    app = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=folder,
        env=environment(GRADIO_SERVER_PORT=str(port)),
        stdout=log,
        stderr=log,
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(address, timeout=60).close()
                break
            except OSError:
                assert app.poll() is None, folder.with_suffix(".log").read_text()
                time.sleep(0.1)
        yield folder, address
    finally:
        app.kill()
        app.wait()
        log.close()


def test_a_space_serves_itself(space: tuple[Path, str]) -> None:
    folder, address = space
    head = (folder / "README.md").read_text().split("---")[1]
    yaml = pytest.importorskip("yaml")
    settings = yaml.safe_load(head)
    assert settings["title"] == "cgan"
    assert settings["sdk"] == "gradio"
    assert settings["sdk_version"] == gr.__version__
    assert settings["app_file"] == "app.py"
    page = urllib.request.urlopen(address, timeout=60).read().decode()
    assert re.search(r'"title": *"cgan"', page)
    assert "From A to B" in page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if not BROWSER:
        pytest.skip("there is no Chromium here")
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


# Sets the n-th slider as a hand would.
SLIDE = """(() => {
  const slider = [...document.querySelectorAll("input[type=range]")].filter(s => s.offsetWidth)[%d];
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(slider, %r);
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  slider.dispatchEvent(new Event("change", {bubbles: true}));
})()"""
PICTURES = (
    "[...document.querySelectorAll('img')].filter(i => i.offsetWidth && i.complete && "
    "i.naturalWidth && i.src.includes('/file=')).map(i => i.src).join(' ')"
)
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
RIGHT = (
    "Math.max(...[...document.querySelectorAll('img')].filter(i => i.offsetWidth)"
    ".map(i => i.getBoundingClientRect().right))"
)
TAB = "[...document.querySelectorAll('button[role=tab]')].find(t => t.innerText == %r).click()"


def test_a_moved_slider_changes_the_picture(space: tuple[Path, str], browser: Page) -> None:
    browser.size(400, 900)
    browser.call("Page.navigate", url=space[1])
    for tab, slider, value in (("Images", 1, "77"), ("Walk", 0, "1"), ("Directions", 1, "2")):
        browser.wait("document.querySelectorAll('button[role=tab]').length > 2")
        browser.run(TAB % tab)
        before = browser.wait(PICTURES)
        assert browser.run(WIDE) == 0  # nothing sticks out
        assert browser.run(RIGHT) <= 400
        browser.run(SLIDE % (slider, value))
        browser.wait(f"{PICTURES} && {PICTURES} !== {before!r}")


def test_a_file_that_is_no_image_is_a_sentence(
    trained_once: Trained, browser: Page, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_text("no image")
    Image.new("RGB", (20, 30), "teal").save(tmp_path / "good.png")
    page = interface(open_model(trained_once("cyclegan-toy")))
    address = launch(page, block=False)
    try:
        browser.size(1400, 900)
        browser.call("Page.navigate", url=address)
        browser.wait("document.querySelectorAll('input[type=file]').length")
        browser.give_file("input[type=file]", tmp_path / "bad.png")
        said = "document.body.innerText"
        browser.wait(f"{said}.includes('bad.png: not an image.')")
        assert not browser.run(
            f"{said}.includes('Traceback') || {said}.includes({str(tmp_path)!r})"
        )
        browser.call("Page.navigate", url=address)
        browser.wait("document.querySelectorAll('input[type=file]').length")
        browser.give_file("input[type=file]", tmp_path / "good.png")
        result = "[...document.querySelectorAll('img')].filter(i => i.naturalHeight == 30).length"
        browser.wait(f"{result} == 2")
    finally:
        page.close(verbose=False)
