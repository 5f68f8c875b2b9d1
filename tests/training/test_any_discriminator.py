"""GANStep with Ds that return maps, scales, features and classes; losses and critics of users."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.data import BatchSampler, ImageData
from gankit.errors import ConfigError
from gankit.losses import AdversarialLoss, gradient_penalty, resolve
from gankit.training import Diagnostics, GANStep, Noise, Trainer, gan_adam
from tests.training.nets import SHAPE, Z_DIM, small_discriminator, small_generator, small_images
from tests.training.test_step_options import ConditionalDiscriminator, ConditionalGenerator

CLASSES = 3
LABELS = torch.arange(8) % CLASSES


def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(8, *SHAPE, dtype=torch.float64, generator=generator) * 2 - 1


def patch(stride: int = 1) -> nn.Sequential:
    """6x6 images to a map of logits [N, 1, h, w]."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 2), nn.Identity()
    )


class Scales(nn.Module):
    """Two patch discriminators, the second on half the size (Wang et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = patch(), nn.Conv2d(1, 1, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.fine(x), self.coarse(F.avg_pool2d(x, 2))]


class Beside(nn.Module):
    """A score with something beside it: features, or the logits of classes."""

    def __init__(self, kind: str, width: int = 5) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.Tanh())
        self.score, self.head = nn.Linear(width, 1), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        score, logits = self.score(features), self.head(features)
        return {
            "features": (score, features),
            "logits": (score, logits),
            "dict": {"score": score, "logits": logits, "more": features},
            "scales": [(score, features), (2 * score, features)],
            "alone": score,
        }[self.kind]


def make(D: nn.Module, G: nn.Module | None = None, **settings: Any) -> GANStep:
    G = (G or small_generator()).double()
    D = D.double()
    random = torch.Generator().manual_seed(3)
    settings.setdefault("noise", Noise((Z_DIM,), dtype=torch.float64, generator=random))
    return GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()), **settings)


def scores_of(returned: Any) -> list[Tensor]:
    returned = returned["score"] if isinstance(returned, dict) else returned
    returned = returned[0] if isinstance(returned, tuple) else returned
    scales = returned if isinstance(returned, list) else [returned]
    return [scale[0] if isinstance(scale, tuple) else scale for scale in scales]


def plain_loop(step: GANStep, n: int, labels: Tensor | None) -> tuple[nn.Module, nn.Module, float]:
    """The non-saturating GAN on the mean over scales of the mean over places, plainly written."""
    G, D = copy.deepcopy(step.G), copy.deepcopy(step.D)
    g_optimizer, d_optimizer = gan_adam(G.parameters()), gan_adam(D.parameters())
    noise = Noise((Z_DIM,), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    given = () if labels is None else (labels,)

    def loss(returned: Any, sign: float) -> Tensor:
        parts = [F.softplus(-sign * s).mean() for s in scores_of(returned)]
        value = sum(parts, torch.zeros(())) / len(parts)
        if labels is None:
            return value
        logits = returned["logits"] if isinstance(returned, dict) else returned[1]
        return value + F.cross_entropy(logits, labels)

    d_loss = torch.zeros(())
    for _ in range(n):
        fake = G(noise(8), *given).detach()
        d_optimizer.zero_grad()
        d_loss = loss(D(images()), 1) + loss(D(fake), -1)
        d_loss.backward()
        d_optimizer.step()
        g_optimizer.zero_grad()
        loss(D(G(noise(8), *given)), 1).backward()
        g_optimizer.step()
    return G, D, float(d_loss.detach())


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("D", "conditional"),
    [
        (patch, False),
        (Scales, False),
        (partial(Beside, "features"), False),
        (partial(Beside, "scales"), False),
        (partial(Beside, "logits"), False),  # nobody asks for classes
        (partial(Beside, "logits"), True),
        (partial(Beside, "dict"), True),
    ],
    ids=["patch", "two scales", "features", "tuples", "unread head", "class head", "dict"],
)
def test_a_step_is_the_plain_loop(D: Any, conditional: bool, accumulate: int) -> None:
    torch.manual_seed(0)
    G = ConditionalGenerator() if conditional else small_generator()
    step = make(D(), G, conditional=conditional, accumulate=accumulate, channels_last=False)
    labels = LABELS if conditional else None
    twin_G, twin_D, d_loss = plain_loop(step, 4, labels)
    step.dry_run(images(), labels)
    for _ in range(4):
        scalars = step(images(), labels)
    for mine, theirs in zip((step.G, step.D), (twin_G, twin_D), strict=True):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert float(scalars["d_loss"]) == pytest.approx(d_loss, rel=1e-12)
    assert 0 < float(scalars["d_real"]) < 1
    assert ("class_real" in scalars) is conditional


@pytest.mark.parametrize("kind", ["patch", "scales", "class head"])
def test_one_pass_equals_two(kind: str) -> None:
    results = []
    for paired in (True, False):
        torch.manual_seed(0)
        D = {"patch": patch, "scales": Scales, "class head": partial(Beside, "logits")}[kind]()
        G = ConditionalGenerator() if kind == "class head" else small_generator()
        step = make(D, G, conditional=kind == "class head", paired=paired)
        for _ in range(3):
            scalars = step(images(), LABELS if "label" in step.fields else None)
        results.append((scalars, [p.detach() for p in step.D.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-11)


def test_a_relativistic_loss_compares_scale_by_scale() -> None:
    torch.manual_seed(0)
    step = make(Scales(), loss="relativistic-average-hinge")
    game, D = step.loss, copy.deepcopy(step.D)
    fake = step.G(torch.zeros(8, Z_DIM, dtype=torch.float64)).detach()
    found = step.d_objective(*(step.critic(x, {}) for x in (images(), fake)))
    pairs = zip(D(images()), D(fake), strict=True)
    expected = sum(game.discriminator(a, b) for a, b in pairs) / 2
    torch.testing.assert_close(found, expected)
    assert all(bool(x.isfinite()) for x in step(images()).values())


def penalty_of(D: nn.Module, penalty: Any, **settings: Any) -> Tensor:
    """What ``penalty`` adds to D's first loss."""
    values = []
    for each in (None, penalty):
        torch.manual_seed(0)
        step = make(copy.deepcopy(D), loss="wasserstein", penalty=each, **settings)
        torch.manual_seed(5)
        values.append(step(images())["d_loss"])
    return values[1] - values[0]


