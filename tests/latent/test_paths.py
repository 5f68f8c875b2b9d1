"""Walks through the latent space, and what is drawn near its middle."""

from __future__ import annotations

import math

import pytest
import torch

from gankit.errors import ConfigError, DataError
from gankit.latent import bilinear, move, truncated, walk


def test_linear_and_spherical_walks_of_normal_z() -> None:
    a, b = torch.randn(2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    straight = walk(a, b, 5)
    assert torch.allclose(straight[2], (a + b) / 2)
    arc = walk(a, b, 5, spherical=True)
    for points in (straight, arc):
        assert points.shape == (5, 64)
        assert torch.allclose(points[0], a)
        assert torch.allclose(points[-1], b)
    # Equal angles, and a length between those of the ends.
    angles = torch.nn.functional.cosine_similarity(arc[:-1], arc[1:]).arccos()
    assert torch.allclose(angles, angles[:1].expand(4))
    assert torch.allclose(
        arc.norm(dim=1), torch.lerp(a.norm(), b.norm(), torch.linspace(0, 1, 5).double())
    )
    assert float(straight[2].norm()) < 0.85 * float(arc[2].norm())
    # The plane of opposite or equal vectors is not known; nothing becomes NaN.
    for end in (a, -a, torch.zeros_like(a)):
        assert bool(walk(a, end, 4, spherical=True).isfinite().all())


def test_a_spherical_walk_of_uniform_z_is_distributed_as_they_are() -> None:
    random = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 20_000, generator=random) * 2 - 1
    points = walk(a, b, 5, spherical=True, distribution="uniform")
    assert float(points.abs().max()) <= 1
    assert torch.equal(points[0], a)
    assert torch.equal(points[-1], b)
    for middle in points:
        # U[-1, 1] has the variance 1/3 and the fourth moment 1/5.
        assert abs(float(middle.square().mean()) - 1 / 3) < 0.01
        assert abs(float(middle.pow(4).mean()) - 1 / 5) < 0.01
    straight = walk(a, b, 5, distribution="uniform")[2]
    assert float(straight.square().mean()) < 0.2  # 1/6: the linear middle is another distribution
    ends = torch.tensor([-1.0, 1.0, 0.0])
    assert bool(walk(ends, -ends, 3, spherical=True, distribution="uniform").isfinite().all())


def test_a_grid_has_its_corners_and_moves_go_along_a_direction() -> None:
    corners = torch.randn(4, 6)
    grid = bilinear(corners, 3, 5).view(3, 5, 6)
    assert torch.allclose(grid[[0, 0, -1, -1], [0, -1, 0, -1]], corners, atol=1e-6)
    assert torch.allclose(grid[1, 2], corners.mean(dim=0), atol=1e-6)
    z, direction = torch.randn(3, 6), torch.randn(6)
    moved = move(z, direction, (-1.0, 0.0, 2.0))
    assert torch.equal(moved[:, 1], z)
    assert torch.allclose(moved[:, 2], z + 2 * direction)


@pytest.mark.parametrize("threshold", [0.02, 0.5, 3.0])
def test_truncated_z_are_those_that_lie_within(threshold: float) -> None:
    z = truncated(400, 100, threshold)
    assert float(z.abs().max()) <= threshold
    # The variance of N(0, 1) given |z| <= t.
    density = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * threshold * density / math.erf(threshold / math.sqrt(2))
    assert abs(float(z.square().mean()) / variance - 1) < 0.05
    uniform = truncated(400, 100, threshold, distribution="uniform")
    assert abs(float(uniform.square().mean()) / (min(threshold, 1) ** 2 / 3) - 1) < 0.05
    assert torch.equal(z, truncated(400, 100, threshold))
    assert not torch.equal(z, truncated(400, 100, threshold, seed=1))


def test_what_is_not_allowed_is_one_sentence() -> None:
    a = torch.zeros(3)
    with pytest.raises(ConfigError, match="steps is 1; allowed are integers from 2"):
        walk(a, a, 1)
    with pytest.raises(DataError, match=r"start and end must be floating point \[d\]"):
        walk(a, torch.zeros(4), 3)
    with pytest.raises(ConfigError, match="distribution is 'x'"):
        walk(a, a, 3, distribution="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="threshold is 0"):
        truncated(1, 1, 0)
    with pytest.raises(DataError, match=r"corners must be \[4, d\]"):
        bilinear(torch.zeros(3, 2), 2, 2)
