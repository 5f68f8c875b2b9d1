"""How many classes of the data generated images show, by a classifier fitted to the data."""

from __future__ import annotations

from gankit.metrics.metric import Inputs, Metric, Value


def _compute(inputs: Inputs) -> dict[str, float]:
    classifier = inputs.extractor.classifier
    logits = inputs.generated.extracted.logits
    assert classifier is not None
    assert logits is not None
    found = classifier.coverage(logits.softmax(dim=1))
    return {
        "classes_found": float(found.classes_found),
        "confidence": found.median_confidence,
    }


METRIC = Metric(
    "classes",
    "classes found, each in 1 % of the images or more, and the classifier's median confidence",
    {
        "classes_found": Value("classes found", higher_is_better=True),
        "confidence": Value("median confidence", higher_is_better=True),
    },
    _compute,
    frozenset({"features", "classes"}),
)
