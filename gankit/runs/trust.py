"""What the settings of somebody else's run may name without running their code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gankit.errors import ConfigError, shortened
from gankit.runs.component import is_import_path, split_spec
from gankit.training.config import RunConfig, Spec

_SCHEDULES = (
    *("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR"),
    *("CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"),
)
# Whole paths, never prefixes: gankit.models.mlp.torch.hub.load begins as ours do. Callbacks have
# no entry, for those of gankit take names of files to write. Steps are those of gankit.gans too.
OWN: dict[str, frozenset[str]] = {
    "generator": frozenset(
        f"gankit.models.{name}"
        for name in (
            *("mlp.Generator", "conditional_mlp.Generator", "dcgan.Generator"),
            *("convolutional_autoencoder.Generator", "unet.UNetGenerator"),
            *("resnet.ResNetGenerator", "segan.Generator", "srresnet.SRResNet"),
            *("discogan.Generator", "stargan.Generator", "r3gan.Generator"),
            *("progan.Generator",),
            *("sagan.Generator", "biggan.Generator", "biggan_deep.Generator"),
        )
    ),
    "discriminator": frozenset(
        f"gankit.models.{name}"
        for name in (
            *("mlp.Discriminator", "conditional_mlp.Discriminator", "dcgan.Discriminator"),
            *("convolutional_autoencoder.Discriminator", "semi_supervised.Discriminator"),
            *("autoencoder.Discriminator", "autoencoder.Encoder", "patch.PatchDiscriminator"),
            *("segan.Discriminator", "srresnet.VGGDiscriminator"),
            *("discogan.Discriminator", "stargan.Discriminator", "r3gan.Discriminator"),
            *("progan.Discriminator",),
            *("sagan.Discriminator", "biggan.Discriminator", "biggan_deep.Discriminator"),
        )
    ),
    "step": frozenset({"gankit.training.GANStep"}),
    "loss": frozenset(
        f"gankit.losses.{name}" for name in ("resolve", "least_squares", "elbo", "squared_error")
    ),
    "penalty": frozenset({"gankit.losses.gradient_penalty"}),
    "schedule": frozenset(f"torch.optim.lr_scheduler.{name}" for name in _SCHEDULES)
    | {"gankit.training.schedules.LinearDecay"},
    "data": frozenset(),
    "callbacks": frozenset(),
}
# The settings that name code; loss and penalty stand in the arguments of a step.
_SETTINGS = ("generator", "discriminator", "step", "schedule", "data", "callbacks")
# No argument of a class above needs more; what could make it loop or allocate without end does.
_NUMBERS, _DEPTH, _LARGEST, _CHARACTERS = 1000, 4, 2**31, 200


def own(name: str) -> frozenset[str]:
    """The import paths that setting ``name``, or argument ``name`` of a step, may have."""
    if name != "step":
        return OWN.get(name, frozenset())
    from gankit import gans  # whose files import the trainer

    return OWN["step"] | gans.steps()


def check_own(source: str, name: str, spec: Spec, *, advice: str = "trust=True (--trust)") -> None:
    """Raise ConfigError unless ``spec`` of setting ``name`` is gankit's own, with plain arguments.

    ``name`` may be an argument of the step, such as ``step.loss``. Nothing of others is imported.
    ``source`` says where the spec stands, ``advice`` how one allows it.
    """
    path, arguments = split_spec(f"{source}: {name}", spec)
    if path not in own(name.removeprefix("step.")):
        raise ConfigError(
            f"{source} names code that is not gankit's: {name} is {shortened(path)}"
            f"{f' with {shortened(arguments)}' if arguments else ''}; building it runs that code "
            f"with all your rights, so give {advice} only if you trust whoever wrote it"
        )
    for key, value in arguments.items():
        if not _is_plain(value):
            raise ConfigError(
                f"{source}: {name} {path!r} has the argument {shortened(key)} = {shortened(value)};"
                f" without {advice.removesuffix(',')}, allowed are numbers below 2**31, short "
                f"text that is no import path, and lists of them of at most {_NUMBERS:,} in all"
            )


def foreign_parts(config: RunConfig) -> Iterator[tuple[str, Spec]]:
    """What in ``config`` names code, gankit's own or not: the setting and its spec.

    An argument of the step that does so comes by itself, as ``step.loss``, and is left out of the
    step's.
    """
    for name in _SETTINGS:
        value = getattr(config, name)
        if name == "step":
            yield from _parts_of_step(value)
            continue
        for spec in value if name == "callbacks" else (value,):
            # A name that gankit.data knows only has files read.
            known = name == "data" and _reads_files(split_spec(name, spec)[0])
            if spec is not None and not known:
                yield name, spec
    if is_import_path(config.evaluate_features):
        yield "evaluate_features", config.evaluate_features


def _reads_files(path: str) -> bool:
    """Whether data of this name are files, and no code or command of others is run for them."""
    kind, _, urls = path.partition(":")
    # pipe:COMMAND is a URL, and others have programs started; braces may hide where one begins.
    return not is_import_path(path) and (kind != "wds" or ":" not in urls.replace("::", ""))


def _parts_of_step(spec: Spec) -> Iterator[tuple[str, Spec]]:
    path, arguments = split_spec("step", spec)
    named = {
        key: value
        for key, value in arguments.items()
        if isinstance(key, str)
        and (isinstance(value, dict) or (isinstance(value, str) and is_import_path(value)))
    }
    left = {key: value for key, value in arguments.items() if key not in named}
    yield "step", {"class_path": path, "init_args": left}
    for key, value in named.items():
        yield f"step.{key}", value


def check_config(
    config: RunConfig, source: str, *, said: Iterable[str] = (), advice: str = "trust=True"
) -> None:
    """Raise ConfigError if a setting of ``config``, except those ``said``, names other code."""
    said = frozenset(said)
    for name, spec in foreign_parts(config):
        if name not in said and not (name.startswith("step.") and "step" in said):
            check_own(source, name, spec, advice=advice)


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
            # A class might import what it is told by its path.
            if len(item) > _CHARACTERS or is_import_path(item):
                return False
        elif isinstance(item, int):
            if abs(item) >= _LARGEST:
                return False
        elif not (item is None or isinstance(item, float)):
            return False
    return True
