"""CUDA graphs of a step: which are made, what they keep, and what happens where one cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gankit.data import Batch, ImageData
from gankit.errors import ConfigError
from gankit.losses import gradient_penalty
from gankit.models import mlp
from gankit.training import GANStep, Noise, clip_gradients, gan_adam, graph
from gankit.training.graph import make_capturable, make_eager
from tests.training.nets import SHAPE, small_discriminator, small_generator, small_images
from tests.training.tape import TapeRecorder


def build(**settings: Any) -> GANStep:
    torch.manual_seed(0)
    G, D = small_generator(), small_discriminator()
    # A rate that float32 holds exactly, since replays read it from a tensor.
    return GANStep(G, D, *(gan_adam(m.parameters(), 2**-7) for m in (G, D)), **settings)


@pytest.fixture(autouse=True)
def capturable_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch allows the flag on accelerators alone; the rate becomes a tensor all the same."""
    if torch.cuda.is_available():
        return

    def make(optimizer: torch.optim.Optimizer) -> None:
        make_capturable(optimizer)
        for group in optimizer.param_groups:
            group["capturable"] = False

    monkeypatch.setattr(graph, "make_capturable", make)


def graphed(fails: str = "", **settings: Any) -> tuple[GANStep, TapeRecorder]:
    step = build(**settings)
    modules = (step.G, step.D) if step.ema is None else (step.G, step.D, step.ema)
    optimizers = (step.g_optimizer, step.d_optimizer)
    recorder = TapeRecorder(modules, optimizers, fails)
    step._graphs = graph.Graphs(modules, optimizers, recorder)
    return step, recorder


def batches(count: int, n: int = 8) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(4)
    for _ in range(count):
        yield torch.rand(n, *SHAPE, generator=generator) * 2 - 1


def train(step: GANStep, count: int = 12) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
    torch.manual_seed(1)
    seen = [step(real) for real in batches(count)]
    tensors = [*step.G.parameters(), *step.D.parameters()]
    if step.ema is not None:
        tensors += list(step.ema.parameters())
    return seen, [t.detach().clone() for t in tensors]


def assert_same_bits(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_critic": 3},
        {"ema": 0.9},
        {"reuse_fakes": True},
        {"eval_fakes": True},
        {"clip_weights": 0.02},
        {"accumulate": 2},
        {"penalty": gradient_penalty},
        {"penalty": partial(gradient_penalty, path="autograd"), "paired": False},
        {"penalty": gradient_penalty, "penalty_every": 2},
    ],
    ids=str,
)
def test_replays_train_as_eager_steps_do_to_the_bit(settings: dict[str, Any]) -> None:
    """Warm-up leaves no trace, and noise and masks are drawn anew in each replay."""
    step, recorder = graphed(**settings)
    found, wanted = train(step), train(build(**settings))
    assert_same_bits(found, wanted)
    kinds = 2 if {"n_critic", "penalty_every"} & settings.keys() else 1
    assert recorder.captured == kinds
    assert recorder.replayed == 12 - kinds


def test_clipping_is_part_of_the_graph() -> None:
    step, recorder = graphed()
    plain, free = build(), build()
    for owner in (step, plain):
        for optimizer in (owner.g_optimizer, owner.d_optimizer):
            clip_gradients(optimizer, 1e-3)
    found = train(step)
    assert_same_bits(found, train(plain))
    assert recorder.replayed == 11
    assert not torch.equal(found[1][0], train(free)[1][0])


def test_a_resident_batch_is_gathered_by_each_replay() -> None:
    data = small_images()
    order = [torch.randperm(len(data))[:8] for _ in range(12)]

    def run(step: GANStep, resident: bool) -> Any:
        torch.manual_seed(1)
        seen = [step(Batch(data, i) if resident else data.gather(i)) for i in order]
        return seen, [p.detach().clone() for p in (*step.G.parameters(), *step.D.parameters())]

    step, recorder = graphed()
    assert_same_bits(run(step, True), run(build(), False))
    assert (recorder.captured, recorder.replayed) == (1, 11)
    step(Batch(small_images(), order[0]))  # another set, which the old graph cannot read
    assert recorder.captured == 1
    step(Batch(data, order[0]))
    assert recorder.replayed == 12


def test_returned_scalars_outlive_the_next_replay() -> None:
    step, _ = graphed()
    seen, _ = train(step, 6)
    assert len({float(s["d_loss"]) for s in seen}) == 6


def test_a_new_batch_shape_has_a_graph_of_its_own() -> None:
    step, recorder = graphed()
    for n in (8, 8, 5, 5, 8, 5):
        step(next(batches(1, n)))
    assert recorder.captured == 2
    assert recorder.replayed == 4


