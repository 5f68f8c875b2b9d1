"""Batch norm, dropout and depth in every fully connected family: what each flag does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.gans.ebgan import EBGANStep
from gankit.gans.sgan import SGANStep
from gankit.models import autoencoder, conditional_mlp, mlp, semi_supervised
from gankit.training import GANStep, Noise

SHAPE, PIXELS, Z_DIM, CLASSES = (1, 2, 3), 6, 4, 3
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])

GENERATORS: dict[str, Callable[..., nn.Module]] = {
    "mlp": partial(mlp.Generator, Z_DIM, SHAPE),
    "conditional": partial(conditional_mlp.Generator, CLASSES, Z_DIM, SHAPE),
}
DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "mlp": partial(mlp.Discriminator, SHAPE, output="logit"),
    "conditional": partial(conditional_mlp.Discriminator, CLASSES, SHAPE, output="logit"),
    "semi-supervised": partial(semi_supervised.Discriminator, CLASSES, SHAPE),
    "energy": partial(autoencoder.Discriminator, SHAPE, code=2),
    "encoder": partial(autoencoder.Encoder, 2, SHAPE),
}
IN_A_GAME = [name for name in DISCRIMINATORS if name != "encoder"]


def plain(width: int, hidden: tuple[int, ...], out: int, dropout: bool) -> nn.Sequential:
    """PyTorch's own layers, in its own order."""
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(width, units), nn.BatchNorm1d(units), nn.LeakyReLU(0.2)]
        layers += [nn.Dropout(0.0)] if dropout else []
        width = units
    return nn.Sequential(*layers, nn.Linear(width, out))


def call(network: nn.Module, x: Tensor) -> Tensor:
    labels = (LABELS,) if hasattr(network, "label") else ()
    answer: Tensor = network(x, *labels)
    return answer


def beside_labels(network: nn.Module, x: Tensor) -> Tensor:
    """What the first layer of ``network`` sees of ``x``."""
    one_hot = torch.eye(CLASSES, dtype=x.dtype)[LABELS]
    return torch.cat([x, one_hot], dim=1) if hasattr(network, "label") else x


def assert_same_statistics(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, x), y in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", DISCRIMINATORS)
def test_batch_norm_is_that_of_plain_layers(family: str, training: bool) -> None:
    """The keys too: the plain layers load ours."""
    torch.manual_seed(0)
    D = DISCRIMINATORS[family](hidden=(8, 5), dropout=0.0, norm="batch").double().train(training)
    images = torch.randn(6, *SHAPE, dtype=torch.float64)
    seen = beside_labels(D, images.flatten(1))
    main = D.encoder if family == "energy" else D.main
    out = {"semi-supervised": CLASSES, "energy": 2, "encoder": 2}.get(family, 1)
    twin = plain(seen.shape[1], (8, 5), out, True).double().train(training)
    twin.load_state_dict(main.state_dict(), strict=True)
    expected: Tensor = twin(seen)
    if family == "semi-supervised":
        expected = expected.logsumexp(1, keepdim=True)
    if family == "energy":
        decoder = plain(2, (5, 8), PIXELS, False).double().train(training)
        decoder.load_state_dict(D.decoder.state_dict(), strict=True)
        expected = (decoder(expected).tanh() - seen).square().mean(1, keepdim=True)
    torch.testing.assert_close(call(D, images), expected, rtol=1e-10, atol=1e-10)
    assert_same_statistics(main, twin)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", GENERATORS)
def test_batch_norm_of_g_is_that_of_plain_layers(family: str, training: bool) -> None:
    torch.manual_seed(0)
    G = GENERATORS[family](hidden=(8, 5), norm="batch").double().train(training)
    z = torch.randn(6, Z_DIM, dtype=torch.float64)
    seen = beside_labels(G, z)
    twin = plain(seen.shape[1], (8, 5), PIXELS, False).double().train(training)
    twin.load_state_dict(G.main.state_dict(), strict=True)
    expected = twin(seen).tanh()
    torch.testing.assert_close(call(G, z).flatten(1), expected, rtol=1e-10, atol=1e-10)
    assert_same_statistics(G.main, twin)


