"""SEGAN's networks: the paper's shapes, other windows, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gankit.errors import ConfigError, DataError
from gankit.models.segan import Discriminator, Generator

PAPER = [16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024]


def test_the_layers_of_the_paper() -> None:
    with torch.device("meta"):
        G, D = Generator(), Discriminator()
        code = torch.empty(2, 1, 16384)
        for down, width in zip(G.down, PAPER, strict=True):
            code = down(code)
            assert code.shape[1] == width
        assert code.shape == (2, 1024, 8)
        assert G.z_shape(16384) == (1024, 8)
        assert [up.in_channels for up in G.up] == [2 * width for width in PAPER[::-1]]
        assert [up.out_channels for up in G.up] == [*PAPER[-2::-1], 1]
        assert [norm.channels for norm in D.norm] == PAPER
        for layer in (*G.down, *G.up, *D.down):
            assert (layer.kernel_size, layer.stride, layer.bias) == ((31,), (2,), None)
        assert (D.score.kernel_size, D.head.in_features) == ((1,), 8)
        assert G(torch.empty(3, 1, 16384), torch.empty(3, 1024, 8)).shape == (3, 1, 16384)
        assert D(torch.empty(3, 2, 16384)).shape == (3, 1)
    assert (G.preemphasis, D.slope) == (0.95, 0.3)


@pytest.mark.parametrize(
    ("window", "levels", "found"), [(1024, None, 7), (512, 4, 4), (24, None, 1), (1000, None, 3)]
)
def test_depth_follows_the_window(window: int, levels: int | None, found: int) -> None:
    G = Generator(window, width=2, levels=levels)
    assert G.size_multiple == 2**found
    made = G(torch.randn(2, 1, 3 * window)).detach()
    assert made.shape == (2, 1, 3 * window)
    assert float(made.abs().max()) <= 1
    D = Discriminator(2, window, width=2, levels=levels, references=3)
    D.set_reference(torch.randn(3, 2, window))
    assert D(torch.randn(4, 2, window)).shape == (4, 1)


def test_silence_without_noise_is_silence_and_z_is_heard() -> None:
    torch.manual_seed(0)
    G = Generator(64, width=4, init="pytorch")
    silence, z = torch.zeros(2, 1, 64), torch.randn(2, *G.z_shape(64))
    assert not G(silence, torch.zeros_like(z)).any()
    assert G(silence, z).abs().max() > 0
    torch.manual_seed(1)
    first = G(silence)
    torch.manual_seed(1)
    assert torch.equal(first, G(silence, torch.randn(2, *G.z_shape(64))))


def test_a_score_depends_on_its_pair_and_the_reference_batch_alone() -> None:
    torch.manual_seed(0)
    D = Discriminator(2, 64, width=2, references=3, init="pytorch").double()
    assert D(torch.randn(1, 2, 64).double()).isnan().all()
    D.set_reference(torch.randn(3, 2, 64))
    pairs = torch.randn(4, 2, 64).double()
    scores = D(pairs)
    for number in range(4):
        alone = D(pairs[number : number + 1])
        torch.testing.assert_close(alone[0], scores[number], rtol=0, atol=1e-12)
    again = Discriminator(2, 64, width=2, references=3).double()
    again.load_state_dict(D.state_dict())
    assert torch.equal(again(pairs), scores)
    D.set_reference(torch.randn(3, 2, 64))
    assert not torch.equal(D(pairs), scores)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": 63}, "window must be an even number"),
        ({"window": 48, "levels": 5}, "levels must be .* got levels 5 and window 48"),
        ({"levels": 12}, "levels must be"),
        ({"width": 0}, "width must be at least 1"),
        ({"preemphasis": 1.0}, "preemphasis must be from 0 and below 1"),
        ({"init": "nothing"}, "init must be"),
    ],
)
def test_settings_that_are_not_allowed(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Generator(**{"window": 64, "width": 2, **settings})


def test_inputs_that_do_not_fit() -> None:
    G = Generator(64, width=2)
    for shape in ([2, 1, 60], [2, 2, 64], [2, 64], [2, 1, 0]):
        with pytest.raises(DataError, match=r"windows must have shape \[N, 1, L\], L a multiple"):
            G(torch.zeros(shape))
    with pytest.raises(DataError, match=r"z must have shape \[2, 4, 8\], got \[1, 4, 8\]"):
        G(torch.zeros(2, 1, 64), torch.zeros(1, 4, 8))
    D = Discriminator(2, 64, width=2, references=3)
    with pytest.raises(DataError, match=r"windows must have shape \[N, 2, 64\]"):
        D(torch.zeros(1, 2, 32))
    for reference in (torch.zeros(2, 2, 64), torch.full((3, 2, 64), float("inf"))):
        with pytest.raises(DataError, match="the reference batch must be finite of shape"):
            D.set_reference(reference)
