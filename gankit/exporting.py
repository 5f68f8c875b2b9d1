"""Generators as files that other programs read."""

from __future__ import annotations

import inspect
import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit._version import __version__
from gankit.atomic import atomic_write
from gankit.domain_translator import DomainTranslator
from gankit.enhancer import LoadedEnhancer
from gankit.errors import CheckpointError, ConfigError, MissingExtra
from gankit.export_check import ADVICE, MANY_BATCHES, TRACED, Expected, Inputs, reason
from gankit.json_text import json_text
from gankit.loaded import Interface, LoadedGenerator
from gankit.model_folder import is_exported
from gankit.plain import plain_copy, unwrapped_copy
from gankit.saved import SavedRun, load_run
from gankit.training.noise import Noise, noise_for
from gankit.training.translation import least_size
from gankit.translator import LoadedTranslator
from gankit.upscaler import LoadedUpscaler
from gankit.weights_file import write_weights

SUFFIXES = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}
# The file within a .pt2 that holds the metadata, as JSON.
PT2_METADATA = "gankit.json"
# The side of the images that a graph of images is compared on, if the network takes so small ones.
_SIDE = 32


def export(
    run: str | os.PathLike[str] | nn.Module,
    format: str,
    out: str | os.PathLike[str] | None = None,
    *,
    inputs: Sequence[Tensor] | None = None,
    direction: str | None = None,
    trust: bool = False,
) -> Path:
    """Write the generator of a run, or any network, to a file.

    The graphs of ``"torch-export"`` and ``"onnx"`` take a batch of any size from 1, as ``z``
    ``[N, z_dim]`` (and int64 ``labels`` ``[N]`` where the generator is conditional), as ``input``
    where it takes images or sound (and noise ``z`` beside sound), and hold no op
    of gankit's; batch norm is folded into the layers before it. Before a file is there, its very
    bytes are loaded and compared with the network at batches of 1, 2, 5 and 17, and at each of 1 to
    33 and some up to 257 where torch cannot tell that the graph holds for all. They are made on the
    CPU. ``"safetensors"`` holds the weights of a run as they were trained, for ``gankit.load``.

    Each says what is needed to sample: ``z_dim``, ``z_distribution``, ``n_classes``, ``classes``
    (those that the data had) and their ``class_names``, ``image_shape``, ``value_range``, ``step``
    and ``gankit_version``, as text, in ONNX's ``metadata_props``, safetensors' metadata, and the
    extra file ``gankit.json`` of a ``.pt2``.

    Args:
        run: folder of a run, a checkpoint, or a network, whose eval mode is written.
        format: ``"safetensors"`` (of runs), ``"torch-export"`` or ``"onnx"``.
        out: the file; None: ``generator.safetensors``, ``.pt2`` or ``.onnx`` in the run's folder,
            with the direction in place of ``generator`` where there is one.
        inputs: what the network is called with, a batch in each first dimension. Not needed for
            one with an int attribute ``z_dim``, nor allowed for a run.
        direction: ``"a2b"`` or ``"b2a"``, for runs that translate both ways.
        trust: as for ``gankit.load``.

    Returns:
        The file that was written, whole or not at all.

    Raises:
        ConfigError: another format, or a network that cannot be exported for every batch size.
        CheckpointError: as ``gankit.load``.
        MissingExtra: the package for the format is not installed.
        OSError: the file cannot be written.
    """
    if format not in SUFFIXES:
        raise ConfigError(f"format is {format!r}; allowed are {', '.join(SUFFIXES)}")
    needed = {"safetensors": ("safetensors",), "onnx": ("onnx", "onnxscript", "onnxruntime")}
    for package in needed.get(format, ()):
        if find_spec(package) is None:
            raise MissingExtra(package, "export")
    if isinstance(run, nn.Module):
        if format == "safetensors":
            raise ConfigError(
                "format is 'safetensors', which is for runs; allowed for a network are "
                "torch-export and onnx, or safetensors.torch.save_file(network.state_dict(), ...)"
            )
        if out is None:
            raise ConfigError("out is None; allowed for a network is the file to write")
        chosen = _direction(run, direction)
        path, data = Path(out), _graph(_subject(run, inputs, chosen), format)
    else:
        if inputs is not None:
            raise ConfigError("inputs are for a network; allowed for a run is None")
        saved = load_run(run, trust=trust)
        chosen = _direction(saved.module, direction)
        if out is None and is_exported(saved.path):
            raise ConfigError(f"out is None; allowed for {run} is the file to write")
        path = (
            Path(out) if out else saved.path.with_name((chosen or "generator") + SUFFIXES[format])
        )
        if format == "safetensors":
            data = _safetensors(saved, chosen)
        else:
            data = _graph(_subject(saved.module, None, chosen), format)
    with atomic_write(path) as file:
        file.write(data)
    return path