def by_hand(D: nn.Module, real: Tensor) -> Tensor:
    """R1 of each image's mean score, by double backward."""
    real = real.clone().requires_grad_()
    rows = torch.stack([s.flatten(1).mean(1) for s in scores_of(D(real))]).mean(0)
    (grad,) = torch.autograd.grad(rows.sum(), real)
    return 10 * grad.flatten(1).square().sum(1).mean()


R1 = partial(gradient_penalty, mode="zero-centred", at="real")


@pytest.mark.parametrize(
    ("D", "penalty"),
    [
        (Scales, R1),
        (partial(Beside, "features"), R1),
        (partial(Beside, "scales"), R1),
        (patch, partial(R1, select="mean")),
        (patch, lambda D, real, fake: R1(lambda x: D(x).mean((1, 2, 3)), real, fake)),
        (Scales, lambda critic, real, fake: R1(lambda x: critic(x), real, fake)),
    ],
    ids=["scales", "features", "tuples", "select", "lambda over a map", "lambda"],
)
def test_a_penalty_is_of_one_score_per_image(D: Any, penalty: Any) -> None:
    torch.manual_seed(0)
    D = D().double()
    torch.testing.assert_close(penalty_of(D, penalty), by_hand(D, images()))


def test_a_map_under_a_penalty_without_select_is_named() -> None:
    step = make(patch(), penalty=gradient_penalty)
    with pytest.raises(ConfigError, match=r"critic returned \[8, 1, 3, 3\] .*a select that makes"):
        step.dry_run(images())