def test_graphs_are_not_made_without_end() -> None:
    step, recorder = graphed()
    for n in range(1, graph.MOST_GRAPHS + 4):
        for _ in range(2):
            step(next(batches(1, n)))
    assert recorder.captured == graph.MOST_GRAPHS


def test_modes_and_replaced_parameters_make_new_graphs() -> None:
    step, recorder = graphed()
    for _ in range(3):
        step(next(batches(1)))
    step.D.eval()
    for _ in range(3):
        step(next(batches(1)))
    assert recorder.captured == 2
    with torch.no_grad():
        for p in step.G.parameters():
            p.data = p.data.clone()
    for _ in range(3):
        step(next(batches(1)))
    assert recorder.captured == 3


def test_loading_an_optimizer_makes_new_graphs() -> None:
    step, recorder = graphed()
    for _ in range(3):
        step(next(batches(1)))
    step.g_optimizer.load_state_dict(step.g_optimizer.state_dict())
    for _ in range(3):
        step(next(batches(1)))
    assert recorder.captured == 2


def test_a_step_that_cannot_be_captured_runs_eagerly_and_says_why() -> None:
    step, recorder = graphed(fails="operation not permitted\nwhen stream is capturing")
    found, wanted = train(step), train(build())
    assert_same_bits(found, wanted)
    assert recorder.captured == 1
    assert "because it cannot be captured as a CUDA graph" in step.notes[2]
    assert "RuntimeError: operation not permitted" in step.notes[2]


def test_put_back_restores_to_the_bit() -> None:
    step = build(ema=0.5)
    step.G.register_buffer("expanded", torch.zeros(1).expand(4))
    step(next(batches(1)))
    assert step.ema is not None
    modules, optimizers = (step.G, step.D, step.ema), (step.g_optimizer, step.d_optimizer)
    own = torch.Generator().manual_seed(9)

    def everything() -> list[Tensor]:
        tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
        tensors += [
            v for o in optimizers for s in o.state.values() for v in s.values() if v is not None
        ]
        return [t.detach().clone() for t in (*tensors, torch.get_rng_state(), own.get_state())]

    before = everything()
    addresses = [p.data_ptr() for m in modules for p in m.parameters()]
    with graph.put_back(modules, optimizers, [own]):
        step(next(batches(1)))
        torch.rand(3, generator=own)
        assert any(not torch.equal(a, b) for a, b in zip(before, everything(), strict=True))
    assert_same_bits(everything(), before)
    assert [p.data_ptr() for m in modules for p in m.parameters()] == addresses


def test_learning_rates_become_tensors_that_schedules_fill() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([parameter], lr=0.1, fused=False, foreach=False)
    parameter.grad = torch.ones(3)
    optimizer.step()
    make_capturable(optimizer)
    group = optimizer.param_groups[0]
    rate = group["lr"]
    assert group["capturable"]
    assert isinstance(rate, Tensor)
    assert isinstance(optimizer.state[parameter]["step"], Tensor)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.param_groups[0]["capturable"] = False  # torch allows it on a GPU alone
    optimizer.step()
    schedule.step()
    assert group["lr"] is rate
    assert float(rate) == pytest.approx(0.05)


@pytest.mark.parametrize("rate", [2e-4, 1e-3, 0.1, 3e-5, 1.0])
def test_a_rate_comes_back_from_the_graph_as_it_was(rate: float) -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(3))], lr=rate)
    make_capturable(optimizer)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(rate)
    make_eager(optimizer)
    assert optimizer.param_groups[0]["lr"] == rate
    assert type(optimizer.param_groups[0]["lr"]) is float


def test_schedules_and_assigned_rates_act_on_replays() -> None:
    def run(step: GANStep) -> Any:
        schedule = torch.optim.lr_scheduler.ExponentialLR(step.d_optimizer, 0.5)
        torch.manual_seed(1)
        for number, real in enumerate(batches(8)):
            step(real)
            schedule.step()
            if number == 5:
                step.g_optimizer.param_groups[0]["lr"] = 0.25
        return [p.detach() for p in (*step.G.parameters(), *step.D.parameters())]

    step, recorder = graphed()
    found, wanted = run(step), run(build())
    assert recorder.captured == 1
    assert_same_bits(found, wanted)


def test_frozen_layers_other_settings_and_submodules_modes_make_new_graphs() -> None:
    step, recorder = graphed()
    changes = [
        lambda: None,
        lambda: step.D.main[0].weight.requires_grad_(False),
        lambda: step.d_optimizer.param_groups[0].update(betas=(0.0, 0.9)),
        lambda: step.D.main[1].eval(),
    ]
    for change in changes:
        change()
        for _ in range(2):
            step(next(batches(1)))
    assert recorder.captured == len(changes)


def test_the_note_says_when_no_more_graphs_are_made() -> None:
    step, _ = graphed()
    assert step.notes[2].endswith("per kind of step and batch shape.")
    for n in range(1, graph.MOST_GRAPHS + 1):
        step(next(batches(1, n)))
    assert f"beyond these {graph.MOST_GRAPHS} eagerly" in step.notes[2]


