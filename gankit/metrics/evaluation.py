"""What generated images are worth, as numbers that say how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gankit._version import __version__
from gankit.errors import ConfigError
from gankit.json_text import plain
from gankit.metrics.metric import Inputs, Metric
from gankit.metrics.registry import METRICS, metrics_named

__all__ = ["Evaluation", "check_needs", "compute"]

_PACKAGES = ("torch", "torch-fidelity", "torchmetrics", "numpy")
_MISSING = {
    "generator": "a generator that makes images out of noise, which is {what}",
    "labels": "images drawn for labels, which is what a conditional run makes",
    "pairs": "images with a target each, which is what a run on paired data makes",
    "logits": "the logits of a classifier, which features {features} have not",
    "classes": "features small, a classifier of the data's own classes; they are {features}",
}


@dataclass(frozen=True)
class Evaluation:
    """Values of metrics, and the protocol that another number must share to be compared with them.

    Args:
        values: by the names of ``Metric.values``.
        generated: what the generated images are, in words.
        real: what they are compared with.
        n_generated, n_real: how many images there were of each.
        features: name of the feature extractor, or None where no metric needs one.
        features_hash: of its layers, code, preprocessing and weights (``FeatureExtractor.hash``).
        preprocessing: what becomes of an image before it is compared.
        seed: of the noise, and of the metrics' own random numbers.
        settings: of the metrics, such as the size of KID's subsets.
        versions: of the packages that computed the values.
        step: of training, where a run was evaluated.
    """

    values: Mapping[str, float]
    generated: str
    real: str
    n_generated: int
    n_real: int
    features: str | None
    features_hash: str | None
    preprocessing: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    step: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """What JSON has: a number that it lacks is a text, as ``"Infinity"``."""
        found: dict[str, Any] = plain(asdict(self))
        return found

    def __str__(self) -> str:
        width = max(map(len, self.values))
        lines = [f"{name:{width}}  {_number(value)}" for name, value in self.values.items()]
        step = "" if self.step is None else f" at step {self.step}"
        lines += [
            f"{self.n_generated:,} generated images, {self.generated}{step}",
            f"{self.n_real:,} real images, {self.real}",
        ]
        if self.features is not None:
            lines.append(f"features: {self.features} {self.features_hash}")
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        versions = ", ".join(f"{name} {value}" for name, value in self.versions.items())
        lines += [f"images: {self.preprocessing}", f"seed {self.seed}", settings, versions]
        return "\n".join(filter(None, lines))


def _number(value: float) -> str:
    # The PSNR of an image that equals its target is infinite.
    return f"{value:.0f}" if abs(value) < 1e15 and value == int(value) else f"{value:.6g}"


def check_needs(metrics: Sequence[Metric], inputs: Inputs) -> None:
    """Raise ConfigError naming the first metric that these inputs do not serve."""
    extractor = inputs.generated.extractor
    has = {
        "features": extractor is not None,
        "logits": extractor is not None and extractor.has_logits,
        "classes": extractor is not None and extractor.classifier is not None,
        "labels": inputs.generated.labels is not None,
        "pairs": inputs.paired,
        "generator": inputs.generator is not None,
    }
    for metric in metrics:
        for need in sorted(metric.needs):
            if not has[need]:
                what = "not what is evaluated"
                name = None if extractor is None else extractor.name
                words = _MISSING[need].format(what=what, features=name)
                raise ConfigError(f"{metric.name} needs {words}")


def compute(
    names: Sequence[str],
    inputs: Inputs,
    *,
    generated: str,
    real: str,
    preprocessing: str,
    step: int | None = None,
) -> Evaluation:
    """The metrics ``names`` of ``inputs``; ``generated``, ``real`` and ``preprocessing`` in words.

    Global random states are left as they were.

    Raises:
        ConfigError: a name that there is not, or a metric that these images do not serve.
        MissingExtra: torch-fidelity or torchmetrics is not installed.
    """
    metrics = metrics_named(names)
    check_needs(metrics, inputs)
    values: dict[str, float] = {}
    settings: dict[str, Any] = {}
    for metric in metrics:
        values |= metric.compute(inputs)
        settings |= metric.settings(inputs)
    extractor = inputs.generated.extractor
    used = extractor is not None and any(_reads_features(name) for name in names)
    if used and extractor is not None and extractor.classifier is not None:
        settings["classifier_accuracy"] = round(extractor.classifier.accuracy, 4)
    return Evaluation(
        values=values,
        generated=generated,
        real=real,
        n_generated=len(inputs.generated),
        n_real=len(inputs.real),
        features=extractor.name if used and extractor is not None else None,
        features_hash=extractor.hash if used and extractor is not None else None,
        preprocessing=preprocessing,
        seed=inputs.seed,
        settings=settings,
        versions={"gankit": __version__, **_versions()},
        step=step,
    )


def _reads_features(name: str) -> bool:
    return name == "ppl" or "features" in METRICS[name].needs


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