def d_loss(real: Tensor, fake: Tensor) -> Tensor:
    return (real - 1).square().mean() / 2 + fake.square().mean() / 2


def g_loss(fake: Tensor) -> Tensor:
    return (fake - 1).square().mean() / 2


class WithCounterpart:
    """A callable loss that has G's side as its attribute."""

    generator = staticmethod(g_loss)

    def __call__(self, real: Tensor, fake: Tensor) -> Tensor:
        return d_loss(real, fake)


@pytest.mark.parametrize("loss", [(d_loss, g_loss), WithCounterpart(), [d_loss, g_loss]])
def test_a_loss_may_be_plain_functions(loss: Any) -> None:
    results = []
    for given in ("least-squares", loss):
        torch.manual_seed(0)
        step = make(small_discriminator(0.0, "logit"), loss=given)
        for _ in range(3):
            scalars = step(images())
        results.append((scalars, [p.detach() for p in step.G.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert "D's output is read as scores." in step.notes


def test_a_function_of_two_for_g_is_a_relativistic_loss() -> None:
    def relative(preferred: Tensor, other: Tensor) -> Tensor:
        return F.softplus(other - preferred).mean()

    results = []
    for given in ("relativistic", (relative, relative)):
        torch.manual_seed(0)
        results.append(make(small_discriminator(0.0, "logit"), loss=given)(images()))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (d_loss, "with G's as its attribute generator"),
        (None, "loss is None; expected a name, an AdversarialLoss"),
        ((d_loss, 3), "expected a name, an AdversarialLoss, a pair"),
        ((g_loss, g_loss), "D's function of the loss, g_loss, takes another number of arguments"),
        ((d_loss, lambda: 0), "G's function of the loss, <lambda>, takes another number"),
        ("none-such", "unknown loss 'none-such'"),
    ],
)
def test_what_is_no_loss_is_named(loss: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(loss, from_logits=True)
    with pytest.raises(ConfigError, match=words):
        make(small_discriminator(0.0, "logit"), loss=loss)


def test_an_adversarial_loss_of_functions_keeps_its_name() -> None:
    assert AdversarialLoss.of((d_loss, g_loss)).name == "d_loss"


class Returns(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.weight, self.make = nn.Parameter(torch.ones(())), make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.weight * x)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda x: x.flatten(1), r"D returned \[\d+, 36\] for \d+ images; allowed is one value"),
        (lambda x: x.expand(-1, 2, 6, 6), r"D returned \[\d+, 2, 6, 6\] for"),
        (lambda x: [], "D returned a list for"),
        (lambda x: (), "D returned a NoneType as the score in a tuple for"),
        (lambda x: {"logits": x}, "D returned a NoneType as the score in a dict for"),
        (lambda x: [x, x.mean()], r"D returned \[\] as the score in a list for"),
        (lambda x: (x.mean(), x), r"D returned \[\] as the score in a tuple for"),
    ],
)
def test_a_d_that_returns_no_scores_is_named(returned: Any, words: str) -> None:
    step = make(Returns(returned))
    for call in (step, step.dry_run):
        with pytest.raises(ConfigError, match=words):
            call(images())


@pytest.mark.parametrize("returned", ["alone", "features"])
def test_a_conditional_d_without_classes_is_named(returned: str) -> None:
    class Wide(Beside):
        def forward(self, x: Tensor) -> Any:
            out = super().forward(x)
            return (out[0], x) if isinstance(out, tuple) else out

    step = make(Wide(returned), ConditionalGenerator(), conditional=True)
    words = (
        r"takes no labels, and beside its score it returned (nothing|\[.*) for .* \(score, logits\)"
    )
    with pytest.raises(ConfigError, match=words):
        step(images(), LABELS)


