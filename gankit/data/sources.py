"""Names of data sets, as ``--data`` takes them, to image sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import torch

from gankit.data.audio import load_audio
from gankit.data.digits import load_digits
from gankit.data.fields import FieldData
from gankit.data.file_set import ImageSize
from gankit.data.folder import load_folder
from gankit.data.high_resolution import load_high_resolution, load_photographs
from gankit.data.idx import load_idx
from gankit.data.images import ImageData
from gankit.data.lsun import load_lsun
from gankit.data.mnist import load_mnist
from gankit.data.npz import load_npz
from gankit.data.pairs import load_pairs
from gankit.data.shards import load_shards
from gankit.data.stacked import load_stacked
from gankit.data.table import load_csv
from gankit.data.torchvision_sets import load_celeba, load_cifar10
from gankit.data.toy import TOYS, load_toy
from gankit.data.toy_domains import load_arrows, load_shapes
from gankit.data.toy_images import load_discs, load_edges
from gankit.data.toy_prints import load_prints
from gankit.data.toy_speech import load_speech
from gankit.data.toy_twins import load_twins
from gankit.data.unpaired import load_unpaired
from gankit.errors import DataError, shortened
from gankit.scalars import is_integer

_Loader = Callable[..., FieldData]
_IMAGE_TOYS: dict[str, _Loader] = {
    "edges": load_edges,
    "discs": load_discs,
    "arrows": load_arrows,
    "shapes": load_shapes,
    "prints": load_prints,
    "stacked": load_stacked,
    "twins": load_twins,
}
_ALL_TOYS = (*TOYS, *_IMAGE_TOYS, "speech")
_SETS: dict[str, _Loader] = {
    "digits": load_digits,
    "mnist": partial(load_mnist, "mnist"),
    "fashion-mnist": partial(load_mnist, "fashion-mnist"),
    "cifar10": load_cifar10,
    "celeba": load_celeba,
    "lsun": load_lsun,
    "photographs": load_photographs,
}
# Those of the user's own, which need a path, and what stands for it in a message.
_WITH_PATHS: dict[str, tuple[_Loader, str]] = {
    "folder": (load_folder, "folder:FOLDER"),
    "csv": (load_csv, "csv:FILE"),
    "wds": (load_shards, "wds:SHARDS"),
    "npz": (load_npz, "npz:FILE"),
    "idx": (load_idx, "idx:FOLDER or idx:FILE"),
    "audio": (load_audio, "audio:FOLDER"),
    "pairs": (load_pairs, "pairs:FOLDER"),
    "unpaired": (load_unpaired, "unpaired:FOLDER"),
    "highres": (load_high_resolution, "highres:FOLDER or highres:FILE"),
}
NAMES = (*_SETS, *(f"{kind}:PATH" for kind in _WITH_PATHS), "toy:NAME")
SPLITS = ("train", "test", "all")
# Arguments of sets of image files that leave each batch as it is, with their defaults.
STORAGE: dict[str, Any] = {"resident": "auto", "cache": "auto", "workers": None}


@overload
def load(
    name: Literal["digits", "mnist", "fashion-mnist", "cifar10"],
    *,
    root: str | Path | None = None,
    image_size: int | None = 28,
    device: str | torch.device = "cpu",
    split: str = "train",
    progress: bool = False,
    **arguments: Any,
) -> ImageData: ...


@overload
def load(
    name: str,
    *,
    root: str | Path | None = None,
    image_size: ImageSize = 28,
    device: str | torch.device = "cpu",
    split: str = "train",
    progress: bool = False,
    **arguments: Any,
) -> FieldData: ...


def load(
    name: str,
    *,
    root: str | Path | None = None,
    image_size: ImageSize = 28,
    device: str | torch.device = "cpu",
    split: str = "train",
    progress: bool = False,
    **arguments: Any,
) -> FieldData:
    """Loads a data set by name, resizes it once and puts it on ``device`` as uint8.

    Training uses split ``"train"`` unless told otherwise, so that ``"test"`` stays unseen and can
    serve to evaluate samples.

    Args:
        name: ``"digits"``, ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"``, ``"celeba"``,
            ``"lsun"``, ``"folder:PATH"`` (``gankit.data.load_folder``), ``"csv:PATH"``, a table of
            images with attributes or classes (``gankit.data.load_csv``), ``"wds:SHARDS"``, images
            in tar shards (``gankit.data.load_shards``), ``"npz:PATH"``, an archive as ``gankit
            sample`` writes it, ``"idx:PATH"``, PATH being a folder of idx files or one images file,
            or ``"toy:NAME"``, points of a known distribution (``gankit.data.load_toy``), which have
            no image size, are an ``ImageData``; what is made of image files and does not fit into
            memory is a ``StreamedData``. ``"pairs:PATH"`` and ``"toy:edges"`` are a ``PairData``;
            ``"unpaired:PATH"``, ``"toy:discs"`` and ``"toy:arrows"`` an ``UnpairedData``
            (``gankit.data.load_pairs``, ``load_unpaired``); ``"toy:shapes"``, ``"toy:twins"`` and
            ``"toy:stacked"``, three digits in three channels, are an ``ImageData`` with labels.
            ``"audio:PATH"`` and ``"toy:speech"`` are a ``SpeechData`` (``load_audio``,
            ``load_speech``), which has no image size. ``"highres:PATH"``, ``"photographs"`` and
            ``"toy:prints"`` are a ``HighResolutionData`` (``gankit.data.load_high_resolution``),
            whose ``image_size`` is that of a crop.
        root: folder of downloaded sets; by default ``$GANKIT_DATA`` or ``~/.cache/gankit/data``.
        image_size: height and width of the result; None keeps the set's own size, which is 64 for
            toys of images and 8 for ``"toy:stacked"``. Files of ``"folder:PATH"``, ``"csv:PATH"``,
            ``"celeba"`` and ``"lsun"`` also take ``[height, width]``.
        device: where the images shall live.
        split: ``"train"``, ``"test"`` or ``"all"``.
        progress: show on a terminal how far the decoding of files is.
        arguments: what the set alone can be told, as ``labels="none"`` of ``load_folder``.

    Raises:
        DataError: unknown name, argument or split, or missing, damaged or empty data.
        MissingExtra: the set needs a package that is not installed.
    """
    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}, got {shortened(split)}")
    loader = _loader(name)
    taken = inspect.signature(loader).parameters
    own = [key for key, each in taken.items() if each.kind is each.KEYWORD_ONLY]
    strange = [key for key in arguments if key not in own]
    if strange:
        allowed = sorted({*own, "image_size", "split"} - {"root", "progress", "device"})
        raise DataError(
            f"data {name!r} has no argument {shortened(strange[0])}, allowed are "
            f"{', '.join(allowed)}"
        )
    if image_size is not None and not (is_integer(image_size) and image_size >= 1):
        if is_integer(image_size):
            raise DataError(f"image_size must be at least 1, got {image_size}")
        if "resize" not in own:  # they check it themselves
            raise DataError(
                f"image_size must be an integer for data {name!r}, got {shortened(image_size)}"
            )
    offers: dict[str, Any] = {"root": root, "split": split, "progress": progress, "device": device}
    if image_size is not None or loader not in _IMAGE_TOYS.values():
        offers["image_size"] = image_size
    data = loader(**{key: value for key, value in offers.items() if key in own}, **arguments)
    if "image_size" not in own and is_integer(image_size) and isinstance(data, ImageData):
        data = data.resize(image_size)
    return data.to(device)


def storage_arguments(name: str) -> dict[str, Any]:
    """The arguments of the set ``name`` that decide only how it is stored, with their defaults.

    None of a set that is unknown, or whose order depends on them, as that of shards on its readers.
    """
    try:
        taken = inspect.signature(_loader(name)).parameters
    except DataError:
        return {}
    return STORAGE if taken.keys() >= STORAGE.keys() else {}


def _loader(name: str) -> _Loader:
    """What loads the set ``name``, called with keywords alone."""
    kind, colon, path = name.partition(":")
    if name in _SETS:
        return _SETS[name]
    if colon and kind in _WITH_PATHS:
        made, expected = _WITH_PATHS[kind]
        if not path:
            raise DataError(f"data {name!r} lacks a path, expected {expected}")
        return partial(made, path)
    if kind == "toy" and path in _IMAGE_TOYS:
        return _IMAGE_TOYS[path]
    if kind == "toy" and path == "speech":
        return load_speech
    if kind == "toy" and path in TOYS:
        return partial(load_toy, path)
    if kind == "toy" and colon:
        what = f"unknown toy data {shortened(path)}" if path else "data 'toy:' lacks a name"
        raise DataError(f"{what}, allowed are toy:{', toy:'.join(_ALL_TOYS)}")
    raise DataError(
        f"unknown data {shortened(name)}, allowed are {', '.join(NAMES)}, or in a run the "
        "import path of a callable that returns an ImageData, such as my_data.faces"
    )
