"""conv_transpose2d_bn_act against torch's three layers: values, two derivatives, buffers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gankit.nn import ConvTransposeBNAct2d
from gankit.ops import conv_transpose2d_bn_act
from gankit.ops.conv_transpose2d_bn_act import fold_batch_norm

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.1),
    "tanh": nn.Tanh(),
    "none": nn.Identity(),
}
# Input size, kernel, stride, padding, output padding, groups, dilation, output channels.
LAYERS = {
    "1x1": (1, 3, 1, 0, 0, 1, 1, 6),
    "few channels": (3, 4, 2, 1, 0, 1, 1, 2),
    "vendor": (3, 4, 2, 1, 1, 1, 1, 6),
    "groups": (3, 3, 2, 1, 0, 2, 1, 6),
    "dilation": (3, 3, 1, 0, 0, 1, 2, 6),
}


def layers(
    layer: str, activation: str, bias: bool = True, dtype: torch.dtype = torch.float64, **norm: Any
) -> nn.Sequential:
    torch.manual_seed(0)
    _, kernel, stride, padding, extra, groups, dilation, channels = LAYERS[layer]
    sequence = nn.Sequential(
        nn.ConvTranspose2d(4, channels, kernel, stride, padding, extra, groups, bias, dilation),
        nn.BatchNorm2d(channels, **norm),
        copy.deepcopy(ACTIVATIONS[activation]),
    )
    with torch.no_grad():
        for parameter in sequence[1].parameters():
            parameter.uniform_(0.5, 1.5)
        for buffer in sequence[1].buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    return sequence.to(dtype)


def image(layer: str, batch: int = 6, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    size = LAYERS[layer][0]
    return torch.randn(batch, 4, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)


def derivatives(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, first gradients, and the gradients of a function of them."""
    x = x.clone().requires_grad_()
    parameters = [x, *module.parameters()]
    y = module(x)
    coefficients = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    first = torch.autograd.grad((y * coefficients).sum(), parameters, create_graph=True)
    energy = sum(g.square().sum() for g in first)
    second = torch.autograd.grad(energy, parameters, allow_unused=True)  # type: ignore[arg-type]
    nothing = [torch.zeros_like(p) for p in parameters]
    return [y, *first, *(n if g is None else g for g, n in zip(second, nothing, strict=True))]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_equals_torchs_layers(layer: str, activation: str, training: bool) -> None:
    plain = layers(layer, activation).train(training)
    fused = ConvTransposeBNAct2d.from_torch(*copy.deepcopy(plain)).train(training)
    for found, wanted in zip(
        derivatives(fused, image(layer)), derivatives(plain, image(layer)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(fused.bn.buffers(), plain[1].buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "norm",
    [
        {"affine": False},
        {"track_running_stats": False},
        {"momentum": None},
        {"eps": 0.8, "momentum": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_settings_of_the_norm(norm: dict[str, Any], training: bool) -> None:
    plain = layers("vendor", "leaky_relu", bias=False, **norm).train(training)
    fused = ConvTransposeBNAct2d.from_torch(*copy.deepcopy(plain)).train(training)
    for _ in range(2):
        torch.testing.assert_close(fused(image("vendor")), plain(image("vendor")))
    for ours, theirs in zip(fused.bn.buffers(), plain[1].buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_layouts_and_dtypes(training: bool, dtype: torch.dtype, channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    wide = layers("vendor", "leaky_relu").train(training)
    fused = ConvTransposeBNAct2d.from_torch(*copy.deepcopy(wide)).train(training)
    fused = fused.to(dtype=dtype, memory_format=layout)
    x = image("vendor", dtype=dtype).contiguous(memory_format=layout)
    found, wanted = fused(x), wide(x.double())
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 4e-2
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)


def test_folds_only_where_the_weight_is_the_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module: Any = importlib.import_module("gankit.ops.conv_transpose2d_bn_act")
    seen = []
    fold = module.fold_batch_norm
    monkeypatch.setattr(module, "fold_batch_norm", lambda *a: seen.append(1) or fold(*a))
    fused = ConvTransposeBNAct2d.from_torch(*layers("1x1", "relu")).eval()
    for batch, folded in ((3, 0), (4, 1)):  # 4x6x9 weights against batch x 6x9 outputs
        seen.clear()
        fused(image("1x1", batch))
        assert len(seen) == folded


def test_folded_weights_serve_torchs_layer() -> None:
    plain = layers("groups", "none").eval()
    convolution, norm = plain[0], plain[1]
    weight, bias = fold_batch_norm(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var,
        norm.weight, norm.bias, norm.eps, 2,
    )  # fmt: skip
    found = F.conv_transpose2d(image("groups"), weight, bias, 2, 1, groups=2)
    torch.testing.assert_close(found, plain(image("groups")))


def test_halves_of_a_batch() -> None:
    plain = layers("vendor", "relu")
    fused = ConvTransposeBNAct2d.from_torch(*copy.deepcopy(plain))
    fused.bn.groups = 2
    found = fused(image("vendor"))
    wanted = torch.cat([plain(half) for half in image("vendor").chunk(2)])
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(fused.bn.running_var, plain[1].running_var)
    assert fused.bn.num_batches_tracked == plain[1].num_batches_tracked


def test_the_function_trains_and_evaluates_as_the_module_does() -> None:
    for training in (True, False):
        fused = ConvTransposeBNAct2d.from_torch(*layers("vendor", "relu")).train(training)
        bn = copy.deepcopy(fused.bn)
        found = conv_transpose2d_bn_act(
            image("vendor"), fused.weight, fused.bias, bn.running_mean, bn.running_var,
            bn.weight, bn.bias, training, stride=2, padding=1, output_padding=1,
        )  # fmt: skip
        torch.testing.assert_close(found, fused(image("vendor")))
        torch.testing.assert_close(bn.running_mean, fused.bn.running_mean)


def test_the_module_is_known_to_initialisers_and_saves_and_loads() -> None:
    def weights_init(module: nn.Module) -> None:
        name = type(module).__name__
        if "Conv" in name:
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif "BatchNorm" in name:
            nn.init.normal_(module.weight, 1.0, 0.02)

    torch.manual_seed(0)
    module = ConvTransposeBNAct2d(16, 32, 4, 2, 1, bias=False)
    module.apply(weights_init)
    assert abs(module.weight.std().item() / 0.02 - 1) < 0.1
    assert abs(module.bn.weight.mean().item() - 1) < 0.02
    other = ConvTransposeBNAct2d(16, 32, 4, 2, 1, bias=False)
    other.load_state_dict(module.state_dict())
    x = torch.randn(2, 16, 3, 3)
    assert torch.equal(other.eval()(x), module.eval()(x))


def test_parameters_are_shared_with_the_layers_they_came_from() -> None:
    plain = layers("vendor", "relu")
    fused = ConvTransposeBNAct2d.from_torch(*plain)
    assert fused.weight is plain[0].weight
    assert fused.bn.weight is plain[1].weight
    assert fused.bn.running_mean is plain[1].running_mean


def test_output_size_is_taken() -> None:
    plain = layers("few channels", "relu")
    fused = ConvTransposeBNAct2d.from_torch(*copy.deepcopy(plain))
    x = image("few channels")
    convolved = plain[0](x, output_size=[7, 7])
    torch.testing.assert_close(fused(x, output_size=[7, 7]), plain[2](plain[1](convolved)))


def hooked(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda *_: None)
    return module


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda c, n, a: (nn.Conv2d(4, 6, 3), n, a), TypeError, "convolution: expected nn.Conv"),
        (lambda c, n, a: (c, nn.InstanceNorm2d(6), a), TypeError, "norm: expected nn.BatchNorm2d"),
        (lambda c, n, a: (c, n, nn.GELU()), TypeError, "activation: expected nn.ReLU"),
        (lambda c, n, a: (c, nn.BatchNorm2d(5), a), ValueError, "norm: expected 6 channels"),
        (
            lambda c, n, a: (hooked(c), n, a),
            TypeError,
            "convolution: expected a layer without hook",
        ),
        (lambda c, n, a: (c, hooked(n), a), TypeError, "norm: expected a layer without hooks"),
        (
            lambda c, n, a: (nn.utils.spectral_norm(c), n, a),
            TypeError,
            "convolution: expected a layer without hooks",
        ),
    ],
)
def test_layers_that_do_not_fit_are_named(change: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ConvTransposeBNAct2d.from_torch(*change(*layers("vendor", "relu")))


def test_arguments_that_do_not_fit_are_named() -> None:
    fused = ConvTransposeBNAct2d(4, 6, 3)
    with pytest.raises(ValueError, match="expected 3 input channels for x of shape"):
        fused.eval()(torch.randn(2, 3, 3, 3))
    for training in (True, False):
        with pytest.raises(
            ValueError, match=r"x: expected \[N, Cin, H, W\], got shape \(4, 3, 3\)"
        ):
            conv_transpose2d_bn_act(
                torch.randn(4, 3, 3), fused.weight, None, torch.zeros(6), torch.ones(6),
                training=training,
            )  # fmt: skip
    with pytest.raises(ValueError, match="eps: expected a finite number >= 0, got -1"):
        fold_batch_norm(fused.weight, None, torch.zeros(6), torch.ones(6), None, None, -1)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        ConvTransposeBNAct2d(4, 6, 1)(torch.randn(1, 4, 1, 1))
    with pytest.raises(ValueError, match=r"running_var: expected shape \(6,\)"):
        fold_batch_norm(fused.weight, None, torch.zeros(6), torch.ones(5), None, None, 1e-5)
    assert fused.eval()(torch.randn(0, 4, 3, 3)).shape == (0, 6, 5, 5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_compiles_whole(training: bool) -> None:
    torch._dynamo.reset()
    fused = ConvTransposeBNAct2d.from_torch(*layers("few channels", "tanh", dtype=torch.float32))
    fused.train(training)
    compiled = torch.compile(fused, fullgraph=True, backend="aot_eager")
    x = image("few channels", dtype=torch.float32)
    torch.testing.assert_close(compiled(x), fused(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(18, 1), (1, 18), (4, 9)], ids=str)
def test_images_one_pixel_wide_and_permuted_weights(size: tuple[int, int], training: bool) -> None:
    """Layouts in which torch's own convolutions err are not handed to them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 8, *size, generator=generator)
    kernel = (4, 3) if size[1] == 1 else (4, 1)
    ordinary = torch.randn(8, 2, *kernel, generator=generator)
    permuted = ordinary.permute(0, 2, 1, 3).contiguous().permute(0, 2, 1, 3)
    mean, var = torch.randn(8, generator=generator), torch.rand(8, generator=generator) + 0.5
    settings: dict[str, Any] = {"stride": (1, 3), "groups": 4}
    results = []
    for image in (x, x.contiguous(memory_format=torch.channels_last)):
        for weight in (ordinary, permuted):
            leaves = [image.detach().requires_grad_(), weight.detach().requires_grad_()]
            # What a gradient taken from memory that nobody has written to would be full of.
            junk = [torch.full((n,), float("nan")) for n in (100, 1000, 2048, 8192) * 5]
            del junk
            y = conv_transpose2d_bn_act(
                *leaves, None, mean.clone(), var.clone(), training=training, activation="none",
                **settings,
            )  # fmt: skip
            first = torch.autograd.grad(y.pow(3).mean(), leaves)
            results.append([y.detach(), *first])
    wide = [x.double().requires_grad_(), ordinary.double().requires_grad_()]
    z = F.conv_transpose2d(*wide, None, **settings)
    z = F.batch_norm(z, mean.double(), var.double(), training=training)
    wanted = [z.detach(), *torch.autograd.grad(z.pow(3).mean(), wide)]
    for found in results:
        for f, w in zip(found, wanted, strict=True):
            torch.testing.assert_close(f.double(), w, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_weight_says_which_layout_training_runs_in(channels_last: bool) -> None:
    layer = ConvTransposeBNAct2d(8, 6, 4, 2, 1)
    if channels_last:
        layer.to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 5, 5)
    for y in (layer(x), conv_transpose2d_bn_act(x, layer.weight, None, None, None, training=True)):
        assert y.is_contiguous(memory_format=torch.channels_last) is channels_last
        assert y.is_contiguous() is not channels_last


def test_vmap_of_the_function_in_training() -> None:
    x, weight = torch.randn(3, 2, 4, 3, 3), torch.randn(4, 5, 2, 2)

    def layer(x: torch.Tensor) -> torch.Tensor:
        return conv_transpose2d_bn_act(x, weight, None, None, None, training=True)

    wanted = torch.stack([layer(part) for part in x])
    found = torch.func.vmap(layer)(x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
