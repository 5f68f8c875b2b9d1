"""What is found out about G and D before a run starts, and that looking changes nothing."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss
from gankit.nn.inference import eval_mode
from gankit.training import GANStep, gan_adam
from tests.training.nets import SHAPE, Z_DIM, small_discriminator, small_generator


class Net(nn.Module):
    """A network whose forward is ``code``."""

    def __init__(self, code: Callable[[Any, Tensor], Any], width: int = 36) -> None:
        super().__init__()
        self.z_dim = Z_DIM
        self.layer = nn.Linear(width, 1)
        self.register_buffer("seen", torch.zeros(()))
        self.code = code

    def forward(self, x: Tensor) -> Any:
        return self.code(self, x)


def scores(net: Any, x: Tensor) -> Tensor:
    return net.layer(x.flatten(1))  # type: ignore[no-any-return]


def make_step(G: nn.Module | None = None, D: nn.Module | None = None, **settings: Any) -> GANStep:
    G, D = G or small_generator(), D or small_discriminator()
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)


def real_images() -> Tensor:
    return torch.zeros(2, *SHAPE)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (lambda net, x: (x.flatten(1), 1), r"D returned \[2, 36\] as the score in a tuple"),
        (lambda net, x: scores(net, x).mean(), r"D returned \[\] for 2 images; allowed is one"),
        (lambda net, x: x.flatten(1), r"D returned \[2, 36\] for 2 images"),
        (lambda net, x: net.layer(x), r"forward of D \(Net\) fails .*\(RuntimeError\)"),
        (lambda net, x: net.layr, r"forward of D \(Net\) fails .*'layr' \(AttributeError\)"),
    ],
)
def test_a_d_that_cannot_be_trained_is_named(code: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        make_step(D=Net(code)).dry_run(real_images())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (lambda net, z: None, "G returned a NoneType; allowed is a tensor"),
        (lambda net, z: z, r"G returned images of shape \[2, 5\].*the real ones, \[2, 1, 6, 6\]"),
        (lambda net, z: z.new_zeros(1, *SHAPE), r"G returned images of shape \[1, 1, 6, 6\]"),
        (lambda net, z: z.sum(), r"G returned images of shape \[\]"),
        (lambda net, z: z @ z, r"forward of G \(Net\) fails .*\(RuntimeError\)"),
    ],
)
def test_a_g_that_cannot_be_trained_is_named(code: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_step(G=Net(code)).dry_run(real_images())


def test_images_of_another_size_are_named_in_a_call_too() -> None:
    """A fully convolutional D would take them, and tell them apart by their size."""
    D = Net(lambda net, x: x.mean((1, 2, 3))[:, None] * net.layer.weight.sum())
    step = make_step(D=D, G=Net(lambda net, z: net.layer.weight[:1, :1].expand(len(z), 9)))
    with pytest.raises(ConfigError, match=r"G returned images of shape \[2, 9\]"):
        step(real_images())


def test_a_loss_of_many_numbers_is_named() -> None:
    def mean(real: Tensor, fake: Tensor) -> Tensor:
        return (fake - real).mean()

    for name, odd in (
        ("D", AdversarialLoss("odd", lambda real, fake: (fake - real).flatten(), torch.mean)),
        ("G", AdversarialLoss("odd", mean, lambda fake: -fake.flatten())),
    ):
        step = make_step(loss=odd)
        with pytest.raises(ConfigError, match=rf"^{name}'s loss has shape \[2\]; expected a 0-d"):
            step.dry_run(real_images())


def test_flat_fakes_of_the_right_size_are_allowed() -> None:
    flat = Net(lambda net, z: net.layer.weight.expand(len(z), 36))
    make_step(G=flat).dry_run(real_images())


def test_networks_of_another_dtype_than_the_data_are_named() -> None:
    step = make_step(small_generator().double(), Net(scores).double())
    with pytest.raises(ConfigError, match=r"real is torch\.float32, but D is torch\.float64"):
        step.dry_run(real_images())


def test_looking_changes_nothing() -> None:
    def draws(net: Any, x: Tensor) -> Tensor:
        net.seen = net.seen + 1
        net.layer.eval()
        return scores(net, x) + torch.rand(()) + random.random() + np.random.random()  # noqa: NPY002

    D = nn.Sequential(nn.BatchNorm2d(1), Net(draws))
    D[0].eval()
    D[0].train()
    step = make_step(D=D)
    before = copy.deepcopy(D.state_dict()), copy.deepcopy(step.G.state_dict())
    buffers = [id(buffer) for buffer in D.buffers()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    step.dry_run(real_images() + 0.5 * torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
    for old, new in zip(before, (D.state_dict(), step.G.state_dict()), strict=True):
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert [id(buffer) for buffer in D.buffers()] == buffers
    assert all(module.training for module in D.modules())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
    assert all(p.grad is None for p in [*D.parameters(), *step.G.parameters()])


@pytest.mark.parametrize("paired", [True, False])
def test_a_mean_over_the_batch_is_refused_in_every_call(paired: bool) -> None:
    D = Net(lambda net, x: scores(net, x).mean())
    with pytest.raises(ConfigError, match=r"D returned \[\] for \d+ images; allowed is one value"):
        make_step(D=D, paired=paired)(real_images())


@pytest.mark.parametrize("name", ["G", "D"])
def test_a_frozen_network_is_refused(name: str) -> None:
    networks = {"G": small_generator(), "D": small_discriminator()}
    networks[name].requires_grad_(False)
    with pytest.raises(ConfigError, match=rf"{name} \(\w+\) has nothing to train"):
        make_step(**networks)


def test_networks_of_two_dtypes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"G is torch\.float32, but D is torch\.float64"):
        make_step(D=small_discriminator().double())


def test_an_optimizer_that_needs_a_closure_is_refused() -> None:
    G, D = small_generator(), small_discriminator()
    lbfgs = torch.optim.LBFGS(D.parameters())
    with pytest.raises(ConfigError, match="d_optimizer is LBFGS, whose step needs a closure"):
        GANStep(G, D, gan_adam(G.parameters()), lbfgs)
    GANStep(G, D, torch.optim.SGD(G.parameters()), torch.optim.RMSprop(D.parameters()))


def test_eval_mode_gives_every_submodule_its_mode_back() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Dropout(), nn.Sequential(nn.Dropout()))
    net[1].eval()
    modes = [module.training for module in net.modules()]
    with eval_mode(net):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == modes
