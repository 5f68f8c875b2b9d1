"""gankit.losses.gradient_penalty beside the textbook's double backward.

One call is the penalty and its backward: the critic's parameter gradients. torch.compile has no
double backward, so the textbook's lines cannot be compiled; the analytic path can. The floor is
four matrix products per Linear and nothing else. ``peak_bytes`` is the most memory that one call
holds beyond what was there before: on CUDA what the allocator says, on the CPU the sum that
torch's profiler sees.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from gankit.bench.cuda_graphs import captured
from gankit.bench.ops.peers_gradient_penalty import (
    critics,
    four_products,
    peak_bytes,
    textbook,
    tuned,
)
from gankit.bench.races import Call, Contender, Race, Role, Settings
from gankit.losses import gradient_penalty
from gankit.losses.chain import objection

Penalty = Callable[[nn.Module, Tensor, Tensor], Tensor]


def races(settings: Settings) -> Iterator[Race]:
    """One race per critic and batch size."""
    on_cuda = settings.device.type == "cuda"
    for name, (critic, shape) in critics().items():
        for batch in (64, 256, 1024) if "MLP" in name or on_cuda else (64,):
            entry = _Entry(critic.to(settings.device), (batch, *shape), settings.device)
            group = f"gradient_penalty {name} batch {batch}"
            yield Race(group, tuple(entry.contenders()), settings.device, settings.seconds)


class _Entry:
    """Makes contenders for one critic and batch."""

    def __init__(self, critic: nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
        self.critic, self.shape, self.device = critic, shape, device

    def contenders(self) -> Iterator[Contender]:
        yield self._contender("plain eager", "plain", textbook)
        yield self._contender("tuned eager", "peer", tuned)
        for path, role in (("analytic", "gankit"), ("autograd", "variant")):
            function = functools.partial(gradient_penalty, path=path)
            name = "gankit" if path == "analytic" else f"gankit, {path} path"
            yield self._contender(name, role, function)  # type: ignore[arg-type]
        analytic = functools.partial(gradient_penalty, path="analytic")
        if not objection(self.critic):  # a critic that is recorded as it runs is not compiled
            yield self._contender("gankit, torch.compile", "variant", analytic, compiled=True)
        if self.device.type == "cuda":
            yield self._contender("tuned eager, CUDA graph", "peer", tuned, graph=True)
            yield self._contender("gankit, CUDA graph", "variant", analytic, graph=True)
        if all(isinstance(m, (nn.Sequential, nn.Linear, nn.LeakyReLU)) for m in self.critic):  # type: ignore[attr-defined]
            yield Contender("four products per layer", "copy", self._floor)

    def _contender(
        self,
        name: str,
        role: Role,
        penalty: Penalty,
        *,
        compiled: bool = False,
        graph: bool = False,
    ) -> Contender:
        info: dict[str, float] = {}

        def build() -> Call:
            torch.manual_seed(0)
            critic = copy.deepcopy(self.critic)
            real = torch.randn(self.shape, device=self.device)
            fake = torch.randn(self.shape, device=self.device)
            weights: list[Tensor] = [p for p in critic.parameters() if p.dim() > 1]
            function = (
                torch.compile(penalty, dynamic=False, fullgraph=True) if compiled else penalty
            )

            def call() -> tuple[Tensor, ...]:
                return torch.autograd.grad(function(critic, real, fake), weights)

            _check(critic, real, penalty, weights)
            call()
            if not compiled and not graph:
                info["peak_bytes"] = float(peak_bytes(call, self.device))
            return captured(call) if graph else call

        return Contender(name, role, build, info=info)

    def _floor(self) -> Call:
        return four_products(self.critic, self.shape[0], self.device)


def _check(critic: nn.Module, x: Tensor, penalty: Penalty, weights: list[Tensor]) -> None:
    """Where real and fake are one, so are all points between them, and chance plays no part."""
    found = torch.autograd.grad(penalty(critic, x, x), weights)
    wanted = torch.autograd.grad(textbook(critic, x, x), weights)
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-3, atol=1e-3 * float(w.abs().max()))
