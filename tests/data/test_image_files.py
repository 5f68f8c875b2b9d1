"""Image files to uint8 tensors: every kind of pixel, and files that are damaged."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
from PIL import Image

from gankit.data.image_files import (
    decode,
    decode_all,
    list_image_files,
    resize,
    stored_channels,
    warn_of_skipped,
)
from gankit.errors import DataError, GankitWarning, MissingExtra
from tests.data.image_folders import noise, write

GREY, COLOR = noise(0, 6, 9, 1), noise(1, 6, 9)
RED = np.broadcast_to(np.uint8([255, 0, 0]), (6, 9, 3))


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    pixels = np.array(pixels)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".PNG"])
@pytest.mark.parametrize("pixels", [GREY, COLOR], ids=["grey", "color"])
def test_lossless_files_come_back_bit_for_bit(tmp_path, suffix, pixels):
    path = write(tmp_path / f"x{suffix}", pixels)
    channels = 1 if pixels.ndim == 2 else 3
    assert stored_channels(path) == channels
    decoded = decode(path, channels=channels)
    assert decoded.dtype == torch.uint8
    assert decoded.is_contiguous()
    assert torch.equal(decoded, as_tensor(pixels))


def test_grey_files_as_color_and_color_files_as_grey(tmp_path):
    grey = decode(write(tmp_path / "grey.png", GREY), channels=3)
    assert torch.equal(grey, as_tensor(GREY).expand(3, -1, -1))
    luma = decode(write(tmp_path / "color.png", COLOR), channels=1)
    expected = (as_tensor(COLOR).double() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(
        0, keepdim=True
    )
    assert (luma - expected).abs().max() <= 0.51


@pytest.mark.parametrize(
    ("convert", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3)]
)
def test_channels_are_those_stored(tmp_path, convert, channels):
    path = tmp_path / ("x.tif" if convert == "CMYK" else "x.png")
    Image.fromarray(RED).convert(convert).save(path)
    assert stored_channels(path) == channels
    decoded = decode(path, channels=3)
    assert decoded.shape == (3, 6, 9)
    if channels == 3:
        assert torch.equal(decoded, as_tensor(RED))


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette"])
def test_transparent_pixels_are_white(tmp_path, kind):
    path = tmp_path / "x.png"
    if kind == "palette":
        image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.save(path, transparency=1)
    else:
        image = Image.new("LA", (2, 1), (0, 255))
        image.putpixel((1, 0), (0, 0))
        image.convert(kind).save(path)
    assert decode(path, channels=3)[:, 0].tolist() == [[0, 255]] * 3
    assert decode(path, channels=1)[:, 0].tolist() == [[0, 255]]


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
    values = np.array([[0, 128, 129, 257, 32896, 65535]], dtype=np.uint16)
    path = write(tmp_path / "x.png", values)
    assert stored_channels(path) == 1
    assert decode(path, channels=1).tolist() == [[[0, 0, 1, 1, 128, 255]]]


def test_integers_beyond_sixteen_bits_and_floats_are_refused(tmp_path):
    for value in (np.int32([[70000]]), np.int32([[-1]]), np.float32([[0.5]])):
        path = write(tmp_path / "x.tif", value)
        with pytest.raises(DataError, match=r"x\.tif: .*(expected 0 to 65535|no known range)"):
            decode(path, channels=1)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: turned clockwise it stands
    path = tmp_path / "x.png"
    Image.fromarray(GREY).save(path, exif=exif)
    assert torch.equal(decode(path, channels=1), as_tensor(np.rot90(GREY, -1)))


def test_resize_is_pillows_bicubic(tmp_path):
    for pixels in (GREY, COLOR):
        for size in (4, 13):
            expected = np.array(Image.fromarray(pixels).resize((size, size), Image.BICUBIC))
            assert torch.equal(resize(as_tensor(pixels), size), as_tensor(expected))
    square = as_tensor(COLOR)[:, :, :6]
    assert resize(square, 6) is square


def jpeg(tmp_path) -> bytes:
    path = tmp_path / "whole.jpg"
    write(path, noise(2, 40, 40))
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize(
    "kind", ["empty", "text", "truncated", "header alone", "bomb", "absent", "pipe"]
)
def test_files_that_are_none_are_named(tmp_path, monkeypatch, kind):
    path = tmp_path / "x.jpg"
    content = {
        "empty": b"",
        "text": b"no image\n" * 100,
        "truncated": jpeg(tmp_path)[:-300],
        "header alone": jpeg(tmp_path)[:20],
        "bomb": jpeg(tmp_path),
    }
    if kind in content:
        path.write_bytes(content[kind])
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError) as caught:
        decode(path, channels=3)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_program_in_place_of_an_image_does_not_run(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(DataError, match="not an image, expected BMP, GIF, JPEG"):
        decode(path, channels=3)


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "x.png", GREY)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtra, match=r"pillow .* pip install 'gankit\[train\]'"):
        stored_channels(path)
    with pytest.raises(MissingExtra):
        decode(path, channels=1)


def test_files_are_listed_in_order_without_hidden_ones(tmp_path):
    names = ["b.png", "a/2.JPEG", "a/10.png", "ä ü.webp", "日本.gif", ".hidden.png", ".git/x.png"]
    for name in [*names, "notes.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    images, others = list_image_files(tmp_path)
    listed = [str(path.relative_to(tmp_path)) for path in images]
    assert listed == ["a/10.png", "a/2.JPEG", "b.png", "ä ü.webp", "日本.gif"]
    assert others == [tmp_path / "notes.txt"]


def test_images_behind_a_link_are_listed(tmp_path):
    write(tmp_path / "elsewhere" / "x.png", GREY)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "class").symlink_to(tmp_path / "elsewhere")
    assert list_image_files(tmp_path / "set")[0] == [tmp_path / "set" / "class" / "x.png"]


def test_all_are_stacked_in_order_and_the_damaged_left_out(tmp_path):
    files = [write(tmp_path / f"{i}.png", noise(i, 6, 9, 1)) for i in range(20)]
    for broken in (0, 7, 19):
        files[broken].write_bytes(files[broken].read_bytes()[: 40 if broken else 0])
    (stack,), errors = decode_all([(file,) for file in files], lambda images: images, "mine")
    assert stack.shape == (17, 1, 6, 9)
    whole = [i for i in range(20) if i not in (0, 7, 19)]
    assert all(
        torch.equal(image, as_tensor(noise(i, 6, 9, 1)))
        for i, image in zip(whole, stack, strict=True)
    )
    named = {number: str(error).partition(": ")[0] for number, error in errors.items()}
    assert named == {i: str(files[i]) for i in (0, 7, 19)}


def test_one_color_file_gives_all_three_channels(tmp_path):
    files = [(write(tmp_path / "0.png", GREY),), (write(tmp_path / "1.png", COLOR),)]
    (stack,), _ = decode_all(files, lambda images: images, "mine")
    assert torch.equal(stack[0], as_tensor(GREY).expand(3, -1, -1))
    assert torch.equal(stack[1], as_tensor(COLOR))


def test_sets_that_cannot_be_stacked(tmp_path):
    small, large = write(tmp_path / "s.png", GREY), write(tmp_path / "l.png", noise(3, 8, 8, 1))
    with pytest.raises(DataError, match="mine: images of different sizes in one set, 9x6 and 8x8"):
        decode_all([(small,), (large,)], lambda images: images, "mine")
    small.write_bytes(b"")
    with pytest.raises(DataError, match=r"mine: none of 1 images can be read; .*s\.png: not an"):
        decode_all([(small,)], lambda images: images, "mine")


def test_skipped_files_are_counted_and_the_first_named(tmp_path):
    errors = [DataError(f"{i}.png: damaged") for i in range(4)]
    with pytest.warns(GankitWarning) as caught:
        warn_of_skipped("mine", errors, [tmp_path / "n.txt", tmp_path / "m.txt"])
    (warning,) = caught
    text = str(warning.message)
    assert text.startswith("mine: skipped 6 files: 0.png: damaged; 1.png: damaged; ")
    assert text.endswith("n.txt: not an image and 1 more")
    assert warning.filename == __file__
    warn_of_skipped("mine", [], [])


@pytest.mark.parametrize("size", [28, 64, (12, 16)])
def test_pictures_of_all_sizes_are_cropped(size):
    row = torch.arange(120, dtype=torch.uint8)
    for width in range(1, 120):
        for height in (37, width, min(119, width + 9)):
            image = row[:width].expand(1, height, width)
            cropped = resize(image, size, "crop")
            assert cropped.shape[1:] == ((size, size) if isinstance(size, int) else size)
