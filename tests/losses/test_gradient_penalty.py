"""gradient_penalty: both paths agree on many critics, and what stops the analytic one is named."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.losses import gradient_penalty
from gankit.models.mlp import Discriminator
from gankit.training import GANStep
from tests.losses.critics import CRITICS, FLAT, IMAGE, mlp, with_batch_norm

SEED = torch.tensor([20261120])


def batches(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))


def learn(critic: nn.Module, shape: tuple[int, ...], **kwargs: Any) -> tuple[Any, list[Any]]:
    """The penalty and every parameter's gradient (None where there is none)."""
    critic.zero_grad()
    torch.manual_seed(5)  # the same masks
    penalty = gradient_penalty(critic, *batches(shape), seed=SEED, **kwargs)
    if penalty.requires_grad:
        (3 * penalty).backward()
    return penalty.detach(), [p.grad for p in critic.parameters()]


def assert_paths_agree(critic: nn.Module, shape: tuple[int, ...], **kwargs: Any) -> None:
    found = learn(critic, shape, path="analytic", **kwargs)
    wanted = learn(critic, shape, path="autograd", **kwargs)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-10, atol=1e-10)
    for (name, p), f, w in zip(critic.named_parameters(), found[1], wanted[1], strict=True):
        if not p.requires_grad:
            assert f is None, name
            continue
        zero = torch.zeros_like(p)
        torch.testing.assert_close(
            zero if f is None else f, zero if w is None else w, rtol=1e-10, atol=1e-10, msg=name
        )


@pytest.mark.parametrize("name", CRITICS)
def test_both_paths_agree(name: str) -> None:
    torch.manual_seed(0)
    make, shape = CRITICS[name]
    critic = make().double()
    assert_paths_agree(critic, shape, weight=7.0)
    assert_paths_agree(critic, shape, target=0.3, mode="one-sided")


@pytest.mark.parametrize("mode", ["two-sided", "one-sided", "zero-centred"])
@pytest.mark.parametrize("at", ["interpolates", "real", "fake", "both", "perturbed"])
def test_both_paths_agree_everywhere(mode: str, at: str) -> None:
    torch.manual_seed(0)
    critic = mlp(lambda: nn.LeakyReLU(0.2)).double()
    assert_paths_agree(critic, FLAT, mode=mode, at=at, target=0.2)


def test_the_value_is_the_formula() -> None:
    """A linear critic has the same gradient everywhere: its weight."""
    critic = nn.Linear(12, 1).double()
    norm = float(critic.weight.detach().norm())
    for at in ("interpolates", "real", "fake", "perturbed"):
        for path in ("analytic", "autograd"):
            penalty = gradient_penalty(critic, *batches(FLAT), at=at, path=path).detach()
            assert float(penalty) == pytest.approx(10 * (norm - 1) ** 2, rel=1e-12)
    r1 = gradient_penalty(critic, *batches(FLAT), weight=0.5, mode="zero-centred", at="real")
    assert float(r1.detach()) == pytest.approx(0.5 * norm**2, rel=1e-12)


@pytest.mark.parametrize("path", ["analytic", "autograd"])
def test_both_is_the_sum_of_the_penalties_at_real_and_at_fake(path: str) -> None:
    torch.manual_seed(0)
    critic = mlp(lambda: nn.LeakyReLU(0.2)).double()
    real, fake = batches(FLAT)

    def of(at: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        penalty = gradient_penalty(critic, real, fake, mode="zero-centred", at=at, path=path)
        gradients = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)
        return penalty.detach(), tuple(g for g in gradients if g is not None)

    (r1, r1_grads), (r2, r2_grads), (both, grads) = map(of, ("real", "fake", "both"))
    assert float(both) == pytest.approx(float(r1 + r2), rel=1e-12)
    for a, b, c in zip(r1_grads, r2_grads, grads, strict=True):
        torch.testing.assert_close(a + b, c, rtol=1e-10, atol=1e-12)


