"""The evaluation of a run while it goes on: the numbers that ``gankit evaluate`` gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from gankit.data.domains import Domains
from gankit.data.image_set import ImageSet
from gankit.errors import ConfigError
from gankit.loaded import LoadedGenerator
from gankit.metrics.evaluation import check_needs, compute
from gankit.metrics.features import Extracted
from gankit.metrics.metric import Images, Inputs
from gankit.metrics.registry import metrics_named
from gankit.runs.evaluating import generate, keep, preprocessing, reads_features
from gankit.runs.features import check_features, features_for
from gankit.runs.generated import BLOCK, Planned, data_of, enough
from gankit.saved import interface_of
from gankit.training.config import RunConfig
from gankit.training.shared_work import Share
from gankit.training.trainer import Trainer
from gankit.translator import DIRECTIONS, LoadedTranslator

_BATCH_SIZE = 64
# Of the noise, that of ``gankit evaluate``: runs of other seeds are measured alike.
_SEED = 0


class RunEvaluator:
    """Measures the samples of a run of ``config``, and keeps the result in ``folder``.

    They are compared with the data that the run is trained on, neither cropped nor flipped. The
    features of the real images are computed once. Of many processes each makes its share of the
    images and of their features; the metrics of them are rank 0's.

    Raises ConfigError for a metric or features that there are not.
    """

    def __init__(self, config: RunConfig, folder: Path) -> None:
        metrics_named(config.evaluate)
        check_features(config.evaluate_features)
        self.config, self.folder = config, folder
        self._real: Images | None = None

    def prepare(self, trainer: Trainer, share: Share) -> None:
        """Fit or load the features, and look whether the metrics fit the run."""
        data = trainer.data
        if isinstance(data, Domains) and (data.crop_size is not None or data.flip):
            data = data_of(self.config).to(data.device)
        self._data = enough(data)
        some = self._planned(trainer, 8).generated()
        self._extractor = None
        if reads_features(self.config.evaluate):
            features = self.config.evaluate_features
            self._extractor = share.one_by_one(lambda: features_for(features, some.targets))
            # Another processor may have fitted another classifier.
            share.same_weights(self._extractor.network)
        device = trainer.data.device
        images, real = (self._images(each, device) for each in (some.images, some.targets))
        inputs = Inputs(images, real, _SEED, some.generator, some.paired)
        check_needs(metrics_named(self.config.evaluate), inputs)

    def __call__(self, trainer: Trainer, share: Share) -> Mapping[str, float]:
        planned = self._planned(trainer, self.config.evaluate_n)
        device = trainer.data.device
        if planned.paired:  # as many targets as images
            real = self._images(
                planned.targets, device, self._shared(planned.targets, device, share)
            )
        else:
            if self._real is None:
                extracted = self._shared(planned.targets, device, share)
                self._real = self._images(planned.targets, device, extracted)
            real = self._real

        def block(images: Tensor) -> tuple[Tensor, Extracted | None]:
            return images, self._features(images, device)

        with share.buffers_of_first(trainer.gan_step):
            blocks = share.gathered(
                planned.blocks, lambda numbers: [*map(block, planned.make(numbers))]
            )

        def measured() -> Mapping[str, float]:
            made = planned.generated(images for images, _ in blocks)
            images = self._images(made.images, device, _whole(found for _, found in blocks))
            result = compute(
                self.config.evaluate,
                Inputs(images, real, _SEED, made.generator, made.paired),
                generated=made.name,
                real=made.targets.name,
                preprocessing=preprocessing(made, self._extractor),
                step=trainer.step,
            )
            keep(self.folder, result)
            return result.values

        return share.of_first(measured)

    def _planned(self, trainer: Trainer, n: int | None) -> Planned:
        return generate(_module(trainer), self._data, str(self.folder), n, _SEED, None)

    def _images(
        self, data: ImageSet, device: torch.device, extracted: Extracted | None = None
    ) -> Images:
        return Images(
            data, self._extractor, batch_size=_BATCH_SIZE, device=device, extracted=extracted
        )

    def _shared(self, data: ImageSet, device: torch.device, share: Share) -> Extracted | None:
        """The features of ``data`` in rank 0, where a metric reads them."""
        if self._extractor is None:
            return None
        images, blocks = Images(data), torch.arange(len(data)).split(BLOCK)

        def work(numbers: range) -> list[Extracted | None]:
            return [self._features(images.part(blocks[number]), device) for number in numbers]

        return _whole(share.gathered(len(blocks), work))

    def _features(self, images: Tensor, device: torch.device) -> Extracted | None:
        if self._extractor is None:
            return None
        return self._extractor(images.split(_BATCH_SIZE), device=device)


def _whole(parts: Iterable[Extracted | None]) -> Extracted | None:
    """The features of all parts; None where there are none."""
    found = [part for part in parts if part is not None]
    if not found:
        return None
    logits = [part.logits for part in found if part.logits is not None]
    return Extracted(
        torch.cat([part.features for part in found]), torch.cat(logits) if logits else None
    )


def _module(trainer: Trainer) -> LoadedGenerator | LoadedTranslator:
    """The networks that the run would be used as if it ended now."""
    step = trainer.gan_step
    keys = step.inference_keys
    if keys.keys() <= set(DIRECTIONS):
        networks = {way: step.get_submodule(key) for way, key in keys.items()}
        shapes = {domain: tuple(trainer.data.fields[domain]) for domain in "ab"}
        return LoadedTranslator(networks, shapes, trainer.step)
    if "domains" in keys:
        raise ConfigError(
            f"evaluate is for runs of one or two domains, and {type(step).__name__} has "
            f"{len(step.interface['domains'])}; allowed is []"
        )
    if "image_shape" not in trainer.config or trainer.config["image_shape"] is None:
        raise ConfigError(
            f"evaluate is for runs that make images; {type(step).__name__} makes "
            f"{' and '.join(keys)}"
        )
    G = step.inference()
    return LoadedGenerator(G, interface_of(G, trainer.config, trainer.step, Path("the run")))
