"""Steps of the families as CUDA graphs, by their stand-in, and without a wait for the device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gankit.gans.autoencoder import AutoencoderStep
from gankit.gans.began import BEGANStep
from gankit.gans.ebgan import EBGANStep
from gankit.gans.sgan import SGANStep
from gankit.gans.unrolled import UnrolledGANStep
from gankit.models import autoencoder, mlp, semi_supervised
from gankit.training import ADA, DiffAugment, Step, gan_adam, graph
from gankit.training.augmentation import Augmentation
from tests.gans.test_discogan_and_stargan_steps import discogan_step, stargan_batch, stargan_step
from tests.gans.test_sagan_and_biggan import batch as sagan_batch
from tests.gans.test_sagan_and_biggan import sagan_step
from tests.gans.translation_nets import batch_of, cyclegan_step, pix2pix_step
from tests.training.tape import TapeRecorder

SHAPE = (1, 4, 4)
# Each with the channels of images a and b, and their size.
TRANSLATES = {"pix2pix": ((1, 3), 16), "cyclegan": ((3, 3), 12), "discogan": ((1, 3), 16)}
FAMILIES = ("vae", "began", "ebgan", "sgan", "unrolled", *TRANSLATES, "stargan")
# And some whose discriminators are shown transformed images.
CASES: list[tuple[str, type[Augmentation] | None]] = [
    *((family, None) for family in FAMILIES),
    *(("sgan", ADA), ("cyclegan", ADA), ("ebgan", DiffAugment), ("pix2pix", DiffAugment)),
    *(("discogan", ADA), ("stargan", DiffAugment)),
]
RATE = 2**-9  # a number of float32 too, as the rate of a graph is


def make(family: str, **settings: Any) -> Step:
    torch.manual_seed(0)
    translates: dict[str, tuple[Callable[..., Step], dict[str, Any]]] = {
        "pix2pix": (pix2pix_step, {"dropout": 0.5}),
        "cyclegan": (cyclegan_step, {"pool_size": 6}),
        "discogan": (discogan_step, {"gan_curriculum": 4, "d_every": 2}),
        # Labels are looked at, on the CPU alone.
        "stargan": (stargan_step, {"exclusive": False, "n_critic": 2}),
        "sagan": (sagan_step, {"n_critic": 2}),
    }
    if family in translates:
        make_step, own = translates[family]
        made = make_step(**own, **settings)
        for optimizer in made.optimizers.values():
            optimizer.param_groups[0]["lr"] = RATE
        return made
    G = mlp.Generator(5, SHAPE, hidden=(8,))
    if family == "vae":
        encoder = autoencoder.Encoder(5, SHAPE, hidden=(8,), variational=True)
        both = gan_adam([*G.parameters(), *encoder.parameters()], RATE)
        return AutoencoderStep(G, encoder, both, "elbo", **settings)
    if family == "sgan":
        D: Any = semi_supervised.Discriminator(n_classes=3, image_shape=SHAPE, hidden=(8,))
        generator = torch.Generator().manual_seed(1)
        labelled = torch.rand(7, *SHAPE, generator=generator) * 2 - 1, torch.arange(7) % 3
        settings |= {"labelled": labelled, "labelled_batch": 4}
    elif family == "unrolled":
        D = mlp.Discriminator(SHAPE, hidden=(8,), dropout=0.0, output="logit")
    else:
        D = autoencoder.Discriminator(SHAPE, hidden=(8,), code=4)
    kinds: dict[str, Any] = {"began": BEGANStep, "ebgan": EBGANStep, "sgan": SGANStep}
    kinds |= {"unrolled": UnrolledGANStep}
    settings |= {"began": {"rate": 0.1}, "ebgan": {"pulling_away": 0.1}}.get(family, {})
    optimizers = (gan_adam(m.parameters(), RATE) for m in (G, D))
    step: Step = kinds[family](G, D, *optimizers, **settings)
    return step


def batch(family: str, seed: int) -> dict[str, Tensor]:
    if family == "stargan":
        return {k: v.float() for k, v in stargan_batch(seed, False).items()}
    if family == "sagan":
        return dict(zip(("image", "label"), sagan_batch(seed), strict=True))
    if family in TRANSLATES:
        channels, size = TRANSLATES[family]
        return {k: v.float() for k, v in batch_of(channels, seed, size=size).items()}
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.rand(4, *SHAPE, generator=generator) * 2 - 1}


# Labels of a SAGAN are looked at on the CPU, which is the second test's device.
@pytest.mark.parametrize(("family", "augment"), [*CASES, ("sagan", None)])
def test_replays_train_as_eager_steps_do_to_the_bit(
    family: str, augment: type[Augmentation] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = graph.make_capturable

    def on_the_cpu(optimizer: torch.optim.Optimizer) -> None:
        made(optimizer)
        for group in optimizer.param_groups:
            group["capturable"] = False

    monkeypatch.setattr(graph, "make_capturable", on_the_cpu)
    eager, replayed = (
        make(family, ema=0.9, augment=None if augment is None else augment()) for _ in range(2)
    )
    owners = (replayed,), tuple(replayed.optimizers.values())
    recorder = TapeRecorder(*owners)
    replayed._graphs = graph.Graphs(*owners, recorder)
    reports = []
    for step in (eager, replayed):
        torch.manual_seed(3)
        reports.append([step(batch(family, seed)) for seed in range(9)])
    # A gradient of gradients is rounded otherwise under the tape, in the last bit of some weights.
    same = torch.allclose if family == "unrolled" else torch.equal
    for one, other in zip(*reports, strict=True):
        # NaN is what no call has computed yet.
        assert all(same(one[n].nan_to_num(-9), other[n].nan_to_num(-9)) for n in one)
    ours, theirs = (step.state_dict() for step in (eager, replayed))
    assert all(same(ours[name], theirs[name]) for name in ours if name != "_extra_state")
    # A graph for each set of updates that a call may make.
    assert recorder.captured == {"discogan": 3, "stargan": 2, "sagan": 2}.get(family, 1)
    assert recorder.captured + recorder.replayed == 9


class Waits(TorchDispatchMode):
    """Notes operations that on a device would wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waiting = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal.default", "masked_select")
        if any(name in str(func) for name in waiting):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("family", "augment"), CASES)
def test_a_step_waits_for_no_value_of_the_device(
    family: str, augment: type[Augmentation] | None
) -> None:
    step = make(family, ema=0.9, augment=None if augment is None else augment())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step(batch(family, 0))  # which looks, once, at the range of the images
    with Waits() as waits:
        step(batch(family, 1))
    assert waits.seen == []
    with Waits() as waits:
        bool(torch.ones(()))
    assert waits.seen  # the mode sees what it is there for
