"""Functions that rebuild a layer from another's numbers: the same network, or an error."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import fusion, parametrizations
from torch.optim import swa_utils

from gankit.models import dcgan, mlp
from gankit.nn import BatchNormAct1d, BatchNormAct2d, ConvTransposeAct2d, ConvTransposeBNAct2d

convert = nn.SyncBatchNorm.convert_sync_batchnorm


@pytest.mark.parametrize(
    "make",
    [
        lambda: dcgan.Generator(width=4),
        lambda: dcgan.Discriminator(width=4),
        lambda: mlp.Generator(hidden=(8,), norm="batch"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4)),
        lambda: ConvTransposeBNAct2d(3, 4, 3, activation="tanh"),
        lambda: BatchNormAct1d(3, affine=False),
    ],
    ids=["generator", "discriminator", "mlp", "sequential", "layer", "alone"],
)
def test_synchronised_conversion_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(TypeError, match=r"convert_sync_batchnorm: .* process_group='world'"):
        convert(make())


@pytest.mark.parametrize(
    "name",
    ["convert_syncbn_model", "freeze_batch_norm_2d", "convert_frozen_batchnorm", "merge_bn"],
)
def test_functions_of_other_names_for_the_like_are_refused(name: str) -> None:
    def rebuild(module: nn.Module) -> nn.Module:
        return nn.BatchNorm2d(module.num_features, module.eps)  # type: ignore[arg-type]

    rebuild.__code__ = rebuild.__code__.replace(co_name=name)
    with pytest.raises(TypeError, match=f"{name}: expected layers of torch"):
        rebuild(BatchNormAct2d(3))
    assert isinstance(rebuild(BatchNormAct2d(3, activation="none")), nn.BatchNorm2d)


def test_what_has_no_activation_is_converted() -> None:
    net = nn.Sequential(BatchNormAct2d(3, activation="none"), nn.BatchNorm2d(3)).eval()
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(convert(net)(x), net(x))


def test_fusions_are_refused_or_right() -> None:
    x = torch.randn(2, 3, 5, 5)
    convolution = nn.Conv2d(3, 4, 3).eval()
    for activation, refused in (("relu", True), ("none", False)):
        norm = BatchNormAct2d(4, activation=activation).eval()
        nn.init.uniform_(norm.running_var, 0.5, 2)
        if refused:
            with pytest.raises(TypeError, match=r"fuse_conv_bn_eval: .* to_torch\(\)"):
                fusion.fuse_conv_bn_eval(convolution, norm)
            with pytest.raises(TypeError, match="fuse_linear_bn_eval: "):
                fusion.fuse_linear_bn_eval(nn.Linear(3, 4).eval(), norm)
        else:
            fused = fusion.fuse_conv_bn_eval(convolution, norm)
            torch.testing.assert_close(fused(x), norm(convolution(x)))
        first = ConvTransposeAct2d(3, 4, 3, activation=activation).eval()
        plain = nn.BatchNorm2d(4).eval()
        if refused:
            with pytest.raises(TypeError, match=r"fuse_conv_bn_eval: .* 'relu'"):
                fusion.fuse_conv_bn_eval(first, plain, transpose=True)
            with pytest.raises(TypeError, match=r"fuse_conv_bn_eval: .* 'relu'"):
                fusion.fuse_conv_bn_eval(ConvTransposeBNAct2d(3, 4, 3).eval(), plain, True)
        else:
            fused = fusion.fuse_conv_bn_eval(first, plain, transpose=True)
            torch.testing.assert_close(fused(x), plain(first(x)))


def test_the_layers_of_to_torch_are_fused() -> None:
    convolution, x = nn.Conv2d(3, 4, 3).eval(), torch.randn(2, 3, 5, 5)
    norm = BatchNormAct2d(4, activation="relu").eval()
    plain, activation = norm.to_torch()
    fused = fusion.fuse_conv_bn_eval(convolution, plain.eval())
    torch.testing.assert_close(activation(fused(x)), norm(convolution(x)))


def test_what_people_do_with_batch_norms_goes_on() -> None:
    """update_bn, freezing by isinstance, copies, settings."""
    torch.manual_seed(0)
    norm = BatchNormAct1d(3, momentum=0.5)
    batches = [torch.randn(16, 3) + 2 for _ in range(3)]
    swa_utils.update_bn(batches, norm)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, torch.stack(batches).mean((0, 1)))
    for module in nn.Sequential(norm).modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    assert not norm.training
    norm.eps = 0.25
    for twin in (copy.deepcopy(norm), copy.copy(norm), pickle.loads(pickle.dumps(norm))):
        assert twin.eps == 0.25
        assert torch.equal(twin(batches[0]), norm(batches[0]))
    assert "eps=0.25" in repr(norm)
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(batches[0]), norm(batches[0]))


@pytest.mark.parametrize(
    "wrap", [parametrizations.spectral_norm, nn.utils.spectral_norm], ids=["new", "old"]
)
def test_a_normalised_weight_keeps_the_activation(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    x = torch.randn(2, 3, 5, 5)
    ours, torchs = ConvTransposeAct2d(3, 2, 3, activation="relu"), nn.ConvTranspose2d(3, 2, 3)
    torchs.load_state_dict(ours.state_dict())
    outputs = []
    for layer in (ours, torchs):
        torch.manual_seed(0)
        outputs.append(wrap(layer).eval()(x))
    torch.testing.assert_close(outputs[0], outputs[1].relu())
