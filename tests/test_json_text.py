"""JSON of gankit is JSON: no infinity and no NaN, in any place."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from gankit.json_text import as_number, json_text, plain, text_values
from gankit.metrics import Evaluation


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=pytest.fail)


def test_what_json_lacks_is_a_text() -> None:
    value = {"a": math.inf, "b": [1, (-math.inf, math.nan)], "c": {"d": None, 4: True}, "e": "inf"}
    expected = {"a": "Infinity", "b": [1, ["-Infinity", "NaN"]], "c": {"d": None, "4": True}}
    assert strict(json_text(value)) == {**expected, "e": "inf"} == plain(value)
    assert json_text({"b": 1, "a": 2.5}, sort_keys=True) == '{"a": 2.5, "b": 1}'
    with pytest.raises(TypeError):
        json_text({"a": object()})


def test_numbers_are_read_back() -> None:
    for value in (math.inf, -math.inf, 0.1, 3, 1e-300):
        assert as_number(strict(json_text(value))) == value
    assert math.isnan(as_number(strict(json_text(math.nan))) or 0)
    for other in ("3", "inf", None, True, [1.0], {}):
        assert as_number(other) is None


def test_metadata_are_texts() -> None:
    found = text_values({"name": "a", "range": [-math.inf, 1.0], "classes": None, "step": 3})
    assert found == {"name": "a", "range": '["-Infinity", 1.0]', "step": "3"}


def test_a_result_is_json() -> None:
    values = {"psnr": math.inf, "fid": math.nan, "ssim": 1.0}
    result = Evaluation(values, "run", "digits", 4, 4, None, None, "uint8", 0, {"a": (1, 2)})
    found = result.as_dict()
    assert strict(json.dumps(found)) == found
    assert found["values"] == {"psnr": "Infinity", "fid": "NaN", "ssim": 1.0}
    assert found["settings"] == {"a": [1, 2]}
    assert "psnr  inf" in str(result)
