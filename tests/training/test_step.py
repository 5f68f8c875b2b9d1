"""What GANStep promises beside its mathematics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gankit.data import Batch
from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss, resolve
from gankit.models import mlp
from gankit.training import GANStep, gan_adam
from tests.training.nets import SHAPE, Z_DIM, small_discriminator, small_generator, small_images


def make_step(D: nn.Module | None = None, **settings: Any) -> GANStep:
    torch.manual_seed(0)
    G = small_generator()
    D = D if D is not None else small_discriminator()
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)


def real_images(n: int = 8) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def copies(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(xs: list[Tensor], ys: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(xs, ys, strict=True))


class OpLog(TorchDispatchMode):
    """Names and result shapes of the operators that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.products: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.names.append(name)
        if name in ("mm", "addmm"):
            self.products.append(tuple(out.shape))
        return out


def test_d_turn_leaves_g_alone() -> None:
    step = make_step(n_critic=2)
    G, D = copies(step.G), copies(step.D)
    step(real_images())
    assert same(copies(step.G), G)
    assert all(p.grad is None for p in step.G.parameters())
    assert not same(copies(step.D), D)


def test_g_turn_leaves_d_and_its_gradients_alone() -> None:
    step = make_step()
    after_d: dict[str, list[Tensor]] = {}

    def remember(*_: Any) -> None:
        after_d["weights"] = copies(step.D)
        after_d["grads"] = [p.grad.clone() for p in step.D.parameters() if p.grad is not None]
        after_d["G"] = copies(step.G)

    step.d_optimizer.register_step_post_hook(remember)
    step(real_images())
    assert same(copies(step.D), after_d["weights"])
    assert len(after_d["grads"]) == len(list(step.D.parameters()))
    assert same([p.grad for p in step.D.parameters() if p.grad is not None], after_d["grads"])
    assert not same(copies(step.G), after_d["G"])


def test_no_weight_gradient_is_computed_in_vain() -> None:
    n = 8
    step = make_step()
    weights = {
        tuple(p.shape): owner
        for owner, module in (("G", step.G), ("D", step.D))
        for p in module.parameters()
        if p.ndim == 2
    }
    log = OpLog()
    turns: dict[str, list[str]] = {}

    def end_turn(name: str) -> Callable[..., None]:
        def end(*_: Any) -> None:
            turns[name] = [weights[s] for s in log.products if s in weights]
            log.products.clear()

        return end

    step.d_optimizer.register_step_pre_hook(end_turn("D"))
    step.g_optimizer.register_step_pre_hook(end_turn("G"))
    with log:
        step(real_images(n))
    assert turns == {"D": ["D"] * 3, "G": ["G"] * 3}


def test_a_step_runs_as_many_products_as_it_must() -> None:
    # By the profiler: under a mode, as above, the networks would run layer by layer.
    G, D = mlp.Generator(), mlp.Discriminator()
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()))
    batch = torch.rand(8, 1, 28, 28) * 2 - 1
    step(batch)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(batch)
    names = [event.name.split("::")[-1] for event in profile.events()]
    products = sum(n in ("mm", "addmm", "_linear_pointwise", "_linear_packed") for n in names)
    # Four layers each. D's turn: G, D, D's weights, D's inputs but the images. G's turn: G, D, all
    # of D's inputs, G's weights, G's inputs but the noise.
    assert products == (4 + 4 + 4 + 3) + (4 + 4 + 4 + 4 + 3)


def test_nothing_waits_for_the_device() -> None:
    step = make_step(penalty=lambda D, real, fake: D(real).mean() * 0.1)
    step(real_images())
    with OpLog() as log:
        step(real_images())
    assert "mm" in log.names
    assert not {"_local_scalar_dense", "is_nonzero", "equal", "nonzero"} & set(log.names)


def test_results_are_detached_scalars_of_their_own() -> None:
    step = make_step()
    first = step(real_images())
    assert set(first) == {"d_loss", "g_loss", "d_real", "d_fake"}
    assert all(v.ndim == 0 and not v.requires_grad for v in first.values())
    before = {key: value.clone() for key, value in first.items()}
    step(real_images())
    assert all(torch.equal(first[key], before[key]) for key in before)
    assert 0 < float(first["d_real"]) < 1