def test_real_and_fake_are_where_they_are_said_to_be() -> None:
    """A critic whose gradient tells where it was taken: x -> x^2 / 2."""

    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.square().sum(1) / 2

    real, fake = batches((200, 3))

    def mean_square(at: str) -> float:
        kwargs: dict[str, Any] = {"mode": "zero-centred", "weight": 1.0}
        return gradient_penalty(Half(), real, fake, at=at, seed=SEED, **kwargs).item()

    assert mean_square("real") == pytest.approx(float(real.square().sum(1).mean()))
    assert mean_square("fake") == pytest.approx(float(fake.square().sum(1).mean()))
    # Independent normal batches: E(e^2 + (1 - e)^2) = 2/3.
    assert mean_square("interpolates") == pytest.approx(2.0, rel=0.2)
    # e u std/2 moves each entry by 1/8 on average.
    assert mean_square("perturbed") == pytest.approx(mean_square("real"), rel=0.2)
    assert mean_square("perturbed") != mean_square("real")


# --- outputs that are not one value per sample ----------------------------------------------------


def heads() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4)).double()


def patches() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.LeakyReLU(0.2), nn.Conv2d(3, 1, 3)).double()


@pytest.mark.parametrize("select", [0, 2, -1, torch.tensor([3, 0, 1, 1, 2])], ids=str)
def test_class_heads(select: Any) -> None:
    assert_paths_agree(heads(), FLAT, select=select)


def test_patches_and_functions() -> None:
    critic = patches()
    assert_paths_agree(critic, IMAGE, select="mean")
    mean = learn(critic, IMAGE, select="mean")[0]
    same = learn(critic, IMAGE, select=lambda y: y.mean((1, 2, 3)))[0]
    torch.testing.assert_close(mean, same)
    with pytest.raises(ConfigError, match="select is a function"):
        learn(critic, IMAGE, select=lambda y: y.mean((1, 2, 3)), path="analytic")


@pytest.mark.parametrize("path", ["analytic", "autograd"])
@pytest.mark.parametrize(
    ("make", "shape", "select", "words"),
    [
        (heads, FLAT, None, r"critic returned \[5, 4\] for an input of \[5, 12\]; allowed is one"),
        (patches, IMAGE, None, r"returned \[4, 1, 3, 3\] for an input of \[4, 2, 7, 7\]"),
        (patches, IMAGE, 0, r"\[4, 1, 3, 3\] .*, and after select \[4, 3, 3\]"),
        (heads, FLAT, 4, r"select is 4 for an output of \[5, 4\]"),
        (heads, FLAT, torch.tensor([1, 2]), r"int64 tensor of \[2\] for an output of \[5, 4\]"),
    ],
)
def test_other_outputs_are_refused(
    path: str, make: Any, shape: tuple[int, ...], select: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        learn(make(), shape, select=select, path=path)


def test_conditional_critics_get_their_arguments() -> None:
    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(3, 12)
            self.body = mlp(nn.ReLU)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return self.body(x * self.embed(labels))

    torch.manual_seed(0)
    critic = Conditional().double()
    labels = torch.tensor([0, 1, 2, 1, 0])
    penalty, grads = learn(critic, FLAT, critic_args=(labels,))
    assert float(penalty) > 0
    assert bool(grads[0].any())
    assert_paths_agree(critic, FLAT, critic_args=(labels,))


# --- what stops the analytic path -----------------------------------------------------------------


def hooked() -> nn.Sequential:
    critic = mlp(nn.ReLU)
    critic[1].register_forward_hook(lambda module, args, out: out * 2)
    return critic


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(nn.ReLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


STOPPERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sigmoid": (lambda: nn.Sequential(mlp(nn.ReLU), nn.Sigmoid()), r"calls torch\.sigmoid"),
    "tanh inside": (lambda: mlp(nn.Tanh), r"calls torch\.tanh"),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 1)), r"layer_norm"),
    "hook": (hooked, r"1 \(ReLU\) has hooks"),
    "our model with sigmoid": (lambda: Discriminator((1, 4, 3), (9,)), "leaky_relu_dropout"),
}
SERVED: dict[str, Callable[[], nn.Module]] = {
    "own forward": Own,
    "spectral norm": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(12, 5)), nn.ReLU(), nn.Linear(5, 1)
    ),
    "old spectral norm": lambda: nn.Sequential(
        nn.utils.spectral_norm(nn.Linear(12, 5)), nn.ReLU(), nn.Linear(5, 1)
    ),
    "negative slope": lambda: mlp(lambda: nn.LeakyReLU(-0.1)),
    "patched forward": lambda: nn.Sequential(mlp(nn.ReLU), patched(nn.Identity())),
}