def _direction(network: nn.Module, direction: str | None) -> str | None:
    if isinstance(network, LoadedTranslator):
        return network.direction(direction)
    if direction is not None:
        raise ConfigError(
            f"direction is {direction!r}, which is for runs of pix2pix, CycleGAN and DiscoGAN; "
            "allowed is None"
        )
    return None


def description_of(saved: SavedRun) -> dict[str, Any]:
    """What an exported generator needs of what its checkpoint says."""
    keys = (
        *("networks", "inference", "image_shape", "fields", "sample_rate", "z_distribution"),
        *("classes", "class_names", "domains", "exclusive", "run"),
    )
    description = {key: saved.description[key] for key in keys if key in saved.description}
    return {**description, "step": saved.step}


def _safetensors(saved: SavedRun, direction: str | None) -> bytes:
    description = description_of(saved)
    module = saved.module
    if isinstance(module, LoadedEnhancer):
        weights, metadata = module.network.state_dict(), module.metadata()
    elif isinstance(module, LoadedTranslator):
        assert direction is not None
        description["inference"] = {direction: description["inference"][direction]}
        weights, metadata = module.networks[direction].state_dict(), module.metadata(direction)
    elif isinstance(module, LoadedUpscaler | DomainTranslator):
        weights, metadata = module.network.state_dict(), module.metadata()
    else:
        weights, metadata = module.state_dict(), module.interface.metadata()
    try:
        return write_weights(weights, description, metadata)
    except TypeError as error:  # what gankit writes is plain
        raise CheckpointError(f"{saved.path} is damaged: {reason(error)}") from error


@dataclass(frozen=True)
class _Subject:
    """A network to be written, what it is called with, and what the file says of it."""

    name: str
    network: nn.Module
    inputs: Callable[[int], Inputs]
    names: tuple[str, ...]
    metadata: dict[str, str]
    # Dimensions of any size beside the batch: by the input's number and its dimension the size's
    # name, what the dimension is a multiple of in sizes, and the least size.
    sizes: Mapping[tuple[int, int], tuple[str, int, int]] = field(default_factory=dict)


def _subject(
    network: nn.Module, inputs: Sequence[Tensor] | None, direction: str | None
) -> _Subject:
    if inputs is None and isinstance(network, LoadedTranslator):
        assert direction is not None
        G, shape = network.networks[direction], network.shapes[direction[0]]
        return _of_images(G, shape, network.metadata(direction))
    if inputs is None and isinstance(network, DomainTranslator):
        metadata, k = network.metadata(), len(network.domains)
        return _of_images(network.network, network.image_shape, metadata, k)
    if inputs is None and isinstance(network, LoadedEnhancer):
        return _enhancer(network)
    if inputs is None and isinstance(network, LoadedUpscaler):
        return _of_images(network.network, (network.channels, _SIDE, _SIDE), network.metadata())
    if inputs is None and isinstance(network, LoadedGenerator):
        return _generator(network.network, network.interface)
    if inputs is None:
        if not hasattr(network, "z_dim"):
            raise ConfigError(
                "inputs is None; allowed for a network without an attribute z_dim is what it is "
                "called with, such as inputs=[torch.randn(2, 100)]"
            )
        z_dim, n_classes = noise_for(network).shape[0], getattr(network, "n_classes", None)
        subject = _generator(network, Interface(z_dim, None, (), n_classes))
        known = ("gankit_version", "z_dim", "n_classes")
        metadata = {key: text for key, text in subject.metadata.items() if key in known}
        return replace(subject, metadata=metadata)
    given = tuple(inputs)
    if not given or not all(isinstance(x, Tensor) and x.ndim and len(x) for x in given):
        raise ConfigError("inputs are no tensors with a batch in their first dimension")
    # The rows that were given, and no others: they may be images, codes or masks.
    some = [x.detach().cpu() for x in given]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(network.forward).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind in positional]
    names = [*named, *(f"input_{number}" for number in range(len(named), len(some)))]
    return _Subject(
        f"the network {type(network).__name__}",
        network,
        lambda n: tuple(x[torch.arange(n) % len(x)] for x in some),
        tuple(names[: len(some)]),
        {"gankit_version": __version__},
    )


