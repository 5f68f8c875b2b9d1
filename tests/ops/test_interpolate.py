"""The contract of interpolate: its weights, its bits on every backend, its errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_specs import layouts

import gankit
from gankit.ops import interpolate
from gankit.ops.philox import philox4x32_10

SEED = torch.tensor([20261120])
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def weights(samples: int, seed: torch.Tensor, stream: int = 0) -> list[float]:
    words = philox4x32_10(seed, stream, samples // 4 + 1).reshape(-1).tolist()
    return [(word >> 8) / 2**24 for word in words[:samples]]


def test_weights_are_the_upper_bits_of_one_word_per_sample(
    on_target: tuple[str, torch.device],
) -> None:
    _, device = on_target
    ones, zeros = torch.ones(11, 3, device=device), torch.zeros(11, 3, device=device)
    x = interpolate(ones, zeros, seed=SEED.to(device), stream=9)
    wanted = torch.tensor(weights(11, SEED, 9), device=device)
    assert torch.equal(x, wanted[:, None].expand(11, 3))
    y = interpolate(zeros, ones, seed=SEED.to(device), stream=9)
    assert torch.equal(x + y, ones)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_same_bits_as_the_reference(
    on_target: tuple[str, torch.device], dtype: torch.dtype
) -> None:
    backend, device = on_target
    if backend == "triton" and (dtype == torch.float64 or dtype == torch.bfloat16):
        pytest.skip(f"Triton here has no {dtype}")
    seed = SEED.to(device)
    for shape in ((64, 784), (33, 17), (6, 8, 4, 4)):
        real = torch.randn(shape, device=device).to(dtype)
        other = torch.randn(shape, device=device).to(dtype)
        for name, x in layouts(real):
            found = interpolate(x, other, seed=seed)
            with gankit.backend("reference"):
                wanted = interpolate(x, other, seed=seed)
            assert torch.equal(found, wanted), name
            assert found.stride() == torch.empty_like(x).stride()


def test_layout_does_not_change_a_samples_weight(device: str) -> None:
    real, fake = torch.randn(6, 8, 4, 4, device=device), torch.randn(6, 8, 4, 4, device=device)
    seed = SEED.to(device)
    wanted = interpolate(real, fake, seed=seed)
    for name, x in layouts(real):
        assert torch.equal(interpolate(x, fake, seed=seed), wanted), name


def test_streams_and_seeds_differ_and_torch_draws_the_seed(device: str) -> None:
    ones, zeros = torch.ones(8, 1, device=device), torch.zeros(8, 1, device=device)
    seed = SEED.to(device)
    assert not torch.equal(
        interpolate(ones, zeros, seed=seed), interpolate(ones, zeros, seed=seed, stream=1)
    )
    torch.manual_seed(3)
    first = interpolate(ones, zeros)
    second = interpolate(ones, zeros)
    torch.manual_seed(3)
    assert torch.equal(interpolate(ones, zeros), first)
    assert not torch.equal(first, second)


def test_weights_are_uniform(device: str) -> None:
    n = 200_000
    x = interpolate(
        torch.ones(n, device=device), torch.zeros(n, device=device), seed=SEED.to(device)
    ).double()
    assert 0 <= float(x.min()) < 1e-4
    assert 1 - 1e-4 < float(x.max()) < 1
    assert abs(float(x.mean()) - 0.5) < 5 / (12 * n) ** 0.5
    assert abs(float(x.var()) - 1 / 12) < 1e-3


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"real": [1.0]}, TypeError, "real: expected a tensor, got list"),
        ({"fake": 1.0}, TypeError, "fake: expected a tensor, got float"),
        ({"real": torch.ones(3, 2).int()}, TypeError, "real: expected dtype .* got torch.int32"),
        ({"fake": torch.ones(3, 2).double()}, TypeError, "fake: .* got torch.float64"),
        ({"fake": torch.ones(2, 2)}, ValueError, r"fake: .* \(3, 2\), got \(2, 2\)"),
        ({"fake": torch.ones(3, 2, device="meta")}, ValueError, "fake: .* device cpu, got meta"),
        ({"real": torch.ones(()), "fake": torch.ones(())}, ValueError, "real: expected a batch"),
        ({"seed": 7}, TypeError, "seed: expected an int64 tensor .* got int"),
        ({"seed": torch.tensor([1, 2])}, ValueError, r"seed: .* got shape \(2,\)"),
        ({"seed": torch.empty(1, dtype=torch.int64, device="meta")}, ValueError, "seed: .* device"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_arguments(change: dict[str, object], error: type[Exception], words: str) -> None:
    arguments: dict[str, object] = {"real": torch.ones(3, 2), "fake": torch.ones(3, 2), **change}
    real, fake = arguments.pop("real"), arguments.pop("fake")
    with pytest.raises(error, match=words):
        interpolate(real, fake, **arguments)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    seed=st.integers(-(2**63), 2**63 - 1),
    stream=st.integers(-(2**63), 2**63 - 1),
    dtype=st.sampled_from(DTYPES),
)
def test_any_argument_gives_the_reference_bits(
    shape: list[int], seed: int, stream: int, dtype: torch.dtype
) -> None:
    real, fake = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    key = torch.tensor([seed])
    x = interpolate(real, fake, seed=key, stream=stream)
    with gankit.backend("reference"):
        assert torch.equal(x, interpolate(real, fake, seed=key, stream=stream))


def test_streams_have_64_bits() -> None:
    real, fake, seed = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([7])
    last = interpolate(real, fake, seed=seed, stream=2**64 - 1)
    assert torch.equal(last, interpolate(real, fake, seed=seed, stream=-1))
    assert not torch.equal(last, interpolate(real, fake, seed=seed, stream=0))
    with pytest.raises(ValueError, match="stream: expected a 64-bit number"):
        interpolate(real, fake, seed=seed, stream=2**64)
    with pytest.raises(TypeError, match="stream: expected an int, got float"):
        interpolate(real, fake, seed=seed, stream=1.0)  # type: ignore[arg-type]
