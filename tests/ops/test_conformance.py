"""Every op against its float64 reference: backend x dtype x layout x gradient layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from op_specs import SPECS, gradients, layouts
from torch._subclasses.fake_tensor import FakeTensorMode

import gankit
import gankit.ops
from gankit.ops.registry import OpSpec, Sample

OPS = sorted(SPECS)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# Compiling takes nearly all of the time of its tests.
COMPILED = pytest.mark.parametrize(
    "compiled", ["once", pytest.param("each", marks=pytest.mark.slow)]
)
WITHOUT_COMPILING = ("test_schema", "test_autograd_registration", "test_faketensor")


def call(spec: OpSpec, tensors: tuple[torch.Tensor, ...], kwargs: Any) -> torch.Tensor:
    result: torch.Tensor = getattr(gankit.ops, spec.name)(*tensors, **kwargs)
    return result


def skip_what_triton_lacks(spec: OpSpec, backend: str, device: torch.device, dtype: Any) -> None:
    if backend == "triton" and dtype not in spec.kernels[0].triton_dtypes:
        pytest.skip(f"Triton: no kernel for {dtype}")
    if backend == "triton" and device.type == "cpu" and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter has no bfloat16")


def with_layout(sample: Sample, layout: str) -> tuple[torch.Tensor, ...] | None:
    """The tensors of the sample in a layout, or None where the first has no such layout."""
    found = [dict(layouts(x)) for x in sample.tensors]
    if layout not in found[0]:
        return None
    return tuple(f.get(layout, x) for f, x in zip(found, sample.tensors, strict=True))


def widened(sample: Sample) -> Sample:
    """The sample with float64 tensors among its keyword arguments."""
    kwargs = {
        key: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for key, v in sample.kwargs.items()
    }
    return replace(sample, kwargs=kwargs)


def differentiate(
    spec: OpSpec,
    tensors: tuple[torch.Tensor, ...],
    sample: Sample,
    gradient: str,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]] | None:
    """Output, gradients, and gradients of their sum of squares (None without that layout)."""
    leaves = [x.detach().requires_grad_(i in sample.grad) for i, x in enumerate(tensors)]
    inputs = [leaves[i] for i in sample.grad]
    y = call(spec, tuple(leaves), sample.kwargs)
    chosen = dict(gradients(y, dtype)).get(gradient)
    if chosen is None:
        return None
    chosen = chosen.requires_grad_()
    first = torch.autograd.grad(y, inputs, chosen, create_graph=True)
    energy = sum(g.double().square().sum() for g in first)
    second = torch.autograd.grad(energy, chosen)  # type: ignore[arg-type]
    return y.detach(), tuple(g.detach() for g in first), second


@pytest.mark.parametrize(
    "layout", ["contiguous", "channels_last", "permuted", "sliced", "misaligned"]
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", OPS)
def test_against_float64_reference(
    name: str, dtype: torch.dtype, layout: str, on_target: tuple[str, torch.device]
) -> None:
    spec, (backend, device) = SPECS[name], on_target
    skip_what_triton_lacks(spec, backend, device, dtype)
    rtol, atol = spec.tolerances[dtype]
    compared = 0
    for sample in spec.samples(dtype, device):
        tensors = with_layout(sample, layout)
        if tensors is None:
            continue
        wide = tuple(
            x.double() if x.is_floating_point() else x for x in tensors
        )  # keeps the strides, which the random stream follows
        for gradient in ("dense", "expanded", "permuted"):
            found = differentiate(spec, tensors, sample, gradient, dtype)
            with gankit.backend("reference"):
                wanted = differentiate(spec, wide, widened(sample), gradient, dtype)
            if found is None or wanted is None:
                assert found is None
                assert wanted is None
                continue
            assert found[0].shape == wanted[0].shape
            assert found[0].dtype == dtype
            assert all(
                g.shape == tensors[i].shape for g, i in zip(found[1], sample.grad, strict=True)
            )
            for f, w in zip(
                (found[0], *found[1], *found[2]), (wanted[0], *wanted[1], *wanted[2]), strict=True
            ):
                torch.testing.assert_close(f.double(), w.double(), rtol=rtol, atol=atol)
            compared += 1
    if compared == 0:
        pytest.skip(f"no sample of {name} has the layout {layout}")


@pytest.mark.parametrize("name", OPS)
def test_strides_follow_the_fake(name: str, on_target: tuple[str, torch.device]) -> None:
    spec, (_, device) = SPECS[name], on_target
    for sample in spec.samples(torch.float32, device):
        for _, x in layouts(sample.tensors[0]):
            tensors = (x, *sample.tensors[1:])
            real = call(spec, tensors, sample.kwargs)
            with FakeTensorMode() as mode:
                kwargs = {
                    k: mode.from_tensor(v) if isinstance(v, torch.Tensor) else v
                    for k, v in sample.kwargs.items()
                }
                fake = call(spec, tuple(mode.from_tensor(t) for t in tensors), kwargs)
            assert real.shape == fake.shape
            # PyTorch itself is of two minds about strides that lead nowhere.
            steps = [d for d, size in enumerate(real.shape) if size != 1 and real.numel() > 0]
            assert [real.stride(d) for d in steps] == [fake.stride(d) for d in steps]
            assert real.dtype == fake.dtype


@pytest.mark.parametrize("name", OPS)
def test_derivatives(name: str, on_target: tuple[str, torch.device]) -> None:
    spec, (backend, device) = SPECS[name], on_target
    skip_what_triton_lacks(spec, backend, device, torch.float64)
    for sample in spec.samples(torch.float64, device):
        if sample.tensors[0].numel() > 200:
            continue
        inputs = tuple(
            x.detach().clone().requires_grad_(i in sample.grad)
            for i, x in enumerate(sample.tensors)
        )

        def function(*tensors: torch.Tensor, kwargs: Any = sample.kwargs) -> torch.Tensor:
            return call(spec, tensors, kwargs)

        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@COMPILED
@pytest.mark.parametrize("name", OPS)
def test_opcheck(name: str, compiled: str, device: str) -> None:
    """Each sample of each entry; of those that are not compiled, all but that."""
    spec = SPECS[name]
    seen = set()
    for op, arguments in spec.raw_samples(torch.float32, torch.device(device)):
        if compiled == "each" or op not in seen:
            torch.library.opcheck(op, arguments)
        else:
            torch.library.opcheck(op, arguments, test_utils=WITHOUT_COMPILING)
        seen.add(op)
    entries = {k.raw for k in spec.kernels} | {k.public for k in spec.kernels if k.public}
    assert seen == entries, "raw_samples misses an entry"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@COMPILED
@pytest.mark.parametrize("name", OPS)
def test_compiles_whole(name: str, compiled: str, on_target: tuple[str, torch.device]) -> None:
    """fullgraph, forward and backward, and equal to eager."""
    spec, (backend, device) = SPECS[name], on_target
    if backend == "triton" and device.type == "cpu":
        pytest.skip("a compiler does not see through Triton's interpreter")
    samples = [s for s in spec.samples(torch.float32, device) if s.tensors[0].numel() > 200]
    for sample in samples if compiled == "each" else samples[:1]:
        torch._dynamo.reset()
        whole = torch.compile(
            lambda *t, kwargs=sample.kwargs: call(spec, t, kwargs),
            fullgraph=True,
            backend="aot_eager",
        )
        results = []
        for function in (whole, lambda *t, kwargs=sample.kwargs: call(spec, t, kwargs)):
            leaves = [
                x.detach().requires_grad_(i in sample.grad) for i, x in enumerate(sample.tensors)
            ]
            y = function(*leaves)
            results.append(
                (y, torch.autograd.grad(y.square().sum(), [leaves[i] for i in sample.grad]))
            )
        torch.testing.assert_close(results[0][0], results[1][0])
        torch.testing.assert_close(results[0][1], results[1][1])


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", OPS)
def test_functional_transforms(name: str, on_target: tuple[str, torch.device]) -> None:
    spec, (_, device) = SPECS[name], on_target
    sample = next(s for s in spec.samples(torch.float32, device) if s.tensors[0].numel() > 200)
    index = sample.grad[0]

    def loss(x: torch.Tensor) -> torch.Tensor:
        tensors = list(sample.tensors)
        tensors[index] = x
        return call(spec, tuple(tensors), sample.kwargs).square().sum()

    x = sample.tensors[index]
    leaf = x.detach().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(loss)(x), wanted)
    twice = torch.func.grad(lambda z: torch.func.grad(loss)(z).square().sum())(x)
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    torch.testing.assert_close(twice, torch.autograd.grad(first.square().sum(), leaf)[0])
    batched = torch.func.vmap(torch.func.grad(loss))(torch.stack((x, 2 * x)))
    torch.testing.assert_close(batched[0], wanted)
    with pytest.raises(RuntimeError, match="forward-mode"):
        torch.func.jvp(loss, (x,), (torch.ones_like(x),))


@pytest.mark.parametrize("name", OPS)
def test_many_elements_on_paper(name: str) -> None:
    """Shapes beyond 2**31 elements pass the shape functions (indices: see csrc/tests)."""
    spec = SPECS[name]
    sample = spec.large_sample()
    assert max(x.numel() for x in sample.tensors) > 2**31
    result = call(spec, sample.tensors, sample.kwargs)
    assert result.device.type == "meta"