def _of_images(
    network: nn.Module, shape: Sequence[int], metadata: dict[str, str], domains: int = 0
) -> _Subject:
    """A generator of images out of images, of ``shape`` where it does not take any size, and of
    targets of so many ``domains`` if there are any."""
    like = next(network.parameters(), torch.empty(0))
    channels, *size = shape
    multiple = int(getattr(network, "size_multiple", 0))
    sizes: dict[tuple[int, int], tuple[str, int, int]] = {}
    if multiple:
        least = least_size(network, 1) // multiple
        sizes = {(0, dim): (f"size_{dim}", multiple, least) for dim in (2, 3)}
        size = [least_size(network, _SIDE)] * 2

    def inputs(n: int) -> Inputs:
        height, width = size
        if n == TRACED:  # a graph is not made for any size where it sees the least
            height, width = height + multiple, width + 2 * multiple
        elif n == 2:
            height += multiple
        random = torch.Generator().manual_seed(n)
        images = torch.rand(n, channels, height, width, dtype=like.dtype, generator=random) * 2 - 1
        target = torch.rand(n, domains, generator=random).round().to(like.dtype)
        return (images, target) if domains else (images,)

    names = ("input", "target") if domains else ("input",)
    name = f"the generator {type(network).__name__}"
    return _Subject(name, network, inputs, names, metadata, sizes)


def _enhancer(module: LoadedEnhancer) -> _Subject:
    network, window = module.network, module.window
    like = next(network.parameters(), torch.empty(0))
    z_shape: Any = getattr(network, "z_shape", None)
    multiple = int(getattr(network, "size_multiple", 0))
    sizes = {(0, 2): ("length", multiple, 1)} if multiple else {}
    if z_shape is not None and multiple:
        sizes[1, 2] = ("length", 1, 1)

    def inputs(n: int) -> Inputs:
        # A graph is not made for any length where it sees the least.
        length = multiple * {TRACED: 5, 2: 3}.get(n, 2) if multiple else window
        random = torch.Generator().manual_seed(n)
        sound = torch.rand(n, 1, length, dtype=like.dtype, generator=random) * 2 - 1
        if z_shape is None:
            return (sound,)
        return sound, torch.randn(n, *z_shape(length), dtype=like.dtype, generator=random)

    name = f"the generator {type(network).__name__}"
    names = ("input",) if z_shape is None else ("input", "z")
    return _Subject(name, network, inputs, names, module.metadata(), sizes)


def _generator(network: nn.Module, interface: Interface) -> _Subject:
    like = next(network.parameters(), torch.empty(0))

    def inputs(n: int) -> Inputs:
        random = torch.Generator().manual_seed(n)
        distribution = interface.z_distribution or "normal"
        z = Noise((interface.z_dim,), distribution, "cpu", like.dtype, random)(n)
        labels = interface.labels(n)
        return (z,) if labels is None else (z, labels)

    names = ("z",) if interface.n_classes is None else ("z", "labels")
    name = f"the generator {type(network).__name__}"
    return _Subject(name, network, inputs, names, interface.metadata())


def _graph(subject: _Subject, format: str) -> bytes:
    """The bytes of the file, after they were seen to compute what the network does."""
    try:
        network = unwrapped_copy(subject.network).cpu().eval().requires_grad_(False)
    except Exception as error:  # a network of one's own may hold anything
        raise ConfigError(f"{subject.name} cannot be copied: {reason(error)}") from error
    expected = Expected.of(subject.name, network, subject.inputs)
    plain = plain_copy(network)
    with torch.no_grad():
        what = f"{expected.name} with layers of torch alone"
        expected.check(what, plain, in_file=False)
    write = {"torch-export": _torch_export, "onnx": _onnx}[format]
    return write(subject, plain, expected)


