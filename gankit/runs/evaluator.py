"""The evaluation of a run while it goes on: the numbers that ``gankit evaluate`` gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from gankit.data.domains import Domains
from gankit.data.image_set import ImageSet
from gankit.errors import ConfigError
from gankit.loaded import LoadedGenerator
from gankit.metrics.evaluation import check_needs, compute
from gankit.metrics.metric import Images, Inputs
from gankit.metrics.registry import metrics_named
from gankit.runs.evaluating import generate, keep, preprocessing, reads_features
from gankit.runs.features import check_features, features_for
from gankit.runs.generated import Generated, data_of, enough
from gankit.saved import interface_of
from gankit.training.config import RunConfig
from gankit.training.trainer import Trainer
from gankit.translator import DIRECTIONS, LoadedTranslator

_BATCH_SIZE = 64
# Of the noise, that of ``gankit evaluate``: runs of other seeds are measured alike.
_SEED = 0


class RunEvaluator:
    """Measures the samples of a run of ``config``, and keeps the result in ``folder``.

    They are compared with the data that the run is trained on, neither cropped nor flipped. The
    features of the real images are computed once.

    Raises ConfigError for a metric or features that there are not.
    """

    def __init__(self, config: RunConfig, folder: Path) -> None:
        metrics_named(config.evaluate)
        check_features(config.evaluate_features)
        self.config, self.folder = config, folder

    def prepare(self, trainer: Trainer) -> None:
        """Fit or load the features, and look whether the metrics fit the run."""
        data = trainer.data
        if isinstance(data, Domains) and (data.crop_size is not None or data.flip):
            data = data_of(self.config).to(data.device)
        self._data = enough(data)
        some = self._generated(trainer, 8)
        features = self.config.evaluate_features
        reads = reads_features(self.config.evaluate)
        self._extractor = features_for(features, some.targets) if reads else None
        self._real = self._images(some.targets, trainer.data.device)
        check_needs(metrics_named(self.config.evaluate), self._inputs(some, trainer))

    def __call__(self, trainer: Trainer) -> Mapping[str, float]:
        made = self._generated(trainer, self.config.evaluate_n)
        result = compute(
            self.config.evaluate,
            self._inputs(made, trainer),
            generated=made.name,
            real=made.targets.name,
            preprocessing=preprocessing(made, self._extractor),
            step=trainer.step,
        )
        keep(self.folder, result)
        return result.values

    def _generated(self, trainer: Trainer, n: int | None) -> Generated:
        return generate(_module(trainer), self._data, str(self.folder), n, _SEED, None)

    def _images(self, data: ImageSet, device: torch.device) -> Images:
        return Images(data, self._extractor, batch_size=_BATCH_SIZE, device=device)

    def _inputs(self, made: Generated, trainer: Trainer) -> Inputs:
        images = self._images(made.images, trainer.data.device)
        if made.paired:  # as many targets as images
            real = self._images(made.targets, trainer.data.device)
        else:
            real = self._real
        return Inputs(images, real, _SEED, made.generator, made.paired)


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
