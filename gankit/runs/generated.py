"""The images that are evaluated: drawn or translated by a run, or read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import data as gankit_data
from gankit.data import FieldData, ImageData, PairData
from gankit.data.domains import Domains
from gankit.data.file_set import ImageSize
from gankit.data.image_set import UNLABELLED, ImageSet
from gankit.data.shards import ShardData
from gankit.errors import ConfigError
from gankit.loaded import LoadedGenerator
from gankit.metrics.metric import LatentGenerator
from gankit.runs.build import load_data
from gankit.runs.component import is_import_path, split_spec
from gankit.runs.trust import check_own
from gankit.saved import SavedRun
from gankit.training.config import RunConfig
from gankit.training.pictures import generate_batches, to_bytes
from gankit.training.point_pictures import are_points
from gankit.training.seeds import stream
from gankit.translator import LoadedTranslator

# As many as the field's numbers are of, where the data are not fewer.
MOST_IMAGES = 50_000
# Images that a generator makes at a time; the noise of some generators depends on it.
BLOCK = 256


@dataclass(frozen=True)
class Planned:
    """Images that a run is to make, in blocks that do not depend on each other.

    ``make`` gives the blocks of some numbers, uint8 ``[B, C, H, W]``, one after the other; all in
    their order are ``n`` images. The rest is as for ``Generated``.
    """

    n: int
    make: Callable[[range], Iterator[Tensor]]
    name: str
    targets: ImageSet
    labels: Tensor | None = None
    generator: LatentGenerator | None = None
    paired: bool = False

    @property
    def blocks(self) -> int:
        """How many there are."""
        return -(-self.n // BLOCK)

    def generated(self, blocks: Iterable[Tensor] | None = None) -> Generated:
        """The images, of all ``blocks`` where they are made already."""
        found = torch.cat(list(self.make(range(self.blocks)) if blocks is None else blocks))
        images = ImageData(found, self.labels, self.name)
        return Generated(images, self.name, self.targets, self.generator, self.paired)


@dataclass(frozen=True)
class Generated:
    """Generated images, what they are in words, and their generator where it makes them of noise.

    ``targets`` are the real images they are compared with; ``paired`` says whether the i-th of them
    is the target of the i-th generated one.
    """

    images: ImageData
    name: str
    targets: ImageSet
    generator: LatentGenerator | None = None
    paired: bool = False


def real_images(data: FieldData) -> ImageSet:
    """``data``. Raises ConfigError unless it is a set of single images."""
    if not isinstance(data, ImageSet) or are_points(data.shape):
        what = "points" if isinstance(data, ImageSet) else f"the fields {', '.join(data.fields)}"
        raise ConfigError(f"{data.name} has {what}; expected single images")
    return data


def sampled(G: LoadedGenerator, real: ImageSet, *, n: int, seed: int, name: str) -> Planned:
    """``n`` images of ``G``, rounded to bytes; for classes as often as they occur in ``real``.

    Those of a generator that still grows are enlarged to the size of the real ones, so that the
    numbers of one run are of one size.
    """
    if G.z_distribution is None:
        raise ConfigError(
            f"{name} is an autoencoder without a distribution of codes to draw from, so there are "
            "no samples to evaluate"
        )
    if are_points(G.image_shape):
        raise ConfigError(f"{name} makes points; expected a run of images")
    labels = _labels(G, real, n, seed)
    distribution = G.z_distribution

    def make(numbers: range) -> Iterator[Tensor]:
        batches = generate_batches(
            *(G.network, n),
            seed=seed,
            distribution=distribution,
            batch=BLOCK,
            labels=labels,
            numbers=numbers,
        )
        shaped = (batch.reshape(-1, *G.image_shape) for batch in batches)
        if hasattr(G.network, "current_shape"):
            shaped = (F.interpolate(batch, size=real.shape[1:]) for batch in shaped)
        return map(to_bytes, shaped)

    latent = LatentGenerator(G.network, G.z_dim, G.z_distribution, G.image_shape, G.n_classes)
    return Planned(n, make, name, real, labels, latent)


def _labels(G: LoadedGenerator, real: ImageSet, n: int, seed: int) -> Tensor | None:
    """Labels of real images in random order, each as often as any other, or one more time."""
    if G.n_classes is None:
        return None
    known = torch.empty(0) if real.labels is None else real.labels.cpu()
    known = known[(known != UNLABELLED) & (known < G.n_classes)]
    if not len(known):
        return G.interface.labels(n)
    order = torch.randperm(len(known), generator=stream(seed, "labels to evaluate"))
    return known[order[torch.arange(n) % len(known)]]


def translated(
    translator: LoadedTranslator,
    direction: str,
    data: FieldData,
    *,
    n: int | None,
    seed: int,
    name: str,
) -> Planned:
    """The first ``n`` images of one domain of ``data`` in the other, beside those of the other."""
    if not isinstance(data, Domains):
        raise ConfigError(f"{data.name} has the fields {', '.join(data.fields)}; expected a and b")
    source, target = (getattr(data, domain) for domain in direction.split("2"))
    given = source.normalized()[:n]

    def make(numbers: range) -> Iterator[Tensor]:
        blocks = given.split(BLOCK)
        return (
            to_bytes(translator.translate(blocks[number], direction, seed=seed))
            for number in numbers
        )

    paired = isinstance(data, PairData)
    targets = ImageData(target.images[: len(given)] if paired else target.images, name=target.name)
    return Planned(len(given), make, f"{name}, {direction}", targets, paired=paired)


@dataclass(frozen=True)
class RealData:
    """Which real images generated ones are compared with; what is None is the run's.

    Args:
        name: a data set, or a folder of images.
        split: ``"train"``, ``"test"`` or ``"all"``.
        image_size: height and width to which they are resized.
        root: folder of downloaded data sets.
    """

    name: str | None = None
    split: str | None = None
    image_size: int | None = None
    root: str | None = None

    def load(self) -> FieldData:
        """The set of that name, which is given."""
        assert self.name is not None
        return enough(named(self.name, self.split or "train", self.image_size, self.root))

    def of_run(self, saved: SavedRun) -> FieldData:
        """The set of that name, or that of the run, at the size of the run's images.

        Images are neither cropped nor flipped at random. Raises ConfigError if the run names code
        that is not gankit's and is not trusted.
        """
        config = saved.config
        kind = split_spec("data", config.data)[0]
        if self.name is None and is_import_path(kind) and not config.trusted:
            check_own(str(saved.path), "data", config.data)
        root = config.data_root if self.root is None else self.root
        if self.name is not None:
            size = _size(saved) if self.image_size is None else self.image_size
            return enough(named(self.name, self.split or "train", size, root))
        return enough(data_of(config.updated(data_root=root), self.split, self.image_size))


def enough(data: FieldData) -> FieldData:
    """``data``, or of a set that holds few of its images at hand, one that holds more."""
    return data.holding(MOST_IMAGES) if isinstance(data, ShardData) else data


def _size(saved: SavedRun) -> ImageSize:
    """Height and width of what a run makes, which its data may have chosen."""
    module = saved.module
    if not isinstance(module, LoadedGenerator) or are_points(module.image_shape):
        return saved.config.image_size
    # Of a generator that grows, that of the end.
    height, width = saved.description["image_shape"][1:]
    return height if height == width else (height, width)


def data_of(
    config: RunConfig, split: str | None = None, image_size: int | None = None
) -> FieldData:
    """The data of a run, neither cropped nor flipped at random, or other ones of that name.

    Raises ConfigError if they are a callable that takes no such argument.
    """
    kind, arguments = split_spec("data", config.data)
    others = {"split": split, "image_size": image_size}
    arguments |= {name: value for name, value in others.items() if value is not None}
    if kind.startswith(("pairs:", "unpaired:")):
        arguments["augment"] = False
    data = {"class_path": kind, "init_args": arguments}
    return load_data(config.updated(data=data, flip=None))


def named(name: str, split: str, image_size: ImageSize, root: str | None) -> FieldData:
    """The images of a folder, or of a data set by its name."""
    if ":" not in name and Path(name).is_dir():
        name = f"folder:{name}"
    return gankit_data.load(name, image_size=image_size, split=split, root=root)


def picked(images: ImageSet, n: int | None, seed: int) -> ImageData:
    """``n`` of the images, drawn at random where there are more, all of them where n is None."""
    count = len(images)
    if n is not None and n > count:
        raise ConfigError(f"n is {n}; allowed for {images.name} are 1 to {count}, all its images")
    chosen = torch.arange(count)
    if n is not None and n < count:
        random = stream(seed, "images to evaluate")
        chosen = torch.randperm(count, generator=random)[:n].sort().values
    labels = None if images.labels is None else images.labels.cpu()[chosen]
    parts = [to_bytes(images.gather(part).cpu()) for part in chosen.split(BLOCK)]
    return ImageData(torch.cat(parts), labels, images.name)
