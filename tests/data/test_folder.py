"""``folder:PATH``: a stranger's folder of pictures."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
from PIL import Image

from gankit.data import ImageData, image_files, load, load_folder
from gankit.data import decoded as decoded_module
from gankit.data.image_files import decode_all
from gankit.errors import DataError, GankitWarning
from tests.data.image_folders import flat, noise, write

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path_factory.mktemp("data")))


def cache_files() -> list[Path]:
    return sorted(Path(os.environ["GANKIT_DATA"], "cache").glob("*"))


@pytest.fixture
def no_decoding(monkeypatch):
    """Any decoding from here on fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("decoded again")

    return lambda: monkeypatch.setattr(decoded_module, "decode_all", refuse)


def test_classes_are_the_folders_at_the_first_level(tmp_path):
    flat(tmp_path / "hünde 日本" / "a.png", RED)
    flat(tmp_path / "cats" / "deep" / "er" / "b.jpg", BLUE)
    flat(tmp_path / "cats" / ("long" * 50 + ".png"), BLUE)
    flat(tmp_path / ".hidden" / "x.png", RED)
    (tmp_path / "cats" / "loop").symlink_to(tmp_path)
    data = load(f"folder:{tmp_path}", image_size=8)
    assert isinstance(data, ImageData)
    assert data.class_names == ("cats", "hünde 日本")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert [data.class_name(label) for label in (0, 1)] == ["cats", "hünde 日本"]
    assert data.shape == (3, 8, 8)
    assert (data.images[2] == torch.tensor(RED)[:, None, None]).all()
    assert "3 images, RGB, cropped around the center to 8x8" in data.notes[0]
    assert "2 classes, from the folders: cats, hünde 日本." in data.notes[0]
    moved = data.to("cpu").resize(4)
    assert (moved.class_names, moved.notes) == (data.class_names, data.notes)


def test_labels_can_be_turned_off(tmp_path):
    flat(tmp_path / "a" / "1.png", RED)
    flat(tmp_path / "b" / "1.png", RED)
    data = load_folder(tmp_path, labels="none")
    assert (data.labels, data.class_names) == (None, ())
    assert load_folder(tmp_path).labels is not None


