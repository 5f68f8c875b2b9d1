"""How labels reach the networks of a conditional GAN, and what labels they can be given."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses.wrapped import innermost
from gankit.scalars import is_integer
from gankit.training.arguments import Auto, auto
from gankit.training.phases import Batch

_INTEGERS = (torch.int64, torch.int32)


class Labelling:
    """G is called as ``G(z, labels)`` (Mirza and Osindero, 2014, arXiv 1411.1784).

    D is called as ``D(images, labels)`` where its forward takes a second argument. Else it must
    have a class head, whose cross entropy joins both losses (Odena et al., 2016, arXiv 1610.09585).

    Attributes:
        fields: what a step reads of a batch: ``label`` too if ``conditional``; "auto": iff G has an
            int attribute ``n_classes``.
        classifies: D has to have a class head.

    Raises ConfigError if a conditional G takes no labels.
    """

    def __init__(self, G: nn.Module, D: nn.Module, conditional: Auto) -> None:
        classes = getattr(G, "n_classes", None)
        self._classes = int(classes) if is_integer(classes) else None
        asked = auto("conditional", conditional)
        labelled = self._classes is not None if asked == "auto" else asked
        self._takes = {name: takes_labels(own) for name, own in (("G", G), ("D", D))}
        self._embedded = [
            name
            for name, own in (("G", G), ("D", D))
            if any(isinstance(module, nn.Embedding) for module in own.modules())
        ]
        if labelled and not self._takes["G"]:
            why = "conditional is True" if asked is True else "it has n_classes"
            raise ConfigError(
                f"G ({type(G).__name__}) takes no labels, but {why}; expected a forward(z, labels)"
            )
        self.fields = ("image", "label") if labelled else ("image",)
        self.classifies = labelled and not self._takes["D"]

    def of_g(self, batch: Batch) -> tuple[Tensor, ...]:
        """What G is given of ``batch`` beside noise."""
        return (batch["label"],) if "label" in batch else ()

    def of_d(self, batch: Batch) -> tuple[Tensor, ...]:
        """What D is given of ``batch`` beside images."""
        return () if self.classifies else self.of_g(batch)

    def check(self, labels: Tensor) -> None:
        """Raise ConfigError unless ``labels`` are what the networks can be given.

        An ``nn.Embedding`` and a class head ask for class numbers, which G's ``n_classes`` bounds.
        Others, such as rows of attributes, are left to the networks.
        """
        for name in ("G", "D"):
            if not self._takes[name] and not self.classifies:
                more = "" if name == "G" else ", or conditional=True and a D with a class head"
                raise ConfigError(
                    f"labels are given, but {name}'s forward takes none; expected a second "
                    f"argument{more}"
                )
        integers = labels.dtype in _INTEGERS
        if (self._embedded and not integers) or (self.classifies and labels.dtype != torch.int64):
            embedded = self._embedded and not integers
            why = f"{self._embedded[0]} has an nn.Embedding" if embedded else "D has a class head"
            raise ConfigError(
                f"labels are {labels.dtype}; expected int64 class numbers, because {why}"
            )
        if not integers or self._classes is None:
            return
        if labels.ndim != 1:
            raise ConfigError(
                f"labels have shape {list(labels.shape)}; expected class numbers [{len(labels)}], "
                "one for each image, because G has n_classes"
            )
        # On other devices a look at the values would wait for them.
        if labels.is_cpu and not 0 <= int(labels.min()) <= int(labels.max()) < self._classes:
            raise ConfigError(
                f"labels lie in {int(labels.min())} to {int(labels.max())}; expected 0 to "
                f"{self._classes - 1}, because G.n_classes is {self._classes}"
            )


def takes_labels(network: nn.Module) -> bool:
    """Whether the forward of ``network`` has room for a second argument."""
    try:
        inspect.signature(innermost(network).forward).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # compiled code has no signature
        return True
    return True


def check_takes_labels(penalty: Callable[..., Tensor]) -> None:
    """Raise ConfigError unless ``penalty`` can be given labels."""
    parameters = inspect.signature(penalty).parameters.values()
    if not any(p.name == "critic_args" or p.kind is p.VAR_KEYWORD for p in parameters):
        raise ConfigError(
            "penalty has no parameter critic_args, in which it would be given the labels; allowed "
            "with labels is a function such as gankit.losses.gradient_penalty"
        )
