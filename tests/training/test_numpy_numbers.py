"""NumPy's integers, floats and bools in arguments, and what a checkpoint makes of them."""

from __future__ import annotations

import functools
import inspect
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gankit import ops
from gankit.data import BatchSampler
from gankit.errors import ConfigError, DataError
from gankit.losses import gradient_penalty
from gankit.models import (
    autoencoder,
    conditional_mlp,
    convolutional_autoencoder,
    dcgan,
    mlp,
    semi_supervised,
)
from gankit.nn import BatchNormAct1d, ConvTransposeAct2d, LeakyReLUDropout
from gankit.scalars import is_bool, is_integer, is_number, plain
from gankit.training import Checkpoint, GANStep, Trainer, gan_adam, load_checkpoint, wgan_rmsprop
from tests.training.nets import SHAPE, small_discriminator, small_generator, small_images

INTEGERS = (np.int8, np.uint16, np.int32, np.int64)


def numpys(value: Any) -> Any:
    """``value`` with its numbers as NumPy's."""
    if isinstance(value, (bool, int)):
        return (np.bool_ if isinstance(value, bool) else np.int64)(value)
    if isinstance(value, float):
        return np.float32(value)
    return tuple(map(numpys, value)) if isinstance(value, tuple) else value


def test_what_is_a_number() -> None:
    assert all(is_integer(kind(3)) and is_number(kind(3)) for kind in (int, *INTEGERS))
    assert all(is_number(value) for value in (0.5, np.float16(0.5), np.float64(1), Fraction(1, 2)))
    for no_number in (True, np.bool_(True), "3", None, torch.tensor(3), np.array([3])):
        assert not is_integer(no_number)
        assert not is_number(no_number)
    assert not is_integer(3.0)
    assert is_bool(np.bool_(False))


def test_plain_goes_into_lists_and_dicts() -> None:
    tensor = torch.zeros(1)
    given = {np.int64(1): [np.float32(0.5), (np.bool_(True), tensor)], "a": {"b": np.uint8(2)}}
    made = plain(given)
    assert made == {1: [0.5, (True, tensor)], "a": {"b": 2}}
    assert type(next(iter(made))) is int
    assert [type(v) for v in (made[1][0], made[1][1][0], made["a"]["b"])] == [float, bool, int]
    assert made[1][1][1] is tensor


@pytest.mark.parametrize("kind", INTEGERS)
def test_a_step_takes_integers_of_any_kind(kind: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    G, D = mlp.Generator(kind(5), SHAPE, hidden=(kind(8),)), small_discriminator()
    G.z_dim = kind(5)  # as a network of one's own keeps it
    rates = np.float64(1e-3), np.float32(1e-3)
    step = GANStep(
        G, D, torch.optim.Adam(G.parameters(), rates[0]), gan_adam(D.parameters(), rates[1]),
        n_critic=kind(2), accumulate=kind(2), penalty=gradient_penalty, penalty_every=kind(2),
        ema=np.float32(0.5), clip_weights=np.float64(0.5), paired=np.bool_(False),
        eval_fakes=np.bool_(True), channels_last=np.bool_(False), from_logits=np.bool_(False),
    )  # fmt: skip
    sampler = BatchSampler(kind(40), kind(4), replacement=np.bool_(True))  # type: ignore[arg-type]
    path = tmp_path / "checkpoint.pt"
    schedule = torch.optim.lr_scheduler.MultiStepLR(step.g_optimizer, [kind(1), kind(2)])
    trainer = Trainer(
        step, small_images(), sampler, callbacks=[Checkpoint(path, every=kind(1))],
        log_every=kind(1), config={"width": kind(3)}, schedulers=[schedule],
    )  # fmt: skip
    trainer.fit(steps=kind(2))
    state = load_checkpoint(path)
    assert state["config"] == {"width": 3}
    trainer.load_state_dict(state)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("n_critic", "accumulate") for value in (True, np.bool_(1))],
        ("penalty_every", np.float64(2)),
        ("n_critic", np.int64(0)),
        ("ema", np.bool_(False)),
        ("ema", np.float32(1)),
        ("clip_weights", True),
        ("clip_weights", "0.1"),
        ("clip_weights", np.float64("inf")),
        ("paired", np.int64(1)),
        ("paired", 1),
        ("reuse_fakes", "yes"),
        ("eval_fakes", 1),
    ],
)
def test_a_bool_is_no_integer_and_a_float_no_count(name: str, value: Any) -> None:
    G, D = small_generator(), small_discriminator()
    with pytest.raises(ConfigError, match=f"{name} is .*; allowed"):
        GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **{name: value})


