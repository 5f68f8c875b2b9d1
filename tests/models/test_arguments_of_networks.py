"""A setting of the wrong type is refused by its name, in every network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gankit.errors import ConfigError
from gankit.models import dcgan, mlp, progan, stargan


@pytest.mark.parametrize("value", ["abc", "64", 64.5, True])
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("z_dim", lambda v: mlp.Generator(z_dim=v)),
        ("width", lambda v: dcgan.Discriminator(width=v)),
        ("in_channels", lambda v: stargan.Generator(3, in_channels=v)),
        ("width", lambda v: stargan.Generator(3, width=v)),
        ("z_dim", lambda v: progan.Generator(z_dim=v)),
    ],
)
def test_what_is_no_integer_is_refused(
    name: str, build: Callable[[Any], object], value: Any
) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be an integer, got "):
        build(value)


@pytest.mark.parametrize("value", ["abc", True])
@pytest.mark.parametrize("name", ["dropout", "negative_slope"])
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a number, got "):
        mlp.Discriminator(**{name: value})