def test_n_critic_counts_turns_and_repeats_the_last_generator_loss() -> None:
    step = make_step(n_critic=3)
    turns = {"D": 0, "G": 0}
    step.d_optimizer.register_step_post_hook(lambda *_: turns.update(D=turns["D"] + 1))
    step.g_optimizer.register_step_post_hook(lambda *_: turns.update(G=turns["G"] + 1))
    losses = [step(real_images())["g_loss"] for _ in range(7)]
    assert turns == {"D": 7, "G": 2}
    assert all(loss.isnan() for loss in losses[:2])
    assert losses[2].isfinite()
    assert torch.equal(losses[3], losses[2])
    assert torch.equal(losses[4], losses[2])
    assert not torch.equal(losses[5], losses[2])


def test_a_restored_step_keeps_the_rhythm_of_n_critic() -> None:
    step, again = make_step(n_critic=3), make_step(n_critic=3)
    step(real_images())
    step(real_images())
    again.load_state_dict(step.state_dict())
    before = copies(again.G)
    again(real_images())
    assert not same(copies(again.G), before)


@pytest.mark.parametrize(("reuse", "batches"), [(False, 2), (True, 1)])
def test_reuse_fakes_saves_one_pass_of_g(reuse: bool, batches: int) -> None:
    drawn: list[int] = []

    def noise(n: int) -> Tensor:
        drawn.append(n)
        return torch.randn(n, Z_DIM)

    step = make_step(reuse_fakes=reuse, noise=noise)
    before = copies(step.G)
    step(real_images(8))
    assert drawn == [8] * batches
    assert not same(copies(step.G), before)


def test_d_is_trainable_again_after_a_failed_turn() -> None:
    def fail(fake: Tensor) -> Tensor:
        raise ArithmeticError("no loss today")

    loss = AdversarialLoss("broken", resolve("minimax", from_logits=False).discriminator, fail)
    step = make_step(loss=loss)
    frozen = next(step.D.parameters()).requires_grad_(False)
    with pytest.raises(ArithmeticError, match="no loss today"):
        step(real_images())
    assert [p.requires_grad for p in step.D.parameters()] == [
        p is not frozen for p in step.D.parameters()
    ]


def test_eval_fakes_uses_eval_mode_for_d_turn_alone() -> None:
    modes: list[bool] = []
    step = make_step(eval_fakes=True)
    step.G.main[1].eval()
    step.G.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    step(real_images())
    assert modes == [False, True]
    assert step.G.training
    assert step.G.main[3].training
    assert not step.G.main[1].training


@pytest.mark.parametrize("output", ["probability", "logit"])
def test_what_d_returns_is_seen_from_its_last_layer(output: str) -> None:
    step = make_step(small_discriminator(0.0, output))
    assert step.from_logits is (output == "logit")
    expected = {}

    def remember(*_: Any) -> None:
        with torch.no_grad():
            out = step.D(real_images())
            expected["d_real"] = (out.sigmoid() if output == "logit" else out).mean()

    step.d_optimizer.register_step_pre_hook(remember)
    result = step(real_images())
    torch.testing.assert_close(result["d_real"], expected["d_real"])


