"""A network that turns noisy speech into clean speech and knows how it is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor, nn

from gankit._version import __version__
from gankit.data.resampling import resampled_blocks
from gankit.errors import ConfigError
from gankit.json_text import text_values
from gankit.scalars import is_integer
from gankit.training.arguments import whole
from gankit.training.enhancement import enhance_blocks

# Samples of a block of sound that is given as a whole.
_BLOCK = 65536


class LoadedEnhancer(nn.Module):
    """What ``gankit.load`` returns of SEGAN: its generator, in eval mode and without gradients.

    ``enhancer.enhance(sound, 48000)`` takes the noise out of sound of any length and rate. The
    network itself, which takes windows with pre-emphasis, is ``enhancer.network``.

    Attributes:
        network: of its own class.
        sample_rate: of the speech that it was trained on, in Hz.
        window: samples of a window.
        preemphasis: p of the filter ``y[t] = x[t] - p x[t-1]`` in front of the network.
        value_range: full scale of the sound that goes in and comes out, (-1.0, 1.0).
        step: how many steps the run had made; None where that was not recorded.
    """

    def __init__(
        self, network: nn.Module, sample_rate: int, window: int, step: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.sample_rate, self.window, self.step = sample_rate, window, step
        self.preemphasis = float(getattr(network, "preemphasis", 0.0))
        self.value_range = (-1.0, 1.0)

    def forward(self, noisy: Tensor, *z: Tensor) -> Any:
        """What the network returns for windows ``[N, 1, L]`` with pre-emphasis, and z."""
        return self.network(noisy, *z)

    def enhance(
        self,
        sound: Tensor,
        sample_rate: int | None = None,
        *,
        seed: SupportsIndex | None = None,
        batch: int = 16,
    ) -> Tensor:
        """``sound`` without its noise, float32 of the same shape on the CPU.

        It is brought to the network's rate and back, goes through it in windows that overlap by
        half (:func:`gankit.training.enhancement.enhance_blocks`), and may leave [-1, 1] where the
        speech reaches full scale. Channels go through it one by one. Neither modes nor any global
        random state change, but where ``seed`` is None.

        Args:
            sound: floating point ``[T]`` or ``[C, T]``, full scale being 1, on any device.
            sample_rate: in Hz; None: the network's.
            seed: decides the noise. None draws it from torch's global generator.
            batch: how many windows the network takes at a time.

        Raises:
            ConfigError: an argument outside what is said here.
            MissingExtra: another rate than the network's, and scipy is not installed.
        """
        if not isinstance(sound, Tensor) or not sound.is_floating_point():
            came = sound.dtype if isinstance(sound, Tensor) else type(sound).__name__
            raise ConfigError(f"sound is {came}; allowed is floating-point sound in [-1, 1]")
        if sound.ndim not in (1, 2) or not sound.numel():
            raise ConfigError(f"sound has shape {list(sound.shape)}; allowed is [T] or [C, T]")
        rate = self.sample_rate if sample_rate is None else whole("sample_rate", sample_rate)
        if seed is not None and not is_integer(seed):
            raise ConfigError(f"seed is {seed!r}; allowed are None and integers")
        drawn = int(torch.randint(2**62, ()) if seed is None else seed)
        samples = sound.detach().cpu().double().reshape(-1, sound.shape[-1]).numpy()
        blocks = (samples[:, i : i + _BLOCK] for i in range(0, samples.shape[1], _BLOCK))
        made = self.stream(blocks, rate, seed=drawn, batch=whole("batch", batch))
        return torch.from_numpy(np.concatenate(list(made), 1)).float().reshape(sound.shape)

    def stream(
        self, blocks: Iterable[np.ndarray], sample_rate: int, *, seed: int, batch: int = 16
    ) -> Iterator[np.ndarray]:
        """Sound in blocks ``[C, T]``, float64, without its noise, in bounded memory.

        What comes out is as long as what came in, in blocks of other lengths.
        """
        left = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal left
            for block in blocks:
                left += block.shape[1]
                yield block

        own = resampled_blocks(counted(), sample_rate, self.sample_rate)
        enhanced = enhance_blocks(
            self.network,
            (torch.from_numpy(block) for block in own),
            window=self.window,
            coefficient=self.preemphasis,
            seed=seed,
            batch=batch,
        )
        back = resampled_blocks((x.numpy() for x in enhanced), self.sample_rate, sample_rate)
        for block in back:
            # The way there and back rounds the length up.
            yield block[:, :left]
            left -= min(left, block.shape[1])

    def metadata(self) -> dict[str, str]:
        """What a program must know to use the network, as text, for ``gankit export``."""
        values: dict[str, Any] = {
            "gankit_version": __version__,
            "step": self.step,
            "sample_rate": self.sample_rate,
            "window": self.window,
            "preemphasis": self.preemphasis,
            "value_range": list(self.value_range),
        }
        return text_values(values)

    def extra_repr(self) -> str:
        return f"sample_rate={self.sample_rate}, window={self.window}, step={self.step}"