def test_one_folder_is_no_class_and_images_beside_classes_have_none(tmp_path):
    flat(tmp_path / "a" / "1.png", RED)
    flat(tmp_path / "2.png", RED)
    assert load_folder(tmp_path).labels is None
    flat(tmp_path / "b" / "1.png", RED)
    data = load_folder(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [-1, 0, 1]  # 2.png, a/1.png, b/1.png
    assert "1 images lie beside them, without a class" in data.notes[0]


def test_splits_are_folders_of_those_names_alone(tmp_path):
    for part in ("train", "val"):
        for kind in ("a", "b"):
            flat(tmp_path / "net" / part / kind / "1.png", RED)
    flat(tmp_path / "net" / "train" / "b" / "2.png", RED)
    counts = {split: len(load_folder(tmp_path / "net", split=split)) for split in ("train", "test")}
    assert counts == {"train": 3, "test": 2}
    everything = load_folder(tmp_path / "net", split="all")
    assert everything.labels is not None
    assert everything.labels.tolist() == [0, 1, 1, 0, 1]
    assert everything.class_names == ("a", "b")
    # Here a train is a thing that runs on rails.
    for kind in ("car", "train"):
        flat(tmp_path / "vehicles" / kind / "1.png", RED)
    assert load_folder(tmp_path / "vehicles").class_names == ("car", "train")
    with pytest.raises(DataError, match=r"no folder test or val in .*vehicles for split 'test'"):
        load_folder(tmp_path / "vehicles", split="test")


def wide() -> np.ndarray:
    """12 pixels high and 24 wide: green at the left and right quarter, red between."""
    pixels = np.zeros((12, 24, 3), np.uint8)
    pixels[:, :, 1] = 255
    pixels[:, 6:18] = RED
    return pixels


def test_pictures_of_another_aspect(tmp_path):
    write(tmp_path / "wide.png", wide())
    crop = load_folder(tmp_path, image_size=6).images[0]
    assert (crop[:, :, 2:4] == torch.tensor(RED)[:, None, None]).all()
    assert (crop[0] > 225).all()  # the filter reaches a little beyond the part that is taken
    stretched = load_folder(tmp_path, image_size=6, resize="stretch").images[0]
    expected = Image.fromarray(wide()).resize((6, 6), Image.Resampling.BICUBIC)
    assert torch.equal(stretched, torch.from_numpy(np.array(expected)).permute(2, 0, 1))
    assert stretched[1, 0, 0] > 250
    padded = load_folder(tmp_path, image_size=8, resize="pad", background="blue").images[0]
    assert (padded[:, [0, 1, 6, 7]] == torch.tensor(BLUE)[:, None, None]).all()
    assert padded[:, 2:6, 0].float().mean(1)[1] > 250  # green at the left
    upright = load_folder(tmp_path, image_size=[12, 6]).images[0]
    assert upright.shape == (3, 12, 6)
    assert (upright == torch.tensor(RED)[:, None, None]).all()


def test_shrinking_is_antialiased(tmp_path):
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    write(tmp_path / "checks.png", checks)
    for resize in ("crop", "stretch", "pad"):
        small = load_folder(tmp_path, image_size=8, resize=resize).images
        assert ((small >= 125) & (small <= 130)).all()


def test_channels(tmp_path):
    write(tmp_path / "grey.png", noise(0, 8, 8, 1))
    assert load_folder(tmp_path, image_size=8).shape == (1, 8, 8)
    clear = Image.new("RGBA", (8, 8), (*RED, 0))
    clear.putpixel((0, 0), (*RED, 255))
    clear.save(tmp_path / "x.png")
    auto = load_folder(tmp_path, image_size=8).images[1]
    assert auto[:, 0, :2].T.tolist() == [[255, 0, 0], [255, 255, 255]]
    over = load_folder(tmp_path, image_size=8, background="#000000").images[1]
    assert over[:, 0, 1].tolist() == [0, 0, 0]
    four = load_folder(tmp_path, image_size=8, channels=4).images
    assert four[1, :, 0, :2].T.tolist() == [[255, 0, 0, 255], [255, 0, 0, 0]]
    assert (four[0, 3] == 255).all()
    assert load_folder(tmp_path, image_size=8, channels=1).images[1, 0, 0, 0] == 76  # luma of red
    pad = load_folder(tmp_path, image_size=[8, 10], channels=4, resize="pad").images
    assert (pad[:, 3, :, 0] == 0).all()


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


MODES = {
    "CMYK.jpg": lambda p, i: save(p, i.convert("CMYK"), quality=100, subsampling=0),
    "CMYK.tif": lambda p, i: save(p, i.convert("CMYK")),
    "progressive.jpg": lambda p, i: save(p, i, quality=100, subsampling=0, progressive=True),
    "palette.png": lambda p, i: save(p, i.convert("P", palette=Image.Palette.ADAPTIVE)),
    "palette.gif": lambda p, i: save(p, i.convert("P", palette=Image.Palette.ADAPTIVE)),
    "animated.gif": lambda p, i: save(
        p, i, save_all=True, append_images=[Image.new("RGB", i.size, "white")]
    ),
    "lossless.webp": lambda p, i: save(p, i, lossless=True),
    "animated.webp": lambda p, i: save(
        p, i, lossless=True, save_all=True, append_images=[Image.new("RGB", i.size, "white")]
    ),
    "pages.tif": lambda p, i: save(p, i, save_all=True, append_images=[Image.new("RGB", i.size)]),
    "opaque.png": lambda p, i: save(p, i.convert("RGBA")),
    "plain.bmp": save,
    "PLAIN.PPM": lambda p, i: save(p, i, format="PPM"),
}


@pytest.mark.parametrize("kind", MODES)
def test_every_kind_of_file_gives_its_pixels(tmp_path, kind):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = RED
    pixels[8:] = (20, 200, 90)
    MODES[kind](tmp_path / kind, Image.fromarray(pixels))
    (image,) = load_folder(tmp_path, image_size=16, channels=3).images
    difference = (image.permute(1, 2, 0).int() - torch.from_numpy(pixels).int()).abs()
    lossy = kind.endswith(("jpg", "gif"))
    assert difference.max() <= (4 if lossy else 0)


def broken(folder: Path) -> None:
    """Three files that look like images."""
    whole = write(folder / "t.jpg", noise(3, 40, 40)).read_bytes()
    (folder / "t.jpg").write_bytes(whole[:-300])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.webp").write_text("no image")


def test_broken_files_are_counted_and_named(tmp_path):
    for number in range(9):
        flat(tmp_path / "good" / f"{number}.png", (number, 0, 0))
    broken(tmp_path / "good")
    (tmp_path / "notes.txt").write_text("")
    for _ in range(2):  # from the cache too
        with pytest.warns(GankitWarning) as caught:
            data = load_folder(tmp_path)
        text = str(caught[0].message)
        assert len(caught) == 1
        assert "skipped 4 files" in text
        for name in ("good/t.jpg", "good/empty.png", "good/text.webp", "notes.txt"):
            assert f" {name}: " in text
        # Of that one the header is whole, which is all that a streamed set looks at.
        assert "not processed)), so the next is shown in its place; notes.txt" in text
        assert data.images[:, 0, 0, 0].tolist() == [*range(9), 0]


def test_a_bomb_is_left_out(tmp_path, monkeypatch):
    flat(tmp_path / "bomb.png", RED, 40, 40)
    for number in range(3):
        flat(tmp_path / f"{number}.png", RED, 9, 9)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.warns(GankitWarning, match=r"skipped 1 file: bomb\.png: .*decompression bomb"):
        assert len(load_folder(tmp_path)) == 3


def test_more_than_a_quarter_of_broken_files_is_an_error(tmp_path):
    for number in range(8):
        flat(tmp_path / f"{number}.png", RED)
    broken(tmp_path)
    for _ in range(2):
        with pytest.raises(DataError, match=r"3 of 11 images .* a quarter: empty\.png: not an"):
            load_folder(tmp_path)
    flat(tmp_path / "8.png", RED)
    with pytest.warns(GankitWarning, match="skipped 3 files"):
        load_folder(tmp_path)


def test_the_second_start_decodes_nothing(tmp_path, no_decoding):
    for number in range(5):
        write(tmp_path / f"{number}.png", noise(number, 20, 20))
    first = load_folder(tmp_path, image_size=8)
    assert len(cache_files()) == 1
    no_decoding()
    again = load_folder(tmp_path, image_size=8)
    assert torch.equal(again.images, first.images)
    monkeyed = again.images.clone()
    again.images.zero_()  # reaches no file
    assert torch.equal(load_folder(tmp_path, image_size=8).images, monkeyed)


@pytest.mark.parametrize("change", ["pixels", "time", "new", "gone", "setting", "damaged cache"])
def test_what_changes_is_decoded_again(tmp_path, change):
    for number in range(3):
        write(tmp_path / f"{number}.bmp", noise(number, 8, 8))
    before = load_folder(tmp_path, image_size=8).images.clone()
    settings = {}
    if change == "pixels":  # of one size
        os.utime(write(tmp_path / "1.bmp", noise(9, 8, 8)), ns=(0, 10**18))
    elif change == "time":
        os.utime(tmp_path / "1.bmp", ns=(0, 10**18))
    elif change == "new":
        write(tmp_path / "3.bmp", noise(9, 8, 8))
    elif change == "gone":
        (tmp_path / "1.bmp").unlink()
    elif change == "setting":
        settings = {"channels": 1}
    else:
        (file,) = cache_files()
        os.truncate(file, file.stat().st_size - 60)
    after = load_folder(tmp_path, image_size=8, **settings).images
    expected = [torch.from_numpy(np.array(Image.open(f))) for f in sorted(tmp_path.glob("*.bmp"))]
    if change == "setting":
        assert after.shape == (3, 1, 8, 8)
        assert len(cache_files()) == 2
    else:
        assert torch.equal(after, torch.stack(expected).permute(0, 3, 1, 2))
        assert len(cache_files()) == 1, "the old file stays behind"
    assert torch.equal(before, load_folder(tmp_path, image_size=8).images) == (
        change in ("time", "setting", "damaged cache")
    )


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    flat(tmp_path / "pictures" / "1.png", RED)
    (tmp_path / "root").write_text("a file")
    with pytest.warns(GankitWarning, match="cannot be kept in .*root"):
        data = load_folder(tmp_path / "pictures", root=tmp_path / "root")
    assert len(data) == 1


def test_names_of_no_encoding(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    try:
        flat(tmp_path / name / "1.png", RED)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    flat(tmp_path / "b" / "1.png", RED)
    for _ in range(2):
        assert load_folder(tmp_path).class_names == ("b", "caf\ufffd")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "files"}, "labels is 'files', expected folders or none"),
        ({"channels": 2}, "channels is 2, expected auto, 1, 3 or 4"),
        ({"channels": True}, "channels is True"),
        ({"channels": [3]}, r"channels is \[3\]"),
        ({"resize": "zoom"}, "resize is 'zoom', expected crop, stretch, pad"),
        ({"background": "chartreusey"}, "background is 'chartreusey', expected a color"),
        ({"background": 7}, "background is 7, expected a color"),
        ({"image_size": [8]}, r"image_size is \[8\], expected an integer from 1, or two"),
        ({"image_size": [8, 0]}, "expected an integer from 1, or two"),
        ({"image_size": None}, "images of different sizes in one set, 20x20 and 9x20"),
        (
            {"flip": True},
            "has no argument 'flip', allowed are background, cache, channels, image_size,",
        ),
        ({"root_": 1}, "has no argument 'root_'"),
    ],
)
def test_arguments_that_are_not_allowed(tmp_path, arguments, message):
    flat(tmp_path / "1.png", RED)
    flat(tmp_path / "2.png", RED, width=9)
    with pytest.raises(DataError, match=message):
        load(f"folder:{tmp_path}", **arguments)