def patched(module: nn.Module) -> nn.Module:
    module.forward = lambda x: 2 * x  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize("name", STOPPERS)
def test_what_stops_the_analytic_path_is_named_and_auto_goes_round(name: str) -> None:
    torch.manual_seed(0)
    make, words = STOPPERS[name]
    critic = make().double()
    with pytest.raises(ConfigError, match=rf"path='analytic' cannot be taken: .*{words}"):
        learn(critic, FLAT, path="analytic")
    automatic, plain = learn(critic, FLAT), learn(critic, FLAT, path="autograd")
    torch.testing.assert_close(automatic, plain)


@pytest.mark.parametrize("name", SERVED)
def test_the_analytic_path_follows_the_critics_own_code(name: str) -> None:
    torch.manual_seed(0)
    critic = SERVED[name]().double().eval()  # spectral norm iterates in training mode
    assert_paths_agree(critic, FLAT)


def test_gradients_of_the_inputs_take_the_autograd_path() -> None:
    critic = mlp(nn.ReLU).double()
    real, fake = batches(FLAT)
    weight = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(nn.Sequential(nn.Tanh(), critic), real, weight * fake, seed=SEED)
    (found,) = torch.autograd.grad(penalty, weight)
    assert float(found) != 0.0
    with pytest.raises(ConfigError, match="fake requires grad"):
        gradient_penalty(critic, real, weight * fake, path="analytic")
    with pytest.raises(ConfigError, match="real requires grad"):
        gradient_penalty(critic, real.clone().requires_grad_(), fake, path="analytic")


def test_train_mode_batch_norm_warns_once_in_words() -> None:
    critic = with_batch_norm().train().double()
    with pytest.warns(UserWarning, match=r"1 \(BatchNorm2d\) is in training mode") as caught:
        learn(critic, IMAGE)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(critic.eval(), IMAGE)


# --- how it is used -------------------------------------------------------------------------------


def test_backward_twice_and_no_second_derivative() -> None:
    critic = mlp(nn.ReLU).double()
    penalty = gradient_penalty(critic, *batches(FLAT), seed=SEED, path="analytic")
    penalty.backward(retain_graph=True)
    first = critic[0].weight.grad.clone()
    penalty.backward()
    torch.testing.assert_close(critic[0].weight.grad, 2 * first)
    penalty = gradient_penalty(critic, *batches(FLAT), path="analytic")
    with pytest.raises(RuntimeError, match="use path='autograd'"):
        torch.autograd.grad(penalty, critic[0].weight, create_graph=True)


def test_weights_modified_between_forward_and_backward_are_noticed() -> None:
    critic = mlp(nn.ReLU).double()
    penalty = gradient_penalty(critic, *batches(FLAT), path="analytic")
    with torch.no_grad():
        critic[2].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        penalty.backward()


def test_inputs_and_weights_are_left_as_they_were() -> None:
    critic = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), mlp(nn.ReLU)).double()
    real, fake = batches(FLAT)
    before = real.clone()
    gradient_penalty(critic, real, fake, at="real", path="analytic").backward()
    assert torch.equal(real, before)