def _torch_export(subject: _Subject, plain: nn.Module, expected: Expected) -> bytes:
    inputs = subject.inputs(TRACED)
    shapes = _any_size(plain, subject)
    with _no_size_is_special(subject):
        program = _traced(
            expected, lambda: torch.export.export(plain, inputs, dynamic_shapes=shapes)
        )
    own = {str(node.target) for node in program.graph.nodes if "gankit" in str(node.target)}
    if own:
        raise ConfigError(
            f"{expected.name} cannot be exported: its forward calls {', '.join(sorted(own))}, "
            "which a program without gankit does not know; allowed are layers of gankit.nn, and "
            "torch's"
        )
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={PT2_METADATA: json_text(subject.metadata)})
    data = buffer.getvalue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.export.load(io.BytesIO(data)).module()
    expected.check(f"{expected.name} cannot be exported: its file", loaded, in_file=True)
    return data


def _onnx(subject: _Subject, plain: nn.Module, expected: Expected) -> bytes:
    import onnxruntime

    inputs = subject.inputs(TRACED)
    if torch.bfloat16 in [x.dtype for x in inputs]:
        raise ConfigError(
            f"{expected.name} takes bfloat16, which ONNX programs do not read from NumPy; allowed "
            "are float16, float32 and float64, such as network.float()"
        )
    program = _traced(
        expected,
        lambda: torch.onnx.export(
            plain,
            inputs,
            dynamo=True,
            input_names=subject.names,
            output_names=["images"],
            verbose=False,
            dynamic_shapes=_any_size(plain, subject),
        ),
    )
    model = program.model_proto
    for key, value in subject.metadata.items():
        model.metadata_props.add(key=key, value=value)
    data: bytes = model.SerializeToString()
    wrong = f"{expected.name} cannot be exported: its file"
    for given in model.graph.input:
        size = given.type.tensor_type.shape.dim[0]
        if not size.dim_param:
            raise ConfigError(f"{wrong} takes batches of {size.dim_value} alone; {ADVICE}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # has classes of its own
        raise ConfigError(f"{wrong} cannot be run by onnxruntime: {reason(error)}") from error

    def call(*inputs: Tensor) -> Tensor:
        fed = {name: x.numpy() for name, x in zip(subject.names, inputs, strict=True)}
        return torch.from_numpy(session.run(["images"], fed)[0])

    expected.check(wrong, call, in_file=True)
    if not _is_exact(plain, inputs, subject):
        more = Expected.of(expected.name, plain, subject.inputs, MANY_BATCHES)
        more.check(wrong, call, in_file=True)
    return data


def _is_exact(network: nn.Module, inputs: Inputs, subject: _Subject) -> bool:
    """Whether torch.export finds that one graph holds for every batch.

    Where it does not, torch.onnx.export writes the graph of the traced batch all the same, which
    may be right, as for a half of the batch, or one side of a branch.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _no_size_is_special(subject):
                torch.export.export(network, inputs, dynamic_shapes=_any_size(network, subject))
    except Exception:  # of any kind; the graph that was written is compared
        return False
    return True


def _no_size_is_special(subject: _Subject) -> AbstractContextManager[None]:
    """Torch makes other graphs for one pixel than for more, which is the least that a U-Net has."""
    if not subject.sizes:
        return nullcontext()
    from torch.fx.experimental import _config  # as torch.onnx.export does

    patch: AbstractContextManager[None] = _config.patch(  # type: ignore[attr-defined]
        backed_size_oblivious=True
    )
    return patch


def _any_size(network: nn.Module, subject: _Subject) -> tuple[Any, ...]:
    """The dynamic shapes of its inputs, arranged as the forward's parameters take them."""
    batch = torch.export.Dim("batch", min=1)
    left: list[Any] = [{0: batch} for _ in subject.names]
    for (number, dim), (name, multiple, least) in subject.sizes.items():
        size = torch.export.Dim(name, min=least)
        left[number][dim] = size if multiple == 1 else multiple * size
    shapes: list[Any] = []
    for parameter in inspect.signature(network.forward).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            shapes.append(tuple(left))
            break
        if left:
            shapes.append(left.pop(0))
    return tuple(shapes)


def _traced(expected: Expected, trace: Callable[[], Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return trace()
    except Exception as error:  # a network of one's own may do anything
        what = reason(error).partition(" For more information")[0]
        if "Constraints violated" in what:
            what = f"its forward does not hold for every batch size; {ADVICE}"
        raise ConfigError(f"{expected.name} cannot be exported: {what}") from error