def make_step(family: str, paired: bool) -> GANStep:
    torch.manual_seed(0)
    kind = "conditional" if family == "conditional" else "mlp"
    G = GENERATORS[kind](hidden=(8,), norm="batch").double()
    D = DISCRIMINATORS[family](hidden=(8, 5), dropout=0.0, norm="batch").double()
    images = torch.linspace(-1, 1, 6 * PIXELS, dtype=torch.float64).view(6, *SHAPE)
    kinds: dict[str, tuple[type[GANStep], dict[str, Any]]] = {
        "semi-supervised": (SGANStep, {"labelled": (images, LABELS), "labelled_batch": 4}),
        "energy": (EBGANStep, {"margin": 0.5}),
    }
    step, settings = kinds.get(family, (GANStep, {}))
    random = torch.Generator().manual_seed(3)
    optimizers = [torch.optim.SGD(network.parameters(), 0.1) for network in (G, D)]
    return step(
        G, D, *optimizers, paired=paired, **settings,
        noise=Noise((Z_DIM,), dtype=torch.float64, generator=random),
    )  # fmt: skip


@pytest.mark.parametrize("family", IN_A_GAME)
def test_with_batch_norm_one_pass_trains_as_two_do(family: str) -> None:
    """Each half has its own statistics: weights and running statistics are those of two passes."""
    one, two = make_step(family, True), make_step(family, False)
    before = copy.deepcopy(one.D.state_dict())
    assert one.paired
    assert not two.paired
    data = torch.Generator().manual_seed(5)
    for number in range(3):
        real = 2 + torch.randn(6, *SHAPE, dtype=torch.float64, generator=data)
        labels = (LABELS,) if family == "conditional" else ()
        for step in (one, two):
            torch.manual_seed(number)  # where the penalty draws its labelled images
            step(real, *labels)
    for ours, theirs in ((one.G, two.G), (one.D, two.D)):
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(
                value, theirs.state_dict()[name], rtol=1e-10, atol=1e-10, msg=name
            )
    moved = [name for name, value in one.D.state_dict().items() if not value.equal(before[name])]
    assert {"running_mean", "weight"} <= {name.rpartition(".")[2] for name in moved}


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("family", DISCRIMINATORS)
def test_dropout_hides_the_image_in_training_alone(family: str, norm: str) -> None:
    torch.manual_seed(0)
    D = DISCRIMINATORS[family](hidden=(8,), dropout=1.0, norm=norm)
    images = torch.randn(6, *SHAPE)
    look = D.reconstruct if family == "energy" else partial(call, D)
    answers = look(images).flatten(1)
    torch.testing.assert_close(answers, answers[:1].expand_as(answers))
    D.eval()
    answers = look(images).flatten(1)
    assert (answers - answers[:1]).abs()[1:].amax(1).min() > 1e-4


@pytest.mark.parametrize("family", [*GENERATORS, *DISCRIMINATORS])
def test_hidden_is_the_depth(family: str) -> None:
    make = (GENERATORS | DISCRIMINATORS)[family]
    for hidden in ((8,), (8, 7, 5)):
        widths = [m.out_features for m in make(hidden=hidden).modules() if _is_linear(m)]
        assert tuple(widths[: len(hidden)]) == hidden
        decoder = len(hidden) + 1 if family == "energy" else 0
        assert len(widths) == len(hidden) + 1 + decoder


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def test_a_function_initialises_every_layer() -> None:
    def ones(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.ones_(module.weight)

    for make in (
        partial(conditional_mlp.Generator, CLASSES, embedding=2),
        partial(conditional_mlp.Discriminator, CLASSES, embedding=2),
        partial(semi_supervised.Discriminator, CLASSES),
    ):
        linears = [m for m in make(hidden=(5,), init=ones).modules() if isinstance(m, nn.Linear)]
        assert linears
        assert all((layer.weight == 1).all() for layer in linears)
    D = semi_supervised.Discriminator(CLASSES, SHAPE, hidden=(5,), init="keras")
    assert not D.main[-1].bias.any()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"norm": "layer"}, "norm must be 'none' or 'batch', got 'layer'"),
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\], got 1.5"),
        ({"hidden": ()}, r"hidden must be one or more positive widths, got \(\)"),
        ({"hidden": (8, 0)}, r"hidden must be one or more positive widths, got \(8, 0\)"),
        ({"negative_slope": -1.0}, "negative_slope must be finite and at least 0, got -1.0"),
    ],
)
def test_values_that_are_none_are_named(setting: dict[str, Any], words: str) -> None:
    made = [*DISCRIMINATORS.values(), *([] if "dropout" in setting else GENERATORS.values())]
    for make in made:
        with pytest.raises(ConfigError, match=f"^{words}$"):
            make(**setting)