@pytest.mark.parametrize(
    ("n", "batch_size"), [(20.0, 4), (20, 4.0), (20, True), ("20", 4), (20, np.float64(4))]
)
def test_a_sampler_takes_integers_alone(n: Any, batch_size: Any) -> None:
    with pytest.raises(DataError, match="must be an integer"):
        BatchSampler(n, batch_size)


NETWORKS = [
    mlp.Generator,
    mlp.Discriminator,
    dcgan.Generator,
    dcgan.Discriminator,
    autoencoder.Encoder,
    autoencoder.Discriminator,
    conditional_mlp.Generator,
    conditional_mlp.Discriminator,
    convolutional_autoencoder.Generator,
    convolutional_autoencoder.Discriminator,
    semi_supervised.Discriminator,
]


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_take_numpys_numbers(network: type[nn.Module]) -> None:
    small: dict[str, Any] = {"hidden": (8,), "width": 4, "n_classes": 3, "z_dim": 5}
    given = {}
    for parameter in inspect.signature(network).parameters.values():
        value = small.get(parameter.name, parameter.default)
        if parameter.default is not None or parameter.name in small:
            given[parameter.name] = value
    torch.manual_seed(0)
    expected = network(**given)
    torch.manual_seed(0)
    found = network(**{name: numpys(value) for name, value in given.items()})
    for name, value in vars(expected).items():
        if isinstance(value, (bool, int, tuple)):
            assert getattr(found, name) == value
    assert all(type(size) is int for size in getattr(found, "image_shape", ()))
    assert type(getattr(found, "z_dim", 0)) is int
    for x, y in zip(expected.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(x, y)


def test_ops_and_layers_take_numpys_numbers() -> None:
    x, images, weight = torch.randn(8, 4), torch.randn(2, 4, 5, 5), torch.randn(4, 2, 3, 3)
    one, two, slope, seed = np.int64(1), np.int64(2), np.float32(0.25), torch.tensor([3])
    leaky = functools.partial(
        ops.batch_norm_act, x, None, None, training=True, activation="leaky_relu"
    )
    pairs = [
        (
            ops.conv_transpose2d(images, weight, None, two, (one, np.int64(0)), groups=one),
            ops.conv_transpose2d(images, weight, None, 2, (1, 0)),
        ),
        (
            ops.leaky_relu_dropout(x, slope, np.float64(0.5), seed=seed, stream=np.int64(4)),
            ops.leaky_relu_dropout(x, 0.25, 0.5, seed=seed, stream=4),
        ),
        (leaky(groups=two, negative_slope=slope), leaky(groups=2, negative_slope=0.25)),
        (ops.gan_bce(x, x, real_label=np.float32(0.5)), ops.gan_bce(x, x, real_label=0.5)),
        (ops.bce_label_smoothing(x, np.float32(0.5)), ops.bce_label_smoothing(x, 0.5)),
        (ops.grad_norm_penalty(x, target=np.float32(2)), ops.grad_norm_penalty(x, target=2.0)),
        (
            ops.interpolate(x, x + 1, seed=seed, stream=np.int64(2)),
            ops.interpolate(x, x + 1, seed=seed, stream=2),
        ),
        (LeakyReLUDropout(slope, np.float32(0))(x), LeakyReLUDropout(0.25, 0.0)(x)),
        (BatchNormAct1d(np.int64(4), eps=np.float32(0.5))(x), BatchNormAct1d(4, eps=0.5)(x)),
    ]  # fmt: skip
    for found, expected in pairs:
        torch.testing.assert_close(found, expected)
    layer = ConvTransposeAct2d(np.int64(4), np.int64(2), np.int64(3), np.int64(2), np.int64(1))  # type: ignore[arg-type]
    assert layer(images).shape == (2, 2, 9, 9)


def test_losses_take_numpys_numbers() -> None:
    D, x = nn.Linear(20, 3), torch.randn(4, 20)
    torch.manual_seed(0)
    settings: dict[str, Any] = {"weight": np.float32(2), "target": np.int64(1)}
    found = gradient_penalty(D, x, x.flip(0), select=np.int64(1), **settings)  # type: ignore[arg-type]
    torch.manual_seed(0)
    torch.testing.assert_close(found, gradient_penalty(D, x, x.flip(0), weight=2.0, select=1))
    optimizer = wgan_rmsprop(D.parameters(), lr=np.float32(0.25))
    assert type(optimizer.param_groups[0]["lr"]) is float
