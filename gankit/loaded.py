"""A generator that knows how it is sampled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from gankit._version import __version__
from gankit.errors import ConfigError, GankitWarning, outside_gankit
from gankit.json_text import text_values
from gankit.scalars import is_integer
from gankit.training.arguments import whole
from gankit.training.noise import Distribution
from gankit.training.pictures import generate


@dataclass(frozen=True)
class Interface:
    """What a program must know to sample a generator.

    ``z_distribution`` is None for the decoder of an autoencoder without a distribution of codes,
    ``n_classes`` where images have no labels, ``step`` where it was not recorded. ``classes`` are
    the labels that occurred in training, ``class_names`` the names of labels 0, 1, ... where the
    data have some.
    """

    z_dim: int
    z_distribution: Distribution | None
    image_shape: tuple[int, ...]
    n_classes: int | None = None
    classes: tuple[int, ...] = ()
    step: int | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    class_names: tuple[str, ...] = ()

    def class_name(self, label: int) -> str:
        """What class ``label`` is called: its name, or the number where it has none."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    def label_of(self, name: str) -> int:
        """The label of the class ``name``, or that number. Raises ConfigError if there is none."""
        if name in self.class_names:
            return self.class_names.index(name)
        if name.isascii() and name.isdigit():
            return int(name)
        names = ", ".join(self.class_names[:20]) + (", ..." if len(self.class_names) > 20 else "")
        raise ConfigError(
            f"label is {_short(name)}; allowed are {f'{names}, and ' if names else ''}the numbers "
            f"0 to {(self.n_classes or 1) - 1}"
        )

    def labels(
        self, n: int, label: int | str | Sequence[int] | Tensor | None = None
    ) -> Tensor | None:
        """``label`` for ``n`` images, int64 ``[n]``; by default the classes in turn.

        None where images have no labels. Raises ConfigError for labels that there are not.
        """
        if self.n_classes is None:
            if label is not None:
                raise ConfigError(f"label is {label}, but this generator is not conditional")
            return None
        if label is None:
            classes = torch.tensor(self.classes or range(self.n_classes))
            return classes[torch.arange(n) % len(classes)]
        if isinstance(label, str) and self.class_names:
            label = self.label_of(label)
        try:
            labels = torch.as_tensor(label).cpu()
        except (TypeError, ValueError, RuntimeError):
            labels = torch.empty(0)
        if labels.ndim == 0:
            labels = labels.expand(n)
        whole = not labels.is_floating_point() and labels.dtype != torch.bool
        if not whole or labels.shape != (n,) or not _within(labels, self.n_classes):
            raise ConfigError(
                f"label is {_short(label)}; allowed are an integer of 0 to {self.n_classes - 1} "
                f"and {n} of them, one for each image"
            )
        absent = sorted(set(labels.tolist()) - set(self.classes)) if self.classes else []
        if absent:
            warnings.warn(
                f"no image of class {', '.join(map(str, absent[:5]))} was in the data, so what the "
                "generator makes of it means nothing",
                GankitWarning,
                stacklevel=outside_gankit(),
            )
        return labels.long()

    def metadata(self) -> dict[str, str]:
        """The same as text, for the files of ``gankit export``; what is None is left out."""
        values: dict[str, Any] = {
            "gankit_version": __version__,
            "step": self.step,
            "z_dim": self.z_dim,
            "z_distribution": self.z_distribution,
            "n_classes": self.n_classes,
            "classes": list(self.classes) or None,
            "class_names": list(self.class_names) or None,
            "image_shape": list(self.image_shape),
            "value_range": list(self.value_range),
        }
        return text_values(values)


def _within(labels: Tensor, n_classes: int) -> bool:
    return not len(labels) or (int(labels.min()) >= 0 and int(labels.max()) < n_classes)


