"""GANStep with a relativistic loss: G's turn sees D's answer to the real images."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from gankit.losses import resolve
from gankit.training import GANStep, Noise, gan_adam
from tests.training.nets import SHAPE, Z_DIM, small_discriminator, small_generator


def noise() -> Noise:
    return Noise((Z_DIM,), dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("settings", [{}, {"paired": False}, {"n_critic": 2}], ids=str)
@pytest.mark.parametrize("name", ["relativistic", "relativistic-average", "least-squares", "hinge"])
def test_games_on_scores_equal_the_plain_loop(name: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    G, D = small_generator().double(), small_discriminator(0.0, "logit").double()
    G2, D2 = copy.deepcopy(G), copy.deepcopy(D)
    before = [p.detach().clone() for p in G.parameters()]
    step = GANStep(
        G,
        D,
        gan_adam(G.parameters()),
        gan_adam(D.parameters()),
        loss=name,
        noise=noise(),
        **settings,
    )
    game, z = resolve(name, from_logits=True), noise()
    g_adam = torch.optim.Adam(G2.parameters(), 2e-4, betas=(0.5, 0.999))
    d_adam = torch.optim.Adam(D2.parameters(), 2e-4, betas=(0.5, 0.999))
    data = torch.Generator().manual_seed(5)
    for call in range(1, 31):
        real = torch.rand(7, *SHAPE, dtype=torch.float64, generator=data) * 2 - 1
        ours = step(real)
        d_loss = game.discriminator(D2(real), D2(G2(z(7)).detach()))
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()
        torch.testing.assert_close(ours["d_loss"], d_loss.detach())
        if call % settings.get("n_critic", 1):
            continue
        fake = D2(G2(z(7)))
        g_loss = game.generator(fake, D2(real)) if game.relativistic else game.generator(fake)
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()
        torch.testing.assert_close(ours["g_loss"], g_loss.detach())
    assert any(not torch.equal(a, b) for a, b in zip(before, G.parameters(), strict=True))
    for network, plain in ((G, G2), (D, D2)):
        for p, q in zip(network.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-10)
