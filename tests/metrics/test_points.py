"""Counting modes, and the distance of Kolmogorov and Smirnov."""

from __future__ import annotations

import math

import pytest
import torch

from gankit.data import load_toy
from gankit.data.toy import TOYS
from gankit.errors import DataError
from gankit.metrics import count_modes, ks_distance


@pytest.mark.parametrize(("name", "modes"), [("ring", 8), ("grid", 25)])
def test_real_points_have_all_modes_and_a_collapsed_set_has_not(name: str, modes: int) -> None:
    data, mixture = load_toy(name), TOYS[name]
    centres, radius = torch.tensor(mixture.centres), 3 * mixture.std[0]
    count = count_modes(data.normalized(), centres, radius)
    assert (count.found, count.total) == (modes, 10_000)
    # Within three standard deviations in two dimensions.
    assert count.near == pytest.approx(1 - math.exp(-4.5), abs=0.005)
    assert data.labels is not None
    half = data.normalized()[data.labels < modes // 2]
    assert count_modes(half, centres, radius).found == modes // 2
    assert count_modes(torch.zeros(100, 2) + 0.17, centres, radius).found == 0


def test_a_mode_needs_its_share() -> None:
    centres = torch.tensor([[0.0], [1.0]])
    points = torch.cat([torch.zeros(96), torch.ones(4)])
    count = count_modes(points, centres, 0.1)
    assert (count.counts, count.found, count.near) == ((96, 4), 1, 1.0)
    assert count_modes(points, centres, 0.1, min_share=0.05).found == 2
    assert count_modes(torch.zeros(5), centres, 0.1, min_share=0.0).found == 1


def test_shapes_and_settings_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="do not fit"):
        count_modes(torch.zeros(3, 2), torch.zeros(4, 3), 0.1)
    with pytest.raises(DataError, match="radius must be above 0"):
        count_modes(torch.zeros(3, 2), torch.zeros(4, 2), 0.0)
    with pytest.raises(DataError, match="at least one point"):
        ks_distance(torch.zeros(0), lambda x: x)


def test_the_distance_by_hand_and_by_a_library() -> None:
    stats = pytest.importorskip("scipy.stats")
    # Three points against the uniform distribution: after 0.5 the sample's function is 1, D = 0.5.
    points = torch.tensor([0.1, 0.3, 0.5])
    assert ks_distance(points, lambda x: x) == pytest.approx(0.5)
    sample = torch.randn(500, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal = torch.distributions.Normal(0.2, 1.0)
    expected = stats.kstest(sample.flatten().numpy(), "norm", args=(0.2, 1.0)).statistic
    assert ks_distance(sample, normal.cdf) == pytest.approx(expected, abs=1e-6)
