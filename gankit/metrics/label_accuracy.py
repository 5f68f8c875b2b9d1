"""Whether a conditional generator draws the class that it is asked for."""

from __future__ import annotations

import torch

from gankit.metrics.metric import Inputs, Metric, Value


def _compute(inputs: Inputs) -> dict[str, float]:
    labels, logits = inputs.generated.labels, inputs.generated.extracted.logits
    classifier = inputs.extractor.classifier
    assert labels is not None
    assert logits is not None
    assert classifier is not None
    predicted = torch.tensor(classifier.classes)[logits.argmax(dim=1)]
    return {"label_accuracy": float((predicted == labels).double().mean())}


METRIC = Metric(
    "label_accuracy",
    "share of generated images that the classifier gives the label they were drawn for",
    {"label_accuracy": Value("label accuracy", higher_is_better=True)},
    _compute,
    frozenset({"features", "classes", "labels"}),
)
