"""The semi-supervised step against a plain loop, its labelled batches, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.data import BatchSampler, ImageData
from gankit.errors import ConfigError, DataError
from gankit.gans.sgan import SGANStep
from gankit.models import mlp
from gankit.models.semi_supervised import Discriminator
from gankit.training import Trainer, gan_adam

SHAPE = (1, 2, 2)
IMAGES = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(2)) * 2 - 1
CLASSES = torch.tensor([0, 1, 2, 1, 0])
Parts = tuple[mlp.Generator, Discriminator, torch.optim.Optimizer, torch.optim.Optimizer]


def parts(dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> Parts:
    torch.manual_seed(0)
    G = mlp.Generator(3, SHAPE, hidden=(8,)).to(dtype)
    D = Discriminator(3, SHAPE, hidden=(8,), dropout=dropout).to(dtype)
    return G, D, gan_adam(G.parameters(), 1e-2), gan_adam(D.parameters(), 1e-2)


def make(made: Parts | None = None, **settings: Any) -> SGANStep:
    settings = {"labelled": (IMAGES, CLASSES), "labelled_batch": 6, **settings}
    return SGANStep(*(made or parts()), **settings)


def batches() -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.rand(5, 6, *SHAPE, dtype=torch.float64, generator=generator) * 2 - 1


def test_a_step_is_the_plain_loop() -> None:
    step = make(class_weight=2.0)
    torch.manual_seed(4)
    seen = [step(real) for real in batches()]
    G, D, g_optimizer, d_optimizer = made = parts()
    torch.manual_seed(4)
    for real, scalars in zip(batches(), seen, strict=True):
        fake = G(torch.randn(6, 3, dtype=torch.float64)).detach()
        drawn = torch.randint(5, (6,))
        d_optimizer.zero_grad()
        logits = D.classify(IMAGES[drawn].double())
        entropy = F.cross_entropy(logits, CLASSES[drawn])
        loss = F.softplus(-D(real)).mean() + F.softplus(D(fake)).mean() + 2 * entropy
        loss.backward()
        right = (logits.argmax(1) == CLASSES[drawn]).double().mean()
        assert float(scalars["classification"]) == pytest.approx(float(entropy.detach()), rel=1e-12)
        assert float(scalars["accuracy"]) == pytest.approx(float(right), rel=1e-12)
        assert float(scalars["d_loss"]) == pytest.approx(float(loss.detach()), rel=1e-12)
        d_optimizer.step()
        g_optimizer.zero_grad()
        F.softplus(-D(G(torch.randn(6, 3, dtype=torch.float64)))).mean().backward()
        g_optimizer.step()
    for mine, theirs in zip((step.G, step.D), made[:2], strict=True):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_micro_batches_share_the_labelled_batch() -> None:
    results = []
    for accumulate in (1, 3):
        step = make(accumulate=accumulate)
        torch.manual_seed(4)
        for real in batches():
            scalars = step(real)
        results.append((scalars, [p.detach() for p in step.D.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-10)
    with pytest.raises(ConfigError, match="labelled_batch is 6; expected a multiple of accumulate"):
        make(accumulate=4)


def run(steps: int, before: dict[str, Any] | None = None) -> Trainer:
    data = ImageData((batches().float().flatten(0, 1) * 127 + 128).byte())
    sampler = BatchSampler(len(data), 6, generator=torch.Generator().manual_seed(0))
    step = make(parts(torch.float32, dropout=0.5), n_critic=2, ema=0.9)
    trainer = Trainer(step, data, sampler, log_every=2)
    torch.manual_seed(8)
    if before is not None:
        trainer.load_state_dict(before)
    trainer.fit(steps=steps)
    return trainer


def test_a_run_resumes_exactly() -> None:
    straight = run(9).state_dict()["gan_step"]
    resumed = run(9, copy.deepcopy(run(4).state_dict())).state_dict()["gan_step"]
    assert all(torch.equal(straight[n], resumed[n]) for n in straight if n != "_extra_state")
    assert not any(name.startswith("labelled") for name in straight)


def test_what_does_not_fit_is_named() -> None:
    for changes, kind, words in (
        ({"class_weight": -1.0}, ConfigError, "class_weight is -1.0; allowed are finite numbers"),
        ({"class_weight": None}, ConfigError, "class_weight is None; allowed are finite numbers"),
        ({"labelled_batch": 0}, ConfigError, "labelled_batch is 0; allowed are integers from 1"),
        ({"labelled": (IMAGES, CLASSES[:2])}, DataError, "images and an int64 class each"),
        ({"labelled": (IMAGES[:0], CLASSES[:0])}, DataError, "images and an int64 class each"),
        ({"labelled": (IMAGES, CLASSES.float())}, DataError, "images and an int64 class each"),
    ):
        with pytest.raises(kind, match=words):
            make(**changes)
    G, _, g_optimizer, _ = parts(torch.float32)
    D = mlp.Discriminator(SHAPE, hidden=(8,), output="logit")
    with pytest.raises(ConfigError, match=r"D \(Discriminator\) has no method classify"):
        make((G, D, g_optimizer, gan_adam(D.parameters())))  # type: ignore[arg-type]


def test_a_dry_run_names_the_labelled_images_that_d_cannot_take() -> None:
    step = make(labelled=(torch.zeros(2, 1, 3, 3), torch.tensor([0, 1])))
    with pytest.raises((ConfigError, DataError), match=r"images must have shape \[N, 1, 2, 2\]"):
        step.dry_run(batches()[0])
