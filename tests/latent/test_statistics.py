"""Standing statistics: batch norm's mean and variance of the samples that are asked for."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.latent import standing_statistics, truncated
from gankit.models import mlp
from gankit.nn import BatchNormAct1d
from gankit.training.noise import noise_for
from gankit.training.seeds import stream


class Conditional(nn.Module):
    z_dim, n_classes = 3, 4

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3, momentum=0.3)
        self.noisy = nn.Dropout(0.5)
        self.seen: list[Tensor] = []

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(labels)
        y: Tensor = self.norm(self.noisy(z) + labels[:, None])
        return y


def test_statistics_are_those_of_the_samples() -> None:
    torch.manual_seed(0)
    G = mlp.Generator(5, (1, 2, 2), hidden=(6,), norm="batch").double()
    before = copy.deepcopy(G.state_dict())
    state = torch.get_rng_state()
    found = standing_statistics(G, 100, seed=3, batch=50)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in G.state_dict().items())
    assert G.training
    assert not any(module.training for module in found.modules())
    z = noise_for(G, device="cpu", random=stream(3, "z"))(100)
    linear = G.main[0]
    inputs = linear(z).view(2, 50, 6)  # two batches
    norm = next(m for m in found.modules() if isinstance(m, BatchNormAct1d))
    torch.testing.assert_close(norm.running_mean, inputs.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, inputs.var(1).mean(0))
    assert norm.momentum == 0.1
    # Its samples do not depend on the batch that they are in.
    torch.testing.assert_close(found(z)[:3], found(z[:3]))


def test_truncated_noise_and_classes_are_taken() -> None:
    torch.manual_seed(0)
    G = Conditional()
    found = standing_statistics(G, 600, truncation=0.5, classes=(0, 2), seed=1)
    assert [len(labels) for labels in found.seen] == [200] * 3
    assert set(torch.cat(found.seen).tolist()) == {0, 2}
    z = truncated(600, 3, 0.5, seed=1)
    labels = torch.tensor([0, 2]).repeat(300)
    parts = (z + labels[:, None]).view(3, 200, 3)  # dropout is off
    torch.testing.assert_close(found.norm.running_mean, parts.mean((0, 1)))
    torch.testing.assert_close(found.norm.running_var, parts.var(1).mean(0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n": 1}, "n (--standing-stats) is 1; allowed are integers from 2"),
        ({"n": 8, "truncation": 0.0}, "threshold is 0.0; allowed are finite numbers above 0"),
    ],
)
def test_bad_arguments_are_named(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        standing_statistics(Conditional(), **settings)  # type: ignore[arg-type]


def test_no_batch_has_one_sample() -> None:
    G = mlp.Generator(5, (1, 2, 2), hidden=(6,), norm="batch")
    standing_statistics(G, 3, batch=2)  # batch norm refuses a batch of one


def test_a_generator_without_batch_norm_is_refused() -> None:
    G = mlp.Generator(5, (1, 2, 2), hidden=(6,), norm="none")
    with pytest.raises(ConfigError, match="Generator has no batch norm with"):
        standing_statistics(G, 8)
