"""Least squares, hinge and relativistic games: their formulas, and what they ask of G."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gankit import losses
from gankit.errors import ConfigError, DataError
from gankit.losses import resolve

RELATIVISTIC = {
    "relativistic": losses.relativistic_loss,
    "relativistic-average": losses.relativistic_average_loss,
    "relativistic-average-least-squares": losses.relativistic_average_least_squares_loss,
    "relativistic-average-hinge": losses.relativistic_average_hinge_loss,
}
NAMES = ("least-squares", "hinge", *RELATIVISTIC)


def outputs(n: int = 11, m: int = 11) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = (
        torch.randn(size, 1, dtype=torch.float64, generator=generator) * 2 for size in (n, m)
    )
    return real, fake


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def by_hand(name: str, a: list[float], b: list[float]) -> float:
    """The papers' formulas, one number at a time; a are the scores that should be higher."""
    mean_a, mean_b = mean(a), mean(b)
    if name == "relativistic":
        return -mean([log_sigmoid(x - y) for x, y in zip(a, b, strict=True)])
    up, down = [x - mean_b for x in a], [y - mean_a for y in b]
    if name == "relativistic-average":
        # 1 - sigmoid(d) is sigmoid(-d).
        return -mean([log_sigmoid(u) for u in up]) - mean([log_sigmoid(-d) for d in down])
    if name == "relativistic-average-least-squares":
        return mean([(u - 1) ** 2 for u in up]) + mean([(d + 1) ** 2 for d in down])
    return mean([max(0.0, 1 - u) for u in up]) + mean([max(0.0, 1 + d) for d in down])


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_relativistic_games_are_one_formula_with_the_sides_exchanged(name: str) -> None:
    real, fake = outputs()
    x, y = real.flatten().tolist(), fake.flatten().tolist()
    game = resolve(name, from_logits=True)
    assert game.relativistic
    assert game.discriminator(real, fake).item() == pytest.approx(by_hand(name, x, y), rel=1e-12)
    assert game.generator(fake, real).item() == pytest.approx(by_hand(name, y, x), rel=1e-12)


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_relativistic_games_see_differences_of_scores_alone(name: str) -> None:
    real, fake = outputs()
    function = RELATIVISTIC[name]
    torch.testing.assert_close(function(real + 7, fake + 7), function(real, fake))
    assert abs(function(real + 7, fake) - function(real, fake)) > 0.1


def test_pairs_need_one_shape_and_averages_do_not() -> None:
    real, fake = outputs(11, 5)
    with pytest.raises(DataError, match=r"one shape, got \[11, 1\] and \[5, 1\]"):
        losses.relativistic_loss(real, fake)
    for name in list(RELATIVISTIC)[1:]:
        x, y = real.flatten().tolist(), fake.flatten().tolist()
        got = RELATIVISTIC[name](real, fake).item()
        assert got == pytest.approx(by_hand(name, x, y), rel=1e-12)


def test_least_squares_by_hand() -> None:
    real, fake = torch.tensor([[2.0], [0.0]]), torch.tensor([[1.0], [-3.0]])
    # ((1 + 1) / 2 + (1 + 9) / 2) / 2 for targets 1 and 0
    assert losses.least_squares_discriminator_loss(real, fake).item() == 3.0
    assert losses.least_squares_generator_loss(fake).item() == 4.0
    shifted = losses.least_squares_discriminator_loss(real, fake, real_target=0.0, fake_target=1.0)
    assert shifted.item() == (4 + 0) / 4 + (0 + 16) / 4
    assert losses.least_squares_generator_loss(fake, target=0.0).item() == 2.5


def test_least_squares_pulls_back_images_that_look_too_real() -> None:
    score = torch.tensor([[3.0]], requires_grad=True)
    (pull,) = torch.autograd.grad(losses.least_squares_generator_loss(score), score)
    (push,) = torch.autograd.grad(losses.hinge_generator_loss(score), score)
    assert pull.item() == 2.0
    assert push.item() == -1.0


def test_hinge_by_hand_and_without_gradient_beyond_the_margins() -> None:
    real = torch.tensor([[2.0], [0.5]], requires_grad=True)
    fake = torch.tensor([[-2.0], [0.5]], requires_grad=True)
    loss = losses.hinge_discriminator_loss(real, fake)
    assert loss.item() == 0.25 + 0.75
    loss.backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.flatten().tolist() == [0.0, -0.5]
    assert fake.grad.flatten().tolist() == [0.0, 0.5]


@pytest.mark.parametrize("name", NAMES)
def test_each_player_gains_by_what_hurts_the_other(name: str) -> None:
    """A step down G's loss raises D's answer on generated images, and D's loss with it."""
    game = resolve(name, from_logits=True)
    real = torch.full((4, 1), 0.4, dtype=torch.float64)
    fake = torch.full((4, 1), -0.3, dtype=torch.float64, requires_grad=True)
    g_loss = game.generator(fake, real) if game.relativistic else game.generator(fake)
    (for_g,) = torch.autograd.grad(g_loss, fake)
    (for_d,) = torch.autograd.grad(game.discriminator(real, fake), fake)
    assert (for_g < 0).all()
    # D's loss falls with a lower score of the generated images (least squares: above its target).
    assert (for_d > 0).all() if name != "least-squares" else (for_d < 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_by_name_only_for_scores(name: str) -> None:
    assert resolve(name, from_logits=True).scores
    with pytest.raises(ConfigError, match=f"'{name}' needs a critic's scores"):
        resolve(name, from_logits=False)
    with pytest.raises(ConfigError, match=f"do not apply to the loss '{name}'"):
        resolve(name, from_logits=True, real_label=0.9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_reduced_in_float32(name: str, dtype: torch.dtype) -> None:
    game = resolve(name, from_logits=True)
    real, fake = (x.to(dtype).requires_grad_() for x in outputs())
    loss = game.discriminator(real, fake)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, game.discriminator(real.float(), fake.float()))
    loss.backward()
    assert fake.grad is not None
    assert fake.grad.dtype == dtype


SMOOTH: list[Callable[[Tensor, Tensor], Tensor]] = [
    losses.least_squares_discriminator_loss,
    *list(RELATIVISTIC.values())[:3],
]


@pytest.mark.parametrize("function", SMOOTH, ids=lambda f: f.__name__)
def test_second_derivatives(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    real, fake = (x.requires_grad_() for x in outputs())
    assert torch.autograd.gradcheck(function, (real, fake))
    assert torch.autograd.gradgradcheck(function, (real, fake))