def test_a_checkpoint_of_a_run_with_graphs_loads_without() -> None:
    step = build()
    step(next(batches(1)))
    state = step.d_optimizer.state_dict()
    for group in state["param_groups"]:
        group.update(lr=torch.tensor(0.25), capturable=True)
    step.d_optimizer.load_state_dict(state)
    group = step.d_optimizer.param_groups[0]
    assert (group["lr"], group["capturable"]) == (0.25, False)
    step(next(batches(1)))


def test_optimizers_that_cannot_be_captured_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCUDA:
        device = torch.device("cuda", 0)

    class Module:
        def parameters(self) -> list[Any]:
            return [OnCUDA()]

    parameters = [nn.Parameter(torch.zeros(1))]
    for optimizer in (torch.optim.SGD(parameters, lr=0.1), torch.optim.NAdam(parameters)):
        kind = type(optimizer).__name__
        modules: Any = [Module()]
        assert f"{kind} is none of Adam" in graph.graphs_for("auto", modules, [optimizer]).note
        with pytest.raises(ConfigError, match=f"{kind} is none of Adam, AdamW, RMSprop"):
            graph.graphs_for(True, modules, [optimizer])


def test_on_the_cpu_auto_is_eager_and_true_an_error() -> None:
    step = build(cuda_graph="auto")
    assert isinstance(step._graphs, graph.Eager)
    assert "without a CUDA graph" in step.notes[2]
    with pytest.raises(ConfigError, match="cuda_graph=True, but the networks are on cpu"):
        build(cuda_graph=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("own_generator", [False, True])
def test_on_a_gpu_graphs_and_eager_steps_agree(own_generator: bool) -> None:
    results = []
    for cuda_graph in (True, False):
        torch.manual_seed(0)
        G, D = mlp.Generator().cuda(), mlp.Discriminator().cuda()
        generator = torch.Generator("cuda").manual_seed(5) if own_generator else None
        step = GANStep(
            G, D, gan_adam(G.parameters()), gan_adam(D.parameters()),
            cuda_graph=cuda_graph, n_critic=2, ema=0.9,
            noise=Noise((100,), device="cuda", generator=generator),
        )  # fmt: skip
        for optimizer in (step.g_optimizer, step.d_optimizer):
            make_capturable(optimizer)  # the eager arm rounds its rate alike
        torch.cuda.manual_seed(1)
        for number in range(20):
            real = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(number))
            scalars = step(real.cuda() * 2 - 1)
        assert "cannot be captured" not in step.notes[2], step.notes[2]
        results.append((scalars, [p.detach() for p in [*G.parameters(), *D.parameters()]]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_resident_batch_is_gathered_inside_the_graph() -> None:
    images = torch.randint(0, 256, (500, 1, 28, 28), dtype=torch.uint8)
    data = ImageData(images).to("cuda")
    results = []
    for resident in (True, False):
        torch.manual_seed(0)
        G, D = mlp.Generator().cuda(), mlp.Discriminator().cuda()
        step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), cuda_graph=True)
        torch.cuda.manual_seed(1)
        for number in range(10):
            indices = torch.randperm(500, generator=torch.Generator().manual_seed(number))[:60]
            batch = Batch(data, indices.cuda())
            scalars = step(batch if resident else batch.gather())
        results.append((scalars, [p.detach() for p in [*G.parameters(), *D.parameters()]]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_replays_draw_anew_and_follow_the_learning_rate() -> None:
    torch.manual_seed(0)
    G, D = mlp.Generator().cuda(), mlp.Discriminator().cuda()
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), cuda_graph=True)
    real = torch.rand(60, 1, 28, 28, device="cuda")
    for _ in range(3):
        step(real)
    for optimizer in (step.g_optimizer, step.d_optimizer):
        optimizer.param_groups[0]["lr"].fill_(0.0)
    before = [p.detach().clone() for p in D.parameters()]
    losses = {float(step(real)["d_loss"]) for _ in range(3)}
    assert len(losses) == 3, "fakes and masks differ"
    for p, old in zip(D.parameters(), before, strict=True):
        assert torch.equal(p, old)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_forward_that_waits_runs_eagerly_and_trains_on() -> None:
    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * float(x.mean().item() == x.mean().item())

    G = mlp.Generator().cuda()
    D = nn.Sequential(nn.Flatten(), Waits(), nn.Dropout(0.5), nn.Linear(784, 1)).cuda()
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), from_logits=True)
    real = torch.rand(60, 1, 28, 28, device="cuda")
    losses = {float(step(real)["d_loss"]) for _ in range(6)}
    assert len(losses) == 6
    assert "because it cannot be captured" in step.notes[2]
