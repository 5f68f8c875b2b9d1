"""Sound of any length through a network in windows: no seam, no shift, no click."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gankit.data.resampling import resampled, resampled_blocks
from gankit.enhancer import LoadedEnhancer
from gankit.errors import ConfigError
from gankit.models.segan import Generator
from gankit.training.enhancement import (
    enhance_blocks,
    enhance_windows,
    pre_emphasis,
    spectrograms,
)

WINDOW = 64


class Same(nn.Module):
    """Gives back what it gets, in float32 as networks do; it has seen ``asked`` windows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.asked = 0

    def forward(self, windows: Tensor) -> Tensor:
        self.asked += len(windows)
        return windows * self.scale


def through(network: nn.Module, sound: Tensor, block: int, **settings: float) -> Tensor:
    blocks = sound.split(block, 1)
    return torch.cat(list(enhance_blocks(network, blocks, window=WINDOW, **settings)), 1)


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 63, 64, 65, 96, 1000, 5003])
@pytest.mark.parametrize("coefficient", [0.0, 0.95])
def test_a_network_that_changes_nothing_gives_the_sound_back(
    length: int, coefficient: float
) -> None:
    sound = torch.rand(2, length, dtype=torch.float64) * 2 - 1
    for block in (7, 64, 10_000):
        made = through(Same(), sound, block, coefficient=coefficient)
        assert made.shape == sound.shape
        assert float((made - sound).abs().max()) < 1e-6


def test_a_constant_change_joins_without_a_seam() -> None:
    # The weights of each sample have the sum 1, at the beginning and at the end too.
    network = Same()
    with torch.no_grad():
        network.scale.fill_(0.5)
    made = through(network, torch.ones(1, 777, dtype=torch.float64), 100)
    torch.testing.assert_close(made, torch.full_like(made, 0.5), rtol=0, atol=1e-12)


def test_neither_blocks_nor_batches_change_what_comes_out() -> None:
    torch.manual_seed(0)
    G = Generator(WINDOW, width=2, init="pytorch")
    sound = torch.rand(2, 1000, dtype=torch.float64) - 0.5
    expected = through(G, sound, 1000, coefficient=0.9, seed=3)
    for block, batch in ((1000, 1), (33, 16), (250, 5)):
        made = through(G, sound, block, coefficient=0.9, seed=3, batch=batch)
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(through(G, sound, 1000, coefficient=0.9, seed=4), expected, atol=1e-4)


def test_stretches_of_zeros_stay_zeros() -> None:
    torch.manual_seed(0)
    G = Generator(WINDOW, width=2, init="pytorch")
    sound = torch.zeros(1, 1000, dtype=torch.float64)
    assert not through(G, sound, 1000).any()
    sound[:, 400:500] = torch.rand(100)
    made = through(G, sound, 1000)
    assert not made[:, : 400 - WINDOW].any()
    assert not made[:, 500 + WINDOW :].any()
    assert made[:, 400:500].any()
    network = Same()
    through(network, torch.zeros(1, 1000, dtype=torch.float64), 1000)
    assert network.asked == 0


def test_no_sound_is_no_sound() -> None:
    assert list(enhance_blocks(Same(), [], window=WINDOW)) == []


def test_modes_and_random_states_stay() -> None:
    G, windows = Generator(WINDOW, width=2).train(), torch.rand(3, 1, WINDOW)
    state = torch.get_rng_state()
    enhance_windows(G, windows, seed=0)
    assert G.training
    assert torch.equal(torch.get_rng_state(), state)


def test_pre_emphasis_is_the_filter_but_for_the_first_value() -> None:
    x = torch.rand(2, 1, 9)
    y = pre_emphasis(x, 0.95)
    torch.testing.assert_close(y[..., 1:], x[..., 1:] - 0.95 * x[..., :-1])
    torch.testing.assert_close(y[..., 0], 0.05 * x[..., 0])
    assert torch.equal(pre_emphasis(x, 0.0), x)


@pytest.mark.parametrize("rates", [(44100, 16000), (16000, 44100), (8000, 16000)])
def test_blocks_are_resampled_as_the_whole_is(rates: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for length in (1, 7, 40_001):
        sound = random.standard_normal((2, length))
        whole = resampled(sound, *rates)
        assert whole.shape[1] == -(-length * rates[1] // rates[0])
        pieces = (sound[:, i : i + 999] for i in range(0, length, 999))
        made = np.concatenate(list(resampled_blocks(pieces, *rates)), 1)
        assert np.abs(made - whole).max() < 1e-12


def test_a_loaded_enhancer_keeps_length_channels_and_low_tones() -> None:
    enhancer = LoadedEnhancer(Same(), 8000, WINDOW)
    for rate in (8000, 44100, 11025):
        time = torch.arange(rate) / rate
        sound = torch.stack([torch.sin(440 * 6.2832 * time), torch.cos(1000 * 6.2832 * time)]) / 2
        made = enhancer.enhance(sound, rate, seed=0)
        assert made.shape == sound.shape
        inner = slice(rate // 10, -rate // 10)  # the filter rings at the ends
        assert float((made - sound)[:, inner].abs().max()) < (1e-6 if rate == 8000 else 0.01)
    assert enhancer.enhance(sound[0], rate).shape == sound[0].shape


@pytest.mark.parametrize(
    ("sound", "more", "words"),
    [
        (torch.zeros(3, dtype=torch.int16), {}, "sound is torch.int16"),
        (torch.zeros(2, 3, 4), {}, r"sound has shape \[2, 3, 4\]"),
        (torch.zeros(0), {}, r"sound has shape \[0\]"),
        (torch.zeros(9), {"sample_rate": 0}, "sample_rate is 0"),
        (torch.zeros(9), {"seed": "x"}, "seed is 'x'"),
    ],
)
def test_what_cannot_be_enhanced(sound: Tensor, more: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LoadedEnhancer(Same(), 8000, WINDOW).enhance(sound, **more)


def test_a_tone_is_a_line_of_its_spectrogram() -> None:
    time = torch.arange(4096) / 8000
    pictures = spectrograms(0.5 * torch.sin(2 * torch.pi * 1000 * time)[None, None])
    n, channels, bins, _ = pictures.shape
    assert (n, channels) == (1, 1)
    assert float(pictures.abs().max()) <= 1
    row = int(pictures[0, 0].mean(1).argmax())
    assert abs((bins - 1 - row) / (bins - 1) * 4000 - 1000) < 20
    assert (spectrograms(torch.zeros(1, 1, 1024)) == -1).all()
