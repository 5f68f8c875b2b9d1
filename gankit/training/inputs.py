"""What a ``Trainer`` is given, checked before a run begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from gankit.data import BatchSampler, FieldData, ImageData
from gankit.data.labelled import check_all_labelled
from gankit.errors import ConfigError, DataError
from gankit.training.callbacks import Callback


def as_data(data: Any, device: torch.device) -> FieldData:
    """``data`` as a set on ``device``; of a tensor of images one is made.

    Raises ConfigError, with the way out, for what is neither, and for a set on another device;
    DataError for a tensor that holds no images.
    """
    if isinstance(data, Tensor):
        return ImageData.from_tensor(data).to(device)
    if not isinstance(data, FieldData):
        way = "; ImageData.from_tensor makes one of a tensor"
        if isinstance(data, TensorDataset):
            way = ": ImageData.from_tensor(*data.tensors) makes one of its tensors"
        elif isinstance(data, DataLoader):
            way = (
                ": ImageData.from_tensor(torch.cat([images for images, _ in data])) makes one of a "
                "loader whose images lie in [-1, 1] and fit into memory together"
            )
        elif isinstance(data, Dataset):
            way = (
                ": ImageData.from_tensor(torch.stack([image for image, _ in data])) makes one of a "
                "Dataset whose images are tensors in [-1, 1] and fit into memory together"
            )
        raise ConfigError(
            f"data is a {type(data).__name__}; allowed are a gankit.data.ImageData and a tensor of "
            f"images [N, C, H, W], uint8 or floats in [-1, 1]{way}"
        )
    if data.device.type != device.type:
        raise ConfigError(
            f"data is on {data.device}, but D is on {device}; allowed is one device, such as by "
            f"data.to('{device}')"
        )
    return data


def check_fields(data: FieldData, fields: Sequence[str]) -> None:
    """Raise DataError unless ``data`` has all of ``fields``, and a label for each sample."""
    for field in fields:
        if field not in data.fields:
            has = ", ".join(data.fields)
            need = "no labels; a conditional run needs them"
            raise DataError(
                f"{data.name} has {need if field == 'label' else f'the fields {has}, not {field}'}"
            )
    if "label" in fields and isinstance(data, ImageData):
        check_all_labelled(data)


def check_sampler(sampler: object, n: int) -> None:
    """Raise ConfigError unless ``sampler`` gives indices into ``n`` images."""
    if not isinstance(sampler, BatchSampler):
        raise ConfigError(
            f"sampler is a {type(sampler).__module__}.{type(sampler).__name__}; allowed is a "
            "gankit.data.BatchSampler(len(data), batch_size)"
        )
    if sampler.n > n:
        raise ConfigError(f"sampler is of {sampler.n} images, but data has {n}; allowed are {n}")


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
