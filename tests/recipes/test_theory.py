"""What docs/theory.md says holds: optimal discriminators, divergences, slopes, fitted normals."""

from __future__ import annotations

import math

import pytest
import torch

from examples import theory

P, Q = theory.normal(*theory.REAL), theory.normal(*theory.FAKE)


def test_the_optimal_discriminator_maximizes_the_value() -> None:
    best = theory.optimal(P, Q)
    top = float(theory.value(best, P, Q))
    assert top == pytest.approx(-math.log(4) + 2 * float(theory.jensen_shannon(P, Q)), abs=1e-9)
    for change in (0.02, -0.02, 0.05 * theory.GRID.sin()):
        assert float(theory.value((best + change).clamp(0, 1), P, Q)) < top - 1e-4
    equal = theory.optimal(P, P)
    assert float(theory.value(equal, P, P)) == pytest.approx(-math.log(4), abs=1e-9)
    assert bool((equal == 0.5).all())
    far = theory.normal(-2, 0.05), theory.normal(2, 0.05)
    assert float(theory.jensen_shannon(*far)) == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_a_trained_discriminator_is_near_the_optimal_one_and_measures_the_divergence(
    seed: int,
) -> None:
    D, loss = theory.trained_discriminator(seed, steps=400)
    assert theory.discriminator_error(D) <= 0.02
    by_loss = math.log(2) - loss / 2
    assert by_loss == pytest.approx(float(theory.jensen_shannon(P, Q)), abs=0.01)


def test_a_generator_of_normals_stays_above_a_floor() -> None:
    target = theory.uniform(-1, 1)
    _, std, floor = theory.fitted_normal(target, theory.jensen_shannon, (0.5, 0.2), steps=300)
    assert floor == pytest.approx(0.0478, abs=5e-4)
    assert std == pytest.approx(0.534, abs=5e-3)
    every = [
        float(theory.jensen_shannon(target, theory.normal(mean / 10, std / 20)))
        for mean in range(-5, 6)
        for std in range(4, 30)
    ]
    assert floor - 1e-6 <= min(every) <= floor + 2e-3


def test_the_minimax_slope_vanishes_and_the_other_does_not() -> None:
    slopes = {distance: theory.generator_slopes(distance) for distance in (0.05, 1.0, 4.0, 8.0)}
    for minimax, other in slopes.values():
        assert minimax < other
    # D says 1/2 everywhere: both losses have the same slope.
    assert slopes[0.05][0] == pytest.approx(slopes[0.05][1], rel=0.01)
    # 8 times the integral of q(x) D(x), by the trapezoidal rule.
    assert slopes[8.0][0] == pytest.approx(3.9287e-4, rel=0.005)
    # The logit's slope is the distance itself.
    assert slopes[8.0][1] == pytest.approx(8.0, rel=0.01)


@pytest.mark.parametrize("theta", [0.05, 0.5, 2.0])
def test_on_parallel_lines_wasserstein_has_a_slope_and_jensen_shannon_none(theta: float) -> None:
    js, distance, js_slope, slope = theory.parallel_lines(theta)
    assert js == pytest.approx(math.log(2), abs=1e-6)
    assert distance == pytest.approx(theta, rel=1e-3)
    assert abs(js_slope) < 1e-9
    assert slope == pytest.approx(1, rel=1e-3)
    assert theory.parallel_lines(0.004)[2] > 10  # while the strips overlap


def test_maximum_likelihood_covers_both_humps_and_the_reverse_divergence_takes_one() -> None:
    target = theory.two_humps()
    mean, std, _ = theory.fitted_normal(target, theory.kl, (0.3, 0.3), steps=300)
    # The moments of the data: the centers' variance and that of a hump.
    assert mean == pytest.approx(0, abs=0.01)
    assert std == pytest.approx(math.sqrt(0.25 + 0.08**2), abs=0.01)
    assert float(theory.normal(mean, std, torch.tensor(0.0))) > 0.7
    assert float(theory.two_humps(torch.tensor(0.0))) < 1e-6
    one = theory.fitted_normal(target, lambda p, q: theory.kl(q, p), (0.3, 0.3), steps=300)
    assert one[:2] == pytest.approx((0.5, 0.08), abs=0.01)