@pytest.mark.parametrize("path", ["analytic", "autograd"])
def test_without_grad_there_is_a_value(path: str) -> None:
    critic = mlp(nn.ReLU).double()
    wanted = gradient_penalty(critic, *batches(FLAT), seed=SEED, path=path)
    with torch.no_grad():
        found = gradient_penalty(critic, *batches(FLAT), seed=SEED, path=path)
    assert not found.requires_grad
    torch.testing.assert_close(found, wanted.detach())


@pytest.mark.parametrize("path", ["analytic", "autograd"])
def test_under_autocast_the_penalty_is_float32(path: str) -> None:
    torch.manual_seed(0)
    critic = mlp(nn.ReLU)
    real, fake = batches(FLAT, torch.float32)
    wanted = gradient_penalty(critic, real, fake, seed=SEED, path=path)
    wanted.backward()
    grad = critic[0].weight.grad.clone()
    critic.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradient_penalty(critic, real, fake, seed=SEED, path=path)
    found.backward()
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)
    assert torch.equal(critic[0].weight.grad, grad)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halves = gradient_penalty(critic, real.bfloat16(), fake, seed=SEED, path=path)
    assert halves.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_critics(dtype: torch.dtype) -> None:
    critic = mlp(nn.ReLU).to(dtype)
    real, fake = batches(FLAT, torch.float32)
    penalty = gradient_penalty(critic, real.to(dtype), fake.to(dtype), path="analytic")
    penalty.backward()
    assert penalty.dtype == torch.float32
    assert critic[0].weight.grad.dtype == dtype


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "name", ["leaky relu", "fused dropout", "strided conv, odd size", "our model"]
)
def test_the_analytic_path_compiles_whole(name: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    make, shape = CRITICS[name]
    critic = make()
    real, fake = batches(shape, torch.float32)

    def penalise(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        return gradient_penalty(critic, real, fake, seed=SEED, path="analytic")

    compiled = torch.compile(penalise, fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, penalise):
        critic.zero_grad()
        torch.manual_seed(5)
        penalty = function(real, fake)
        (2 * penalty).backward()
        results.append((penalty.detach(), [p.grad for p in critic.parameters()]))
    assert results[0][1][0] is not None
    torch.testing.assert_close(results[0], results[1])


def test_it_fits_the_step_as_its_penalty() -> None:
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(4, 12))
    D = mlp(lambda: nn.LeakyReLU(0.2))
    step = GANStep(
        G, D, torch.optim.SGD(G.parameters(), 0.01), torch.optim.SGD(D.parameters(), 0.01),
        penalty=functools.partial(gradient_penalty, weight=10),
        noise=lambda n: torch.randn(n, 4),
    )  # fmt: skip
    scalars = step(torch.randn(*FLAT))
    assert bool(torch.isfinite(scalars["d_loss"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fake": torch.ones(5, 2)}, r"real has shape \[5, 12\] and fake \[5, 2\]"),
        ({"real": torch.ones(5, 12).int()}, r"real is torch\.int32; allowed is a floating"),
        ({"fake": 3}, "fake is int"),
        ({"weight": -1.0}, "weight is -1.0"),
        ({"target": float("inf")}, "target is inf"),
        ({"mode": "both"}, "mode is 'both'; allowed are two-sided, one-sided, zero-centred"),
        (
            {"at": "nowhere"},
            "at is 'nowhere'; allowed are interpolates, real, fake, both, perturbed",
        ),
        ({"path": "fast"}, "path is 'fast'; allowed are auto, analytic, autograd"),
    ],
    ids=str,
)
def test_bad_arguments(change: dict[str, Any], words: str) -> None:
    arguments = {"real": torch.ones(FLAT), "fake": torch.ones(FLAT), **change}
    with pytest.raises(ConfigError, match=words):
        gradient_penalty(mlp(nn.ReLU), **arguments)