def test_penalty_joins_the_loss_of_d() -> None:
    plain = make_step(small_discriminator(0.0))
    seen: dict[str, Tensor] = {}

    def penalty(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        seen.update(real=real, fake=fake)
        return torch.stack([(p**2).sum() for p in D.parameters()]).sum()

    punished = make_step(small_discriminator(0.0), penalty=penalty)
    punished.D.load_state_dict(plain.D.state_dict())
    weight = penalty(plain.D, real_images(), real_images()).item()
    torch.manual_seed(1)
    without = plain(real_images())
    torch.manual_seed(1)
    with_penalty = punished(real_images())
    assert float(with_penalty["d_loss"] - without["d_loss"]) == pytest.approx(weight, rel=1e-5)
    assert not seen["fake"].requires_grad
    assert seen["fake"].shape == seen["real"].shape


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_critic": 0}, "n_critic is 0"),
        ({"n_critic": 1.5}, "n_critic is 1.5"),
        ({"paired": "yes"}, "paired is 'yes'"),
        ({"from_logits": None}, "from_logits is None"),
        ({"cuda_graph": True}, "cuda_graph=True, but the networks are on cpu"),
        ({"penalty_every": 0}, "penalty_every is 0"),
        ({"channels_last": 1.5}, "channels_last is 1.5"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"ema": True}, "ema is True"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"penalty": 10}, "penalty is 10"),
        ({"loss": "hingey"}, "hingey"),
        ({"reuse_fakes": True, "eval_fakes": True}, "exclude each other"),
        ({"precision": "bf16"}, "output='logit'.*or pass from_logits=True"),
        ({"precision": "bf16", "from_logits": False}, "needs a D that returns logits"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_step(**settings)


def test_optimizers_must_belong_to_their_network() -> None:
    G, D = small_generator(), small_discriminator()
    g_optimizer, d_optimizer = gan_adam(G.parameters()), gan_adam(D.parameters())
    with pytest.raises(ConfigError, match=r"g_optimizer holds a parameter that is not G's"):
        GANStep(G, D, d_optimizer, g_optimizer)
    with pytest.raises(ConfigError, match=r"d_optimizer is a NoneType"):
        GANStep(G, D, g_optimizer, None)  # type: ignore[arg-type]


class Bytes:
    """A set that gives what no network takes."""

    def gather(self, indices: Tensor) -> Tensor:
        return torch.zeros(len(indices), *SHAPE, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("real", "words"),
    [
        (torch.zeros(4, *SHAPE, dtype=torch.uint8), "dtype torch.uint8"),
        (torch.zeros(0, *SHAPE), r"shape \[0, 1, 6, 6\]"),
        (torch.zeros(()), r"shape \[\]"),
        (torch.zeros(4, *SHAPE, device="meta"), "real is on meta"),
        ([1.0], "real is a list"),
        (Batch(small_images(), torch.zeros(4)), "indices of real has dtype torch.float32"),
        (Batch(small_images(), torch.zeros(0, dtype=torch.int64)), r"of real has shape \[0\]"),
        (Batch(small_images(), torch.zeros(2, 2, dtype=torch.int64)), r"and shape \[2, 2\]"),
        (Batch(small_images(), [1, 2]), "indices of real are a list"),  # type: ignore[arg-type]
        (Batch(torch.zeros(4), torch.tensor([1, 2])), "real's data is a Tensor"),  # type: ignore[arg-type]
        (Batch(Bytes(), torch.tensor([1, 2])), "real has dtype torch.uint8"),
    ],
)
def test_bad_batches_are_named(real: Any, words: str) -> None:
    step = make_step()
    before = copies(step.D)
    with pytest.raises(ConfigError, match=words):
        step(real)
    assert same(copies(step.D), before)


def test_penalty_must_be_a_scalar() -> None:
    step = make_step(penalty=lambda D, real, fake: D(real))
    with pytest.raises(ConfigError, match=r"penalty returned shape \[8, 1\]"):
        step(real_images(8))


def test_gan_adam_is_fused_and_computes_the_same_update() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(50, dtype=torch.float64))
    plain = nn.Parameter(ours.detach().clone())
    optimizers = [
        (ours, gan_adam([ours])),
        (plain, torch.optim.Adam([plain], lr=2e-4, betas=(0.5, 0.999), fused=False)),
    ]
    assert optimizers[0][1].defaults["fused"]
    for index in range(5):
        grad = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(index))
        for parameter, optimizer in optimizers:
            parameter.grad = grad.clone()
            optimizer.step()
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-14)


def test_gan_adam_falls_back_where_nothing_fused_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(torch.optim.Adam):
        def __init__(self, *args: Any, fused: bool = False, **kwargs: Any) -> None:
            if fused:
                raise RuntimeError("fused=True needs another device")
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(torch.optim, "Adam", Refusing)
    optimizer = gan_adam([nn.Parameter(torch.zeros(3))], eps=1e-7)
    assert not optimizer.defaults["fused"]
    assert optimizer.defaults["eps"] == 1e-7


def test_gan_adam_needs_parameters() -> None:
    with pytest.raises(ConfigError, match="Adam got no parameters"):
        gan_adam(nn.Flatten().parameters())


def test_gan_adam_names_a_bad_learning_rate() -> None:
    with pytest.raises(ConfigError, match="lr=-1"):
        gan_adam([nn.Parameter(torch.zeros(1))], lr=-1)
