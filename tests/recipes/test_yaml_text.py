"""The one reader and writer of settings: YAML 1.2's plain values, and nothing without an end."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit.errors import ConfigError
from gankit.runs import yaml_text
from gankit.runs.settings import changed, configured, read_yaml, write_yaml, written
from gankit.training.config import RunConfig


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1e1", 10.0),
        ("3E-1", 0.3),
        ("+1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.5e-3", -0.0005),
        ("12", 12),
        ("-7", -7),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0b11", "0b11"),
        ("0o8", "0o8"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("nan", "nan"),
        ("y", "y"),
        ("=", "="),
        ("'1e-4'", "1e-4"),
        ("'no'", "no"),
        ("!!float 1", 1.0),
        ("!!str 1", "1"),
        ("[1e-4, {a: 1e1}]", [1e-4, {"a": 10.0}]),
        ("{a: &h [8, 1e0], b: *h}", {"a": [8, 1.0], "b": [8, 1.0]}),
        ("{<<: {a: 1, b: 1}, b: 2}", {"a": 1, "b": 2}),
        ("{b: 2, <<: [{a: 1}, {a: 3, c: 4}]}", {"a": 1, "b": 2, "c": 4}),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    found = yaml_text.read(text, "it")
    assert found == value
    assert type(found) is type(value)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9" * 5000, "has a number of 5,000 characters in line 1"),
        (f"lr: 1e{'9' * 5000}", "has a number of 5,002 characters in line 1"),
        (f"lr: {'[' * 5000}{']' * 5000}", "is nested deeper than 32 levels"),
        ("- " * 5000, "is nested deeper than 32 levels"),
        (LAUGHS, "holds more than 10,000 values, with what its aliases repeat"),
        (MERGES, "holds more than 10,000 values, with what its aliases repeat"),
        (f"[{'1,' * 20_000}]", "holds more than 10,000 values"),
        ("x" * 100_001, "is longer than 100,000 characters"),
        ("&a [1, *a]", "holds itself, by the alias in line 1"),
        ("*nobody", "is not YAML: found undefined alias 'nobody' in line 1"),
        ("lr: 1\nlr: 2", "has 'lr' twice, again in line 2"),
        ("a: {b: 1, b: 1}", "has 'b' twice, again in line 1"),
        ("[a]: 1", "has a list or mapping as a key in line 1"),
        ("<<: 1", "has << with no mapping in line 1"),
        ("!!python/object/apply:os.system [ls]", "has the tag '!!python/object/apply:os.system'"),
        ("!own 1", "has the tag '!own' in line 1; allowed are plain values"),
        ("!!binary aGk=", "has the tag '!!binary'"),
        ("!!set {a}", "has the tag '!!set'"),
        ("!!int abc", "has !!int 'abc' in line 1"),
        ("a: yes", "has yes in line 1, which YAML 1.1 takes for a bool"),
        ("a: Off", "has Off in line 1"),
        ("a:\n\tb: 1", "is not YAML: found character '\\t' that cannot start any token in line 2"),
        ("a: b: c", "is not YAML: mapping values are not allowed here in line 1"),
        ("--- 1\n--- 2", "is not YAML: but found another document in line 2"),
        ("a: [", "is not YAML: "),
        ("\0", "is not YAML: unacceptable character"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_refused_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yaml_text.read(text, "it")
    sentence = str(caught.value)
    assert sentence.startswith("it ")
    assert words in sentence
    assert len(sentence) < 200
    assert "\n" not in sentence


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=())),
    st.sampled_from(["1e-4", "no", "2024-01-01", "1:30", "0o17", "1_0", "", "~", "<<", "\x85"]),
)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
        max_size=4,
    )
)
def test_what_is_written_is_read_as_the_same(values: dict[str, Any]) -> None:
    text = yaml_text.write(values)
    text.encode()
    found = yaml_text.read(text, "it")
    assert found == values
    assert repr(found) == repr(values)


def test_a_config_of_every_kind_of_text_is_read_as_the_same(tmp_path: Path) -> None:
    shared = [16, 8]
    config = RunConfig(
        data_root=os.fsdecode(b"data \xff"),
        generator={"class_path": "my.G", "init_args": {"hidden": shared, "rate": 1e-5}},
        discriminator={"class_path": "my.D", "init_args": {"hidden": shared, "day": "2024-01-01"}},
        callbacks=({"class_path": "my.C", "init_args": {"name": "1e-4", "kind": "no"}},),
        lr=1e-8,
    )
    path = tmp_path / "config.yaml"
    path.write_bytes(write_yaml(config))
    assert RunConfig(**read_yaml(path)) == config
    # Who reads it by YAML 1.1, as PyYAML alone does, reads the same.
    assert yaml.safe_load(path.read_bytes()) == config.as_dict()
    for name in ("1e-4", "null", "true", "[1]", "0x10", "2024"):
        path.write_text(yaml_text.write({"data_root": name}))
        assert read_yaml(path) == {"data_root": name}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no settings"),
        (b"# nothing\n", "holds no settings"),
        (b"- recipe\n", "holds no settings"),
        (b"gan", "holds no settings"),
        (b"1: 2\n", "holds no settings"),
        ("recipe: gan # é".encode("latin-1"), "is not a YAML file: it is not text in UTF-8"),
        ("recipe: gan".encode("utf-16"), "is not a YAML file: it is not text in UTF-8"),
        (bytes(range(256)), "is not"),
        (b"hidden: [3]", "did you mean hidden in the init_args of generator or hidden in the"),
        (b"learning_rate: 3", "did you mean lr?"),
        (b"seed: 99999999999999999999999999999999999999", "seed is"),
        (b"grid_rows: 99999999999999999999999999999999999999", "grid_rows is"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_files_that_are_refused_in_one_sentence(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        configured(RunConfig(), read_yaml(path), str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_setting(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufefflr: 1e-3\r\nbatch_size: 6\r\n".encode())
    assert read_yaml(path) == {"lr": 0.001, "batch_size": 6}


def test_set_is_read_as_a_file_is() -> None:
    with pytest.raises(ConfigError, match="is nested deeper"):
        written([f"generator.hidden={'[' * 999}"])
    config = RunConfig(generator={"class_path": "my.G", "init_args": {"a": 1}})
    texts = ["generator.rate=1e-4", "generator.init_args={a: 2e0, b: c}"]
    found = changed(config, written(texts), "--set").generator
    assert isinstance(found, dict)
    assert found["init_args"] == {"a": 2.0, "b": "c", "rate": 1e-4}