def test_folders_without_images(tmp_path):
    with pytest.raises(DataError, match="does not exist, expected a folder of images"):
        load_folder(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no images in .*, expected files of type \.bmp"):
        load_folder(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="is not a folder"):
        load_folder(tmp_path / "a.txt")
    (tmp_path / "x.png").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"none of 1 images can be read; .*x\.png: not a regular"):
        load_folder(tmp_path)


def test_no_bar_where_there_is_no_terminal(tmp_path, capfd):
    pytest.importorskip("tqdm")
    flat(tmp_path / "1.png", RED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_folder(tmp_path, progress=True)
    assert capfd.readouterr().err == ""


def test_processes_of_one_run_decode_once(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / f"{number}.png", noise(number, 8, 8))
    calls = []

    def slow(*args, **kwargs):
        calls.append(args)
        time.sleep(0.2)
        return decode_all(*args, **kwargs)

    monkeypatch.setattr(decoded_module, "decode_all", slow)
    with ThreadPoolExecutor(3) as pool:  # locks of two opened files exclude each other here too
        found = list(pool.map(load_folder, [tmp_path] * 3))
    assert len(calls) == 1
    assert all(torch.equal(data.images, found[0].images) for data in found)


def test_an_interrupt_does_not_wait_for_the_other_files(tmp_path, monkeypatch):
    files = [(write(tmp_path / f"{number}.png", noise(number, 8, 8)),) for number in range(200)]
    read = []

    def stop(images):
        read.append(images)
        time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_all(files, stop, "mine")
    assert len(read) < 100


def test_a_terminal_shows_how_far_it_is(tmp_path, monkeypatch):
    pytest.importorskip("tqdm")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for number in range(3):
        write(tmp_path / f"{number}.png", noise(number, 8, 8))
    monkeypatch.setattr(sys, "stderr", Terminal())
    items = [(file,) for file in sorted(tmp_path.iterdir())]

    def wait(images):
        time.sleep(0.6)
        return images

    monkeypatch.setattr(image_files, "ThreadPoolExecutor", lambda **kwargs: ThreadPoolExecutor(1))
    decode_all(items, wait, "mine", progress=True)
    assert "reading mine:" in sys.stderr.getvalue()
    assert "/3 " in sys.stderr.getvalue()
