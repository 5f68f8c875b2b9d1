"""Unrolled GAN: G's loss is that of a D some updates ahead.

Metz, Poole, Pfau and Sohl-Dickstein, 2016, arXiv 1611.02163. A G that moves all samples to where D
is weakest gains nothing if the next updates of D are part of its loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gankit.errors import ConfigError
from gankit.losses.wrapped import eagerly
from gankit.training import GANStep
from gankit.training.arguments import whole
from gankit.training.config import Recipe, RunConfig
from gankit.training.phases import Batch, Scalars


class UnrolledGANStep(GANStep):
    """A ``GANStep`` whose G learns from a D that is ``unrolled`` updates ahead.

    In G's update D's loss on the batch and on G's images is lowered that many times by the formula
    of D's optimizer, from its present state; G's loss is that of the D thus found, and its gradient
    goes back through these updates. D itself then learns from where it was.

    Args:
        G, D: as for :class:`gankit.training.GANStep`. D's layers need a second derivative.
        g_optimizer: of G.
        d_optimizer: of D, a ``torch.optim.Adam`` without ``amsgrad`` and ``maximize``. What hooks
            add to its updates, such as clipped gradients, is not part of the unrolled ones.
        loss: as for ``GANStep``.
        unrolled: updates of D that G looks ahead, at least 1. Each costs about two updates of D.
        settings: those of ``GANStep``, except ``penalty``, ``clip_weights`` and class heads.

    Raises ConfigError for arguments outside what is said here.
    """

    whole_batch: ClassVar[str] = "G looks ahead along the updates of D on a whole batch"

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        loss: Any = "non-saturating",
        *,
        unrolled: int = 5,
        **settings: Any,
    ) -> None:
        for name in ("penalty", "clip_weights"):
            if settings.get(name) is not None:
                raise ConfigError(
                    f"{name} is {settings[name]!r}; allowed is None, for it is not unrolled"
                )
        super().__init__(G, D, g_optimizer, d_optimizer, loss, **settings)
        self.unrolled = whole("unrolled", unrolled)
        if self.labelling.classifies:
            raise ConfigError("D has a class head, whose loss is not unrolled; expected scores")
        if self.shared:
            raise ConfigError(
                f"D shares {', '.join(self.shared)} with G; expected weights of its own"
            )
        extras = ("amsgrad", "maximize")
        used = [e for e in extras if any(g.get(e) for g in d_optimizer.param_groups)]
        if type(d_optimizer) is not torch.optim.Adam or used:
            came = " with ".join([type(d_optimizer).__name__, *used])
            raise ConfigError(
                f"d_optimizer is {came}; allowed is torch.optim.Adam without amsgrad and maximize"
            )

    def _g_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        fake, real = self.shown(self.fakes(batch), batch), self.shown(batch["image"], batch)
        with eagerly():  # compiled code has no double backward
            D, real_out = self._with(self.ahead(real, fake, batch)), None
            if self.loss.relativistic:
                real_out, fake_out = self.critic.both(real, fake, batch, D)
            else:
                fake_out = self.critic(fake, batch, D)
        self.stage = f"G's side of the loss {self.loss.name!r}"
        loss = self.g_objective(fake_out, real_out)
        return loss, {"g_loss": loss.detach()}

    def ahead(self, real: Tensor, fake: Tensor, batch: Batch) -> dict[str, Tensor]:
        """D's weights by name after ``unrolled`` updates, as functions of the images ``fake``.

        Those alone that D's optimizer updates.
        """
        held = {id(p) for group in self.d_optimizer.param_groups for p in group["params"]}
        # Until the first update all that it holds, then what has had a gradient.
        state = self.d_optimizer.state
        learning = {
            name: p
            for name, p in self.D.named_parameters()
            if id(p) in held and (not state or state.get(p))
        }
        adam = _Adam(self.d_optimizer, list(learning.values()))
        sizes = [p.numel() for p in learning.values()]

        def named(vector: Tensor) -> dict[str, Tensor]:
            parts = zip(learning.items(), vector.split(sizes), strict=True)
            return {name: part.view(p.shape) for (name, p), part in parts}

        with torch.enable_grad():
            weights = _joined(p.detach() for p in learning.values()).requires_grad_()
            for _ in range(self.unrolled):
                outs = self.critic.both(real, fake, batch, self._with(named(weights)))
                self.stage = f"D's side of the loss {self.loss.name!r}, unrolled,"
                loss = self.d_objective(*outs)
                (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
                weights = adam(weights, gradient)
            return named(weights)

    def _with(self, weights: dict[str, Tensor]) -> Callable[..., Any]:
        """D with other weights. Running statistics follow D's own updates alone."""
        buffers = {name: buffer.clone() for name, buffer in self.D.named_buffers()}
        return lambda *inputs: functional_call(self.D, {**weights, **buffers}, inputs)


