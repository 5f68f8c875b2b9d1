"""Auxiliary classifier GAN: the discriminator also names the class."""

from __future__ import annotations

import torch
from options import finish, images, parse  # type: ignore[import-not-found]
from torch import Tensor, nn

opt = parse(dropout=0.5)
ndf = opt.width // 2


class NetG(nn.Module):
    """Noise times the class's embedding to an image, by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 100)
        self.fc1 = nn.Linear(100, 12 * ndf)
        self.tconv2 = nn.Sequential(
            nn.ConvTranspose2d(12 * ndf, 8 * ndf, 4, 1, 0, bias=False),
            nn.BatchNorm2d(8 * ndf),
            nn.ReLU(True),
        )
        self.tconv3 = nn.Sequential(
            nn.ConvTranspose2d(8 * ndf, 4 * ndf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(4 * ndf),
            nn.ReLU(True),
        )
        self.tconv4 = nn.Sequential(
            nn.ConvTranspose2d(4 * ndf, 2 * ndf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * ndf),
            nn.ReLU(True),
        )
        self.tconv5 = nn.Sequential(nn.ConvTranspose2d(2 * ndf, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """``[N, 100]`` and ``[N]`` to ``[N, 3, 32, 32]``."""
        fc1 = self.fc1(noise * self.embed(labels)).view(-1, 12 * ndf, 1, 1)
        out: Tensor = self.tconv5(self.tconv4(self.tconv3(self.tconv2(fc1))))
        return out


class NetD(nn.Module):
    """An image to the probability of being real and the scores of the classes."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, ndf, 2), (ndf, 2 * ndf, 1), (2 * ndf, 4 * ndf, 2), (4 * ndf, 8 * ndf, 2)]
        for number, (inputs, outputs, stride) in enumerate(sizes, 1):
            layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)]
            if number > 1:
                layers.append(nn.BatchNorm2d(outputs))
            layers += [nn.LeakyReLU(0.2, inplace=True), nn.Dropout(opt.dropout, inplace=False)]
            self.add_module(f"conv{number}", nn.Sequential(*layers))
        self.fc_dis = nn.Linear(4 * 4 * 8 * ndf, 1)
        self.fc_aux = nn.Linear(4 * 4 * 8 * ndf, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, 3, 32, 32]`` to ``[N]`` and ``[N, 10]``."""
        for number in range(1, 5):
            x = getattr(self, f"conv{number}")(x)
        flat = x.view(-1, 4 * 4 * 8 * ndf)
        return torch.sigmoid(self.fc_dis(flat)).squeeze(1), self.fc_aux(flat)


netG, netD = NetG(), NetD()
dis_criterion, aux_criterion = nn.BCELoss(), nn.CrossEntropyLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=0.0002, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=0.0002, betas=(0.5, 0.999))

for i in range(opt.steps):
    real, label = images(opt.batch_size, 3)
    netD.zero_grad()
    dis_output, aux_output = netD(real)
    errD_real = dis_criterion(dis_output, torch.ones(opt.batch_size))
    errD_real = errD_real + aux_criterion(aux_output, label)
    errD_real.backward()
    wanted = torch.randint(0, 10, (opt.batch_size,))
    fake = netG(torch.randn(opt.batch_size, 100), wanted)
    dis_output, aux_output = netD(fake.detach())
    errD_fake = dis_criterion(dis_output, torch.zeros(opt.batch_size))
    errD_fake = errD_fake + aux_criterion(aux_output, wanted)
    errD_fake.backward()
    optimizerD.step()

    netG.zero_grad()
    dis_output, aux_output = netD(fake)
    errG = dis_criterion(dis_output, torch.ones(opt.batch_size))
    errG = errG + aux_criterion(aux_output, wanted)
    errG.backward()
    optimizerG.step()
    if i % 50 == 0:
        print(f"[{i}] Loss_D: {(errD_real + errD_fake).item():.4f} Loss_G: {errG.item():.4f}")

finish(opt, netG, netD)