def test_a_batch_of_other_names_is_named() -> None:
    with pytest.raises(ConfigError, match="the batch has pictures, but lacks image, which"):
        make(Returns("x"))({"pictures": images()})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS.float(), r"labels are torch.float32; expected int64 class numbers, because G has"),
        (LABELS == 1, "labels are torch.bool; expected int64 class numbers"),
        (LABELS[:, None], r"labels have shape \[8, 1\]; expected class numbers \[8\]"),
        (LABELS + 1, r"labels lie in 1 to 3; expected 0 to 2, because G.n_classes is 3"),
        (LABELS - 1, "labels lie in -1 to 1; expected 0 to 2"),
    ],
)
@pytest.mark.parametrize("head", [False, True])
def test_labels_of_a_wrong_kind_are_named(labels: Tensor, words: str, head: bool) -> None:
    G = ConditionalGenerator()
    G.n_classes = CLASSES  # type: ignore[assignment]
    step = make(Beside("logits") if head else ConditionalDiscriminator(), G)
    assert step.fields == ("image", "label")
    for call in (step, step.dry_run):
        with pytest.raises(ConfigError, match=words):
            call(images(), labels)
    step(images(), LABELS)


def test_networks_that_take_no_labels_are_named() -> None:
    step = make(small_discriminator())
    with pytest.raises(ConfigError, match="labels are given, but G's forward takes none"):
        step(images(), LABELS)
    step = make(small_discriminator(), ConditionalGenerator())
    with pytest.raises(ConfigError, match=r"but D's forward takes none; .*with a class head"):
        step(images(), LABELS)
    with pytest.raises(ConfigError, match="takes no labels, but conditional is True"):
        make(small_discriminator(), conditional=True)


def test_rows_of_attributes_are_left_to_the_networks() -> None:
    class Attributes(nn.Module):
        def __init__(self, body: nn.Module, n: int) -> None:
            super().__init__()
            self.body, self.add, self.z_dim = body, nn.Linear(4, n), Z_DIM

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            out: Tensor = self.body(x + self.add(labels).view(x.shape))
            return out

    G, D = Attributes(small_generator(), Z_DIM), Attributes(small_discriminator(), 36)
    step = make(D, G, conditional=True, from_logits=False)
    scalars = step(images(), torch.rand(8, 4, dtype=torch.float64))
    assert all(bool(x.isfinite()) for x in scalars.values())


@pytest.mark.parametrize("D", [patch, Scales, partial(Beside, "dict")])
def test_a_run_is_watched_and_resumes_exactly(D: Any) -> None:
    def run(steps: int, before: Any = None) -> Trainer:
        torch.manual_seed(0)
        head = D not in (patch, Scales)
        data = small_images(24)
        if head:
            data = ImageData(data.images, torch.arange(24) % CLASSES)
        G = ConditionalGenerator() if head else small_generator()
        if head:
            G.n_classes = CLASSES  # type: ignore[assignment]
        network = D()
        optimizers = gan_adam(G.parameters()), gan_adam(network.parameters())
        step = GANStep(G, network, *optimizers, precision="bf16", ema=0.9)
        sampler = BatchSampler(24, 8, generator=torch.Generator().manual_seed(0))
        watch = Diagnostics(every=1, after=1)
        trainer = Trainer(step, data, sampler, callbacks=[watch], log_every=2)
        if before is not None:
            trainer.load_state_dict(before)
        trainer.fit(steps=steps)
        assert watch.health is not None
        assert 0 <= watch.health.accuracy <= 1
        return trainer

    straight = run(6).state_dict()["gan_step"]
    resumed = run(6, copy.deepcopy(run(2).state_dict())).state_dict()["gan_step"]
    assert all(torch.equal(straight[n], resumed[n]) for n in straight if n != "_extra_state")
    assert straight["_extra_state"]["latest"].keys() == run(6).gan_step.metrics.keys()


def test_points_have_one_answer_each() -> None:
    torch.manual_seed(0)
    step = make(Scales())
    answers = step.answer(images().float())
    rows = torch.stack([s.flatten(1).mean(1) for s in scores_of(step.D(images().float().double()))])
    torch.testing.assert_close(answers, rows.mean(0).sigmoid().float().detach())
