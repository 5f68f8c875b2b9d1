"""What the settings of somebody else's run may name without running their code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gankit.errors import ConfigError, shortened
from gankit.recipes.component import is_import_path, split_spec
from gankit.recipes.config import RunConfig, Spec

_SCHEDULES = (
    *("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR"),
    *("CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"),
)
# Whole paths, never prefixes: gankit.models.mlp.torch.hub.load begins as ours do. Callbacks have
# no entry, for those of gankit take names of files to write.
OWN: dict[str, frozenset[str]] = {
    "generator": frozenset(
        f"gankit.models.{family}.Generator"
        for family in ("mlp", "conditional_mlp", "dcgan", "convolutional_autoencoder")
    ),
    "discriminator": frozenset(
        f"gankit.models.{name}"
        for name in (
            *("mlp.Discriminator", "conditional_mlp.Discriminator", "dcgan.Discriminator"),
            *("convolutional_autoencoder.Discriminator", "semi_supervised.Discriminator"),
            *("autoencoder.Discriminator", "autoencoder.Encoder"),
        )
    ),
    "loss": frozenset(
        f"gankit.losses.{name}"
        for name in ("resolve", "least_squares", "ebgan", "began", "elbo", "squared_error")
    ),
    "penalty": frozenset(
        {"gankit.losses.gradient_penalty", "gankit.losses.supervised_cross_entropy"}
    ),
    "schedule": frozenset(f"torch.optim.lr_scheduler.{name}" for name in _SCHEDULES),
    "data": frozenset(),
    "callbacks": frozenset(),
}
# No argument of a class above needs more; what could make it loop or allocate without end does.
_NUMBERS, _DEPTH, _LARGEST, _CHARACTERS = 1000, 4, 2**31, 200


def check_own(source: str, name: str, spec: Spec, *, advice: str = "trust=True (--trust)") -> None:
    """Raise ConfigError unless ``spec`` of setting ``name`` is gankit's own, with plain arguments.

    Nothing is imported. ``source`` says where the spec stands, ``advice`` how one allows it.
    """
    path, arguments = split_spec(f"{source}: {name}", spec)
    if path not in OWN[name]:
        raise ConfigError(
            f"{source} names code that is not gankit's: {name} is {shortened(path)}"
            f"{f' with {shortened(arguments)}' if arguments else ''}; building it runs that code "
            f"with all your rights, so give {advice} only if you trust whoever wrote it"
        )
    for key, value in arguments.items():
        if not _is_plain(value):
            raise ConfigError(
                f"{source}: {name} {path!r} has the argument {shortened(key)} = {shortened(value)};"
                f" without {advice}, allowed are numbers below 2**31, short text, and lists of "
                f"them of at most {_NUMBERS:,} in all"
            )


def foreign_parts(config: RunConfig) -> Iterator[tuple[str, Spec]]:
    """The settings of ``config`` that name code, gankit's own or not, each with its spec."""
    for name in OWN:
        value = getattr(config, name)
        for spec in value if name == "callbacks" else (value,):
            if not (spec is None or (isinstance(spec, str) and _is_known_name(name, spec))):
                yield name, spec


def check_config(
    config: RunConfig, source: str, *, said: Iterable[str] = (), advice: str = "trust=True"
) -> None:
    """Raise ConfigError if a setting of ``config``, except those ``said``, names other code."""
    said = frozenset(said)
    for name, spec in foreign_parts(config):
        if name not in said:
            check_own(source, name, spec, advice=advice)


def _is_known_name(name: str, spec: str) -> bool:
    """Whether ``spec`` is a name that gankit looks up, such as ``"digits"``, with no import."""
    return name in ("loss", "data") and not is_import_path(spec)


def _is_plain(value: Any) -> bool:
    """Whether ``value`` is numbers, short text and lists of them, not deep and not many."""
    left = _NUMBERS
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > _DEPTH:
            return False
        if isinstance(item, (list, tuple)):
            if len(item) > left:
                return False
            waiting += [(inner, depth + 1) for inner in item]
        elif isinstance(item, str):
            if len(item) > _CHARACTERS:
                return False
        elif isinstance(item, int):
            if abs(item) >= _LARGEST:
                return False
        elif not (item is None or isinstance(item, float)):
            return False
    return True