class _Adam:
    """Adam's update (Kingma and Ba, 2014, arXiv 1412.6980) as a function with a derivative.

    It goes on from the state that ``optimizer``, which stays as it is, has for ``parameters``, all
    of them in one vector.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]
    ) -> None:
        groups = {p: group for group in optimizer.param_groups for p in group["params"]}

        def setting(read: Callable[[dict[str, Any]], Any]) -> Tensor:
            return _joined(read(groups[p]) * torch.ones_like(p) for p in parameters)

        def kept(key: str) -> Tensor:
            return _joined(
                optimizer.state[p][key] * torch.ones_like(p)
                if optimizer.state.get(p)
                else torch.zeros_like(p)
                for p in parameters
            )

        self._lr, self._eps = setting(lambda group: group["lr"]), setting(lambda g: g["eps"])
        self._decay = setting(lambda group: group["weight_decay"])
        self._betas = setting(lambda g: g["betas"][0]), setting(lambda g: g["betas"][1])
        self._step, self._mean, self._square = map(kept, ("step", "exp_avg", "exp_avg_sq"))

    def __call__(self, weights: Tensor, gradient: Tensor) -> Tensor:
        first, second = self._betas
        gradient = gradient + self._decay * weights
        self._step = self._step + 1
        self._mean = first * self._mean + (1 - first) * gradient
        self._square = second * self._square + (1 - second) * gradient.square()
        # The root has no derivative at 0, where a weight has never had a gradient.
        known = self._square > 0
        root = torch.where(known, torch.where(known, self._square, 1).sqrt(), 0)
        root = root / (1 - second**self._step).sqrt()
        return weights - self._lr / (1 - first**self._step) * self._mean / (root + self._eps)


def _joined(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


UNROLLED = Recipe(
    "unrolled",
    "unrolled GAN on a ring of points (Metz et al., 2016)",
    RunConfig(
        "unrolled",
        generator={
            "class_path": "gankit.models.mlp.Generator",
            "init_args": {"hidden": [128, 128]},
        },
        discriminator={
            "class_path": "gankit.models.mlp.Discriminator",
            "init_args": {"hidden": [128, 128], "dropout": 0.0, "output": "logit"},
        },
        step={"class_path": "gankit.gans.unrolled.UnrolledGANStep", "init_args": {"unrolled": 5}},
        data="toy:ring",
        z_dim=256,
        epochs=None,
        steps=25_000,
        batch_size=512,
        lr=1e-3,
        d_lr=1e-4,
        betas=(0.5, 0.999),
    ),
    (
        "The ring and the step: Metz, Poole, Pfau and Sohl-Dickstein, 2016, arXiv 1611.02163, "
        "sections 2.2 and 3.1",
        "Five unrolled updates, two hidden layers of 128, 256 numbers of noise, batch 512, Adam "
        "1e-3 for G and 1e-4 for D with betas (0.5, 0.999), 25,000 steps: the authors' "
        "https://github.com/poolio/unrolled_gan, with tanh between the layers and the minimax loss",
        "LeakyReLU and the non-saturating loss: gankit defaults",
    ),
)
RECIPES = (UNROLLED,)
