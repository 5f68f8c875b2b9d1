"""Perceptual path length: how much images change along a short step in the latent space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gankit.metrics.features import to_channels
from gankit.metrics.lpips import vgg16_lpips
from gankit.metrics.metric import Inputs, LatentGenerator, Metric, Value, torch_fidelity
from gankit.nn.inference import eval_mode, seeded

_EPSILON = 1e-4
_RESIZE = 64
_PERCENTILES = (1, 99)
_UNIFORM = "gankit-uniform"
_SMALL = "gankit-features"


def _settings(inputs: Inputs) -> dict[str, Any]:
    extractor = inputs.generated.extractor
    small = extractor is not None and extractor.classifier is not None
    distance = "squared Euclidean, features" if small else f"LPIPS, images at {_RESIZE}x{_RESIZE}"
    return {"ppl_epsilon": _EPSILON, "ppl_distance": distance, "ppl_percentiles": _PERCENTILES}


def _compute(inputs: Inputs) -> dict[str, float]:
    fidelity = torch_fidelity()
    from torch_fidelity.metric_ppl import KEY_METRIC_PPL_RAW, calculate_ppl
    from torch_fidelity.registry import NOISE_SOURCE_REGISTRY, SAMPLE_SIMILARITY_REGISTRY

    assert inputs.generator is not None  # a generator is needed
    z_type = "normal" if inputs.generator.z_distribution == "normal" else _UNIFORM
    NOISE_SOURCE_REGISTRY[_UNIFORM] = _uniform
    SAMPLE_SIMILARITY_REGISTRY[_SMALL] = lambda name, **_: _similarity(inputs)
    device = torch.device(inputs.generated.device)
    network = inputs.generator.network
    try:
        with eval_mode(network), seeded(inputs.seed, device):
            model = _model(fidelity, inputs.generator, z_type, device)
            # Rounded to bytes, images a step of 1e-4 apart would mostly be one image. The
            # percentiles are taken here: those of torch-fidelity 0.4 need an argument that NumPy
            # 2.4 lacks.
            raw = calculate_ppl(
                1,
                input1=model,
                input1_model_num_samples=len(inputs.generated),
                input1_model_num_classes=model.num_classes,
                batch_size=inputs.generated.batch_size,
                cuda=device.type == "cuda",
                verbose=False,
                rng_seed=inputs.seed,
                ppl_epsilon=_EPSILON,
                ppl_sample_similarity=_SMALL,
                ppl_sample_similarity_dtype=None,
                ppl_reduction="none",
                ppl_discard_percentile_lower=None,
                ppl_discard_percentile_higher=None,
            )[KEY_METRIC_PPL_RAW]
    finally:
        del NOISE_SOURCE_REGISTRY[_UNIFORM], SAMPLE_SIMILARITY_REGISTRY[_SMALL]
    low, high = _PERCENTILES
    least = np.percentile(raw, low, method="lower")
    most = np.percentile(raw, high, method="higher")
    return {"ppl": float(raw[(least <= raw) & (raw <= most)].mean())}


def _uniform(rng: np.random.RandomState, shape: tuple[int, ...]) -> Tensor:
    """z of a run that draws it from [-1, 1)."""
    return torch.from_numpy(rng.rand(*shape) * 2 - 1).float()


def _model(
    fidelity: Any, generator: LatentGenerator, z_type: str, device: torch.device
) -> nn.Module:
    class Model(fidelity.GenerativeModelBase):
        """Images of the generator in [0, 255], floats that are not rounded."""

        z_size = generator.z_dim
        num_classes = generator.n_classes or 0

        def forward(self, *inputs: Tensor) -> Tensor:
            images = self.network(*(x.to(device) for x in inputs))
            return (images.reshape(-1, *generator.image_shape).float() + 1) * 127.5

    Model.z_type = z_type
    Model.__abstractmethods__ = frozenset()
    model: Any = Model()
    model.network = generator.network.to(device)
    return model.eval()


def _similarity(inputs: Inputs) -> nn.Module:
    """The squared distance ``[B]`` of two batches of images in [0, 255]."""
    extractor = inputs.generated.extractor
    if extractor is None or extractor.classifier is None:
        network = vgg16_lpips(_RESIZE)

        class OfColors(nn.Module):
            """LPIPS of grey images too."""

            lpips = network

            def forward(self, a: Tensor, b: Tensor) -> Tensor:
                found: Tensor = self.lpips(to_channels(a, 3), to_channels(b, 3))
                return found.flatten()

        return OfColors()
    classifier, channels = extractor.classifier, extractor.channels

    class OfFeatures(nn.Module):
        """The squared Euclidean distance of a classifier's features."""

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            first, second = (
                classifier.layers(to_channels(x, channels) / 127.5 - 1)[0] for x in (a, b)
            )
            return (first - second).square().sum(dim=1)

    extractor.network.to(inputs.generated.device)
    return OfFeatures()


METRIC = Metric(
    "ppl",
    "perceptual path length (Karras et al., 2018, arXiv 1812.04948), by torch-fidelity",
    {"ppl": Value("path length")},
    _compute,
    frozenset({"generator"}),
    _settings,
)
