"""What a family is built from: the networks, optimizers and data that a run's settings name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gankit.data import FieldData
from gankit.training.config import Spec


class Parts(Protocol):
    """What :meth:`gankit.training.Step.from_parts` is given.

    Networks and optimizers are made by its calls, in their order, which is the order in which the
    weights are drawn. All raise ConfigError for settings that do not fit.
    """

    @property
    def data(self) -> FieldData:
        """The data set."""

    @property
    def execution(self) -> dict[str, Any]:
        """``precision``, ``accumulate``, ``ema``, ``channels_last`` and ``cuda_graph``, and where
        it is set ``augment``, for the constructor of ``Step``."""

    @property
    def seed(self) -> int:
        """The run's seed, for what is decided once, such as which samples keep their label."""

    @property
    def d_lr(self) -> float:
        """The learning rate of discriminators: the setting ``d_lr``, else ``lr``.

        A run that sets ``d_lr`` is refused where it is not read.
        """

    def generator(self, name: str = "G", **offers: Any) -> nn.Module:
        """A new network of the setting ``generator``, which is ``name`` among the step's networks.

        Arguments that the setting leaves open are filled in by name: ``z_dim``, ``image_shape`` and
        ``n_classes`` as the run and its data have them, then ``offers``.
        """

    def discriminator(self, name: str = "D", **offers: Any) -> nn.Module:
        """The same of the setting ``discriminator``."""

    def optimizer(
        self, *modules: nn.Module, lr: float | None = None, weight_decay: float = 0.0
    ) -> torch.optim.Optimizer:
        """The settings' optimizer over the parameters of ``modules``; ``lr`` by default theirs.

        ``weight_decay`` times each weight is added to its gradient.
        """

    def loss(self, spec: Any, **offers: Any) -> Any:
        """A loss that an argument of the step names: its name as it is, an import path or
        ``{class_path, init_args}`` as an ``AdversarialLoss`` or ``AutoencoderLoss``."""

    def penalty(self, spec: Spec | None) -> Callable[..., Tensor] | None:
        """The penalty of D, real and fake images that an argument of the step names, or None."""
