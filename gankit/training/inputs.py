"""What a ``Trainer`` is given, checked before a run begins."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gankit.data import BatchSampler, FieldData, ImageData, ImageSet, ShardData, StreamedData
from gankit.data.labelled import check_all_labelled
from gankit.data.streamed import LoadedAhead
from gankit.data.torch_data import LoaderData, LoaderOrder, MapData
from gankit.errors import ConfigError, DataError, GankitWarning, outside_gankit
from gankit.training.callbacks import Callback


def as_data(data: Any, device: torch.device, fields: Sequence[str]) -> FieldData:
    """``data`` as a set on ``device`` for a step that reads ``fields``.

    Of a tensor of images, a map-style ``Dataset`` or a ``DataLoader`` one is made. Raises
    ConfigError for anything else, and for a set on another device; DataError for data of torch's
    that hold no images.
    """
    if isinstance(data, Tensor):
        return ImageData.from_tensor(data).to(device)
    if isinstance(data, DataLoader):
        _warn_of_order()
        return LoaderData(data, fields, device)
    if isinstance(data, Dataset):
        return MapData(data, fields, device)
    if not isinstance(data, FieldData):
        raise ConfigError(
            f"data is a {type(data).__name__}; allowed are a data set of gankit.data, a torch "
            "Dataset or DataLoader, and a tensor of images [N, C, H, W], uint8 or floats in "
            "[-1, 1]; ImageData.from_tensor makes a set of a tensor"
        )
    if data.device.type != device.type:
        raise ConfigError(
            f"data is on {data.device}, but D is on {device}; allowed is one device, such as by "
            f"data.to('{device}')"
        )
    return data


def _warn_of_order() -> None:
    warnings.warn(
        "data is a DataLoader, whose order is its own, so that a resumed run sees other batches "
        "than one that was not interrupted; give its dataset and a gankit.data.BatchSampler for a "
        "run that resumes exactly",
        GankitWarning,
        stacklevel=outside_gankit(),
    )


def check_fields(data: FieldData, fields: Sequence[str]) -> None:
    """Raise DataError unless ``data`` has all of ``fields``, and a label for each sample."""
    for field in fields:
        if field not in data.fields:
            has = ", ".join(data.fields)
            need = "no labels; a conditional run needs them"
            raise DataError(
                f"{data.name} has {need if field == 'label' else f'the fields {has}, not {field}'}"
            )
    if "label" in fields and isinstance(data, ImageSet):
        check_all_labelled(data)


def order_of(data: FieldData, sampler: object) -> BatchSampler | LoaderOrder | LoadedAhead:
    """The order of training: ``sampler``, its batches read ahead, or a loader's own.

    Raises ConfigError unless ``sampler`` gives indices into ``data``, or is None with a loader.
    """
    if isinstance(data, LoaderData):
        if sampler is not None:
            raise ConfigError(
                f"sampler is a {type(sampler).__name__}, but data is a DataLoader, which has an "
                "order of its own; expected none"
            )
        return data.order()
    if not isinstance(sampler, BatchSampler):
        kind = f"a {type(sampler).__module__}.{type(sampler).__name__}"
        raise ConfigError(
            f"sampler is {'None' if sampler is None else kind}; allowed is a "
            "gankit.data.BatchSampler(len(data), batch_size)"
        )
    if isinstance(data, ShardData):
        return data.order(sampler)
    if sampler.n > len(data):
        raise ConfigError(
            f"sampler is of {sampler.n} images, but data has {len(data)}; allowed are {len(data)}"
        )
    return data.order(sampler) if isinstance(data, StreamedData) else sampler


def check_callbacks(callbacks: tuple[object, ...]) -> None:
    """Raise ConfigError unless all are instances of classes that derive from Callback."""
    for callback in callbacks:
        if not isinstance(callback, Callback):
            came = (
                f"the class {callback.__name__}" if isinstance(callback, type) else repr(callback)
            )
            raise ConfigError(
                f"callbacks holds {came}; allowed are instances of classes that derive from "
                "gankit.training.Callback"
            )