def _short(value: object) -> str:
    text = f"{list(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class LoadedGenerator(nn.Module):
    """What ``gankit.load`` returns: the generator of a run, in eval mode and without gradients.

    Call it as the network: ``G(z)`` with z ``[N, z_dim]``, or ``G(z, labels)`` with int64 labels
    ``[N]`` where it is conditional. ``state_dict``, parameters, layers and modes are the network's.

    Attributes:
        network: the network itself, of its own class.
        z_dim: the length of a noise vector.
        z_distribution: ``"normal"``, N(0, 1), or ``"uniform"``, U[-1, 1): what z was drawn from in
            training. None for an autoencoder without a distribution of codes.
        n_classes: labels are 0 to ``n_classes - 1``; None for a generator that takes none.
        classes: the labels that occurred in training; empty where that was not recorded.
        class_names: the names of labels 0, 1, ...; empty where the data had none.
        image_shape: ``(C, H, W)`` of an image.
        value_range: the values of the images trained on, (-1.0, 1.0); where the network's last
            layer is linear, its images may leave it by a little.
        step: how many steps the run had made; None where that was not recorded.
    """

    network: nn.Module

    def __init__(self, network: nn.Module, interface: Interface) -> None:
        super().__init__()
        # One set of parameters, buffers and layers, under the network's own names.
        for shared in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
            self.__dict__[shared] = network.__dict__[shared]
        self.__dict__["network"] = network
        self.training = network.training
        self.interface = interface
        self.z_dim: int = interface.z_dim
        self.z_distribution: Distribution | None = interface.z_distribution
        self.n_classes: int | None = interface.n_classes
        self.classes: tuple[int, ...] = interface.classes
        self.class_names: tuple[str, ...] = interface.class_names
        self.image_shape: tuple[int, ...] = interface.image_shape
        self.value_range: tuple[float, float] = interface.value_range
        self.step: int | None = interface.step

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Any:
        """What the network returns for ``z`` ``[N, z_dim]`` and, if conditional, ``labels``.

        Raises ConfigError where labels are missing, or given to a network that takes none.
        """
        if self.n_classes is None:
            if labels is not None:
                raise ConfigError("labels are given, but this generator is not conditional")
            return self.network(z)
        if labels is None:
            raise ConfigError(
                "labels are missing: this generator is conditional; call G(z, labels) with int64 "
                f"labels [N] of 0 to {self.n_classes - 1}, or G.sample(n, label=...)"
            )
        return self.network(z, labels)

    def sample(
        self,
        n: SupportsIndex,
        *,
        seed: SupportsIndex | None = None,
        label: int | str | Sequence[int] | Tensor | None = None,
        batch: int = 256,
    ) -> Tensor:
        """``n`` images, float32 ``[n, C, H, W]`` in [-1, 1] on the CPU, from z as in training.

        Neither modes nor any global random state change, but where ``seed`` is None.

        Args:
            n: how many, from 1.
            seed: decides the images. None draws it from torch's global generator: other images at
                each call.
            label: the class of all images, its number or its name; or int ``[n]``: that of each.
                None goes through the classes in turn. For a conditional generator alone.
            batch: how many images are generated at a time.

        Raises:
            ConfigError: an argument outside what is said here, or the generator is the decoder of
                an autoencoder without a distribution of codes to draw from.
        """
        if self.z_distribution is None:
            raise ConfigError(
                "this generator is the decoder of an autoencoder without a distribution of codes "
                f"to draw from; call it with codes [N, {self.z_dim}] of its encoder"
            )
        count, batch = whole("n", n), whole("batch", batch)
        if seed is not None and not is_integer(seed):
            raise ConfigError(f"seed is {seed!r}; allowed are None and integers")
        drawn = int(torch.randint(2**62, ()) if seed is None else seed)
        images = generate(
            self.network,
            count,
            seed=drawn,
            distribution=self.z_distribution,
            batch=batch,
            labels=self.interface.labels(count, label),
        )
        return images.reshape(count, *self.image_shape)

    def train(self, mode: bool = True) -> LoadedGenerator:
        """Training or eval mode of the network."""
        self.network.train(mode)
        self.training = mode
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The network's."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The network's."""
        return self.network.load_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        return (
            f"{type(self.network).__name__}, z_dim={self.z_dim}, "
            f"z_distribution={self.z_distribution!r}, n_classes={self.n_classes}, "
            f"image_shape={self.image_shape}"
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            network = self.__dict__.get("network")
            if network is None:
                raise
            return getattr(network, name)
