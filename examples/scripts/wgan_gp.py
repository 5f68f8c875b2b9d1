"""WGAN with a gradient penalty of its own, by double backward."""

from __future__ import annotations

import torch
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, autograd, nn, optim

args = parse()
LAMBDA, CRITIC_ITERS, DIM = 10.0, 5, 8 * args.width

netG = nn.Sequential(
    nn.Linear(128, DIM),
    nn.ReLU(True),
    nn.Linear(DIM, DIM),
    nn.ReLU(True),
    nn.Linear(DIM, DIM),
    nn.ReLU(True),
    nn.Linear(DIM, 1024),
    nn.Tanh(),
)
netD = nn.Sequential(
    nn.Linear(1024, DIM),
    nn.LeakyReLU(0.2),
    nn.Linear(DIM, DIM),
    nn.LeakyReLU(0.2),
    nn.Linear(DIM, DIM),
    nn.LeakyReLU(0.2),
    nn.Linear(DIM, 1),
)
optimizerD = optim.Adam(netD.parameters(), lr=1e-4, betas=(0.5, 0.9))
optimizerG = optim.Adam(netG.parameters(), lr=1e-4, betas=(0.5, 0.9))


def calc_gradient_penalty(real_data: Tensor, fake_data: Tensor) -> Tensor:
    """(|gradient| - 1)^2 at random points between real and generated samples."""
    alpha = torch.rand(real_data.size(0), 1).expand_as(real_data)
    interpolates = (alpha * real_data + (1 - alpha) * fake_data).requires_grad_(True)
    disc = netD(interpolates)
    gradients = autograd.grad(
        outputs=disc,
        inputs=interpolates,
        grad_outputs=torch.ones_like(disc),
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    penalty: Tensor = ((gradients.norm(2, dim=1) - 1) ** 2).mean() * LAMBDA
    return penalty


for iteration in range(args.steps):
    for p in netD.parameters():
        p.requires_grad = True
    for _ in range(CRITIC_ITERS):
        real = images(args.batch_size)[0].flatten(1)
        netD.zero_grad()
        with torch.no_grad():
            fake = netG(torch.randn(args.batch_size, 128))
        D_cost = netD(fake).mean() - netD(real).mean() + calc_gradient_penalty(real, fake)
        D_cost.backward()
        optimizerD.step()
    for p in netD.parameters():
        p.requires_grad = False
    netG.zero_grad()
    G_cost = -netD(netG(torch.randn(args.batch_size, 128))).mean()
    G_cost.backward()
    optimizerG.step()
    if iteration % 50 == 0:
        print(f"iteration {iteration}: critic {D_cost.item():.4f}, generator {G_cost.item():.4f}")

finish(args, netG, netD)
