"""One training step of a GAN: the textbook loop without its waste.

The textbook loop (Goodfellow et al. 2014, arXiv 1406.2661) trains D on a batch of real and a batch
of generated images, then G through D. Written plainly it computes gradients that are thrown away:
G's while D learns, and D's while G learns. ``GANStep`` computes the same updates without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gankit.data import Batch
from gankit.errors import CheckpointError, ConfigError
from gankit.losses import AdversarialLoss, resolve
from gankit.losses.wrapped import eagerly
from gankit.scalars import is_integer
from gankit.training.arguments import (
    Auto,
    auto,
    check_networks,
    check_penalty,
    check_takes_labels,
    positive_or_none,
    truth,
    whole,
)
from gankit.training.average import Average
from gankit.training.batches import check_batch, warn_of_range
from gankit.training.graph import Kind, graphs_for, make_eager
from gankit.training.modules import check_tensor, eval_mode, take_channels_last
from gankit.training.noise import NoiseSource, noise_for
from gankit.training.optimizers import match_layout
from gankit.training.pairing import ends_in_sigmoid, examine
from gankit.training.rehearsal import describe, dry_run, rehearsed
from gankit.training.sharing import alone_in, frozen, shared_parameters

Penalty = Callable[..., Tensor]
Part = tuple[Tensor, Tensor | None]
KEYS = ("d_loss", "g_loss", "d_real", "d_fake")


class GANStep:
    """Trains G and D by one step per call: D's turn first, then G's.

    Args:
        G: generator, from noise to images. Needs an int attribute ``z_dim`` unless ``noise`` is
            given.
        D: discriminator, from images ``[N, ...]`` to one value per image ``[N, 1]`` or ``[N]``:
            a probability if it ends in ``nn.Sigmoid``, else a logit.
        g_optimizer, d_optimizer: optimizers over G's and over D's parameters.
        loss: name known to ``gankit.losses.resolve``, or an ``AdversarialLoss``.
        penalty: ``penalty(D, real, fake) -> 0-d tensor``, added to D's loss. ``fake`` is detached.
            It runs outside autocast.
        n_critic: D learns in every call, G in every ``n_critic``-th.
        paired: one pass of D over ``cat([real, fake])`` in place of two. "auto" does so only where
            every layer is known to treat each sample on its own (``gankit.training.pairing``): a
            known layer of torch or gankit without hooks, inside ``nn.Sequential`` or a model of
            ``gankit.models``. For a D with its own ``forward`` say ``paired=True`` if that holds.
            With dropout the two halves draw other masks than two passes would, from the same
            distribution.
        cuda_graph: "auto" replays the step as one CUDA graph per kind of step and batch shape
            where the networks are on CUDA (:mod:`gankit.training.graph`) and runs eagerly
            elsewhere; True is an error elsewhere; False runs eagerly.
        precision: "fp32" leaves the models' dtype alone; "bf16" runs each forward in its own
            autocast block and computes the losses from D's logits in float32. It asks for a D that
            returns logits: a Sigmoid in bfloat16 rounds to 1, where its gradient is 0.
        reuse_fakes: G's turn learns from the fakes of D's turn (one forward of G fewer) in place of
            fresh ones.
        noise: ``noise(n) -> z``; default N(0, 1) of shape ``[n, G.z_dim]``.
        from_logits: whether D returns logits. "auto": False iff D ends in ``nn.Sigmoid``, layers
            that only reshape or drop aside. It must be said where D's own code hides that.
        eval_fakes: G makes the fakes of D's turn in eval mode, as a Keras loop with ``predict``
            does.
        clip_weights: after each of D's updates its parameters are clamped to
            [-clip_weights, clip_weights] (Arjovsky et al., 2017, arXiv 1701.07875).
        penalty_every: the penalty enters every so many calls, that many times as strong (lazy
            regularisation: Karras et al., 2020, arXiv 1912.04958, appendix B).
        ema: decay of a moving average of G's weights, in [0, 1); after each of G's turns
            ``average = ema average + (1 - ema) G``. The attribute ``ema`` is that copy of G, or
            None.
        channels_last: keep 4-d weights and images channels last, in which the convolutions of
            oneDNN with AVX-512 and, in half precision, cuDNN run fastest. "auto" does so for
            networks of torch's and gankit's layers with 2-d convolutions, on CPUs with AVX-512 and
            for bf16 on CUDA; with large weights and a small batch False is faster. It changes the
            strides of G's and D's parameters, not their values.
        accumulate: each turn works through the batch in so many equal parts, one after the other,
            and their gradients add up to the batch's before the one update: less memory, the same
            mathematics. What looks at a batch as a whole then looks at a part: batch norm takes its
            statistics, and moves the running ones, part by part; so take the relativistic average
            losses their means, and the pulling-away term its pairs. BEGAN's balance does not go in
            parts. Dropout draws other masks. With ``reuse_fakes`` the graphs of all of G's parts
            stay in memory.

    Raises ConfigError for arguments outside what is said here.

    ``paired`` (attribute) says what happens now, and ``notes`` says why, in sentences.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        loss: str | AdversarialLoss = "non-saturating",
        penalty: Penalty | None = None,
        n_critic: int = 1,
        paired: Auto = "auto",
        cuda_graph: Auto = "auto",
        precision: Literal["fp32", "bf16"] = "fp32",
        reuse_fakes: bool = False,
        *,
        noise: NoiseSource | None = None,
        from_logits: Auto = "auto",
        eval_fakes: bool = False,
        clip_weights: float | None = None,
        penalty_every: int = 1,
        ema: float | None = None,
        channels_last: Auto = "auto",
        accumulate: int = 1,
    ) -> None:
        check_networks(G, D, g_optimizer, d_optimizer)
        check_penalty(penalty)
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision is {precision!r}; allowed are 'fp32' and 'bf16'")
        self.n_critic = whole("n_critic", n_critic)
        self.penalty_every = whole("penalty_every", penalty_every)
        self.accumulate = whole("accumulate", accumulate)
        self._asked = auto("paired", paired)
        self.reuse_fakes = truth("reuse_fakes", reuse_fakes)
        self.eval_fakes = truth("eval_fakes", eval_fakes)
        self.clip_weights = positive_or_none("clip_weights", clip_weights)
        if self.reuse_fakes and self.eval_fakes:
            raise ConfigError(
                "reuse_fakes=True and eval_fakes=True exclude each other: G learns from fakes made "
                "in training mode"
            )
        self._shared = shared_parameters(G, D)
        if self.reuse_fakes and self._shared:
            raise ConfigError(
                f"reuse_fakes=True needs a G whose weights stay as they are while D learns, but D "
                f"shares {', '.join(self._shared)} with it; allowed is False"
            )
        self.G, self.D = G, D
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        asked = auto("from_logits", from_logits)
        self.from_logits = not ends_in_sigmoid(D) if asked == "auto" else asked
        if precision == "bf16" and not self.from_logits:
            raise ConfigError(
                "precision='bf16' needs a D that returns logits, since in bfloat16 a probability "
                "near 1 rounds to 1 and its gradient to 0: build D with output='logit' or without "
                "its last nn.Sigmoid, or pass from_logits=True if it returns logits already"
            )
        if isinstance(loss, AdversarialLoss):
            self.loss = loss
        else:
            self.loss = resolve(loss, from_logits=self.from_logits)
        if self.accumulate > 1 and not self.loss.in_parts:
            name = self.loss.name
            raise ConfigError(f"accumulate is {accumulate}; allowed with the loss {name!r} is 1")
        self.penalty = penalty
        self.precision = precision
        self.noise: NoiseSource = noise if noise is not None else noise_for(G)
        self.calls = 0
        self.stage = "the noise"  # what is being computed, for the words of a dry run
        self._pairing = examine(D)
        self._shapes_differ = False
        self._d_params: list[Tensor] = list(D.parameters())
        self._device, self._dtype = self._d_params[0].device, self._d_params[0].dtype
        self._range_seen = False
        self._g_loss = torch.full((), float("nan"), device=self._device)
        memory_format = auto("channels_last", channels_last)
        self.channels_last = take_channels_last(memory_format, precision, G, D)
        self._average = None if ema is None else Average(G, ema)
        for optimizer in (g_optimizer, d_optimizer):
            match_layout(optimizer)
            optimizer.register_load_state_dict_post_hook(_after_loading)
        own = getattr(self.noise, "generator", None)
        self._graphs = graphs_for(
            auto("cuda_graph", cuda_graph),
            (G, D) if self._average is None else (G, D, self._average.module),
            (g_optimizer, d_optimizer),
            () if own is None else (own,),
        )

    def __repr__(self) -> str:
        return describe(self)

    @property
    def ema(self) -> nn.Module | None:
        """The moving average of G, in eval mode; None without ``ema``."""
        return None if self._average is None else self._average.module

    @property
    def sampled(self) -> nn.Module:
        """The network to draw samples from: the moving average where there is one, else G."""
        return self.ema or self.G

    @property
    def paired(self) -> bool:
        """Whether D sees real and fake images in one pass, in D's present mode."""
        return not self._reason_for_two_passes()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided and why, one sentence each."""
        reason = self._reason_for_two_passes()
        if reason:
            first = f"D makes two passes, one over real and one over fake images: {reason}."
        elif self._asked is True:
            first = "D makes one pass over real and fake images: paired=True."
        else:
            first = (
                "D makes one pass over real and fake images: every layer treats each sample on its "
                "own."
            )
        kind = "logits" if self.from_logits else "probabilities"
        kind = "scores" if self.loss.scores else kind
        notes = [first, f"D's output is read as {kind}.", self._graphs.note]
        if self.channels_last:
            notes.append("Images and 4-d weights are channels last.")
        if self._shared:
            notes.append(
                f"G and D share {len(self._shared)} parameters, which learn in the turns whose "
                "optimizer holds them."
            )
        if self.accumulate > 1:
            notes.append(f"Gradients add up over {self.accumulate} equal parts of each batch.")
        return tuple(notes)

    def __call__(self, real: Tensor | Batch, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Train on one batch of real images ``[N, ...]`` (floating point, on D's device).

        A ``gankit.data.Batch`` in their place names images of a set on the device, which are then
        gathered by the step, as a part of its CUDA graph.

        With ``labels`` ``[N, ...]`` both networks are conditional (Mirza and Osindero, 2014, arXiv
        1411.1784): G is called as ``G(z, labels)``, D as ``D(images, labels)``, and the penalty is
        given ``critic_args=(labels,)``.

        Returns detached 0-d tensors without synchronising with the device: ``d_loss``; ``g_loss``
        of G's latest turn (NaN before its first, which happens only with n_critic > 1); ``d_real``
        and ``d_fake``, the mean probability that D, before its update, gives to the real and to
        the generated images, or its mean score where the loss is one of scores.
        """
        self._check(real, labels)
        calls = self.calls + 1
        penalised = self.penalty is not None and calls % self.penalty_every == 0
        kind = Kind(calls % self.n_critic == 0, penalised)
        scalars = self._graphs(kind, self._train, real, labels)
        if kind.g_learns:
            self._g_loss = scalars["g_loss"]
        else:
            scalars["g_loss"] = self._g_loss
        self.calls = calls
        return scalars

    def _train(self, kind: Kind, real: Tensor | Batch, labels: Tensor | None) -> dict[str, Tensor]:
        parts = self._parts(real, labels)
        self.d_optimizer.zero_grad(set_to_none=True)
        scalars, fakes = self._d_gradients(parts, kind)
        self.d_optimizer.step()
        if self.clip_weights is not None:
            with torch.no_grad():
                torch._foreach_clamp_max_(self._d_params, self.clip_weights)
                torch._foreach_clamp_min_(self._d_params, -self.clip_weights)
        if kind.g_learns:
            scalars["g_loss"] = self._g_turn(parts, fakes)
            if self._average is not None:
                self._average.update()
        return scalars

    def _check(self, real: Tensor | Batch, labels: Tensor | None) -> None:
        # Under autocast halves of float32 networks are at home.
        halves = (torch.bfloat16, torch.float16) if self.precision == "bf16" else ()
        check_batch(real, labels, self._d_params[0], halves)
        n = len(real.indices if isinstance(real, Batch) else real)
        if n % self.accumulate:
            raise ConfigError(
                f"accumulate is {self.accumulate}, which does not divide the {n} images of a batch"
            )

    def _parts(self, real: Tensor | Batch, labels: Tensor | None) -> list[Part]:
        if isinstance(real, Batch):
            images = real.gather()
            # The images of a set have no dtype of their own.
            real = images.to(self._dtype) if images.is_floating_point() else images
            self._check(real, labels)
        if self.channels_last and real.ndim == 4:
            real = real.contiguous(memory_format=torch.channels_last)
        count = self.accumulate
        given = [None] * count if labels is None else labels.chunk(count)
        return list(zip(real.chunk(count), given, strict=True))

    def dry_run(self, real: Tensor | Batch, labels: Tensor | None = None) -> None:
        """One step up to the gradients without learning, as a check before a long run.

        ``real`` and ``labels`` are what a call takes, so the batch should have the size and the
        labels of training. D's loss, the penalty, G's loss and their gradients are computed.
        Nothing changes: not the weights, gradients, buffers and modes of the networks, not torch's,
        Python's or NumPy's random state.

        Raises ConfigError if something of it raises, or if what a network returns cannot be trained
        with: G's images must have as many values as the real ones, D's output one value per image.
        """
        self._check(real, labels)
        with rehearsed((self.G, self.D), self.noise):
            parts = self._parts(real, labels)
            with dry_run(self, len(parts[0][0])):
                self._check_images(*parts[0])
                _, fakes = self._d_gradients(parts, Kind(True, self.penalty is not None))
                self._g_gradients(parts, fakes)

    def _check_images(self, real: Tensor, labels: Tensor | None) -> None:
        n = len(real)
        with torch.no_grad():
            fake = self._generate(self.noise(n), labels)
        if fake.ndim == 0 or fake.shape[0] != n or fake[0].numel() != real[0].numel():
            raise ConfigError(
                f"G returned images of shape {list(fake.shape)} for {n} noise vectors; allowed is "
                f"the shape of the real ones, {list(real.shape)}"
            )

    def state_dict(self) -> dict[str, Any]:
        """What the step itself remembers between calls (models and optimizers are not in it)."""
        state: dict[str, Any] = {"calls": self.calls, "g_loss": self._g_loss}
        if self._average is not None:
            state["ema"] = self._average.module.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as if the calls recorded in ``state`` had been made here.

        Raises CheckpointError if ``state`` is not what ``state_dict`` gave.
        """
        calls, g_loss = state["calls"], state["g_loss"]
        if not is_integer(calls) or calls < 0:
            raise CheckpointError(f"the step's calls are {calls!r}; allowed are integers from 0")
        if not isinstance(g_loss, Tensor) or g_loss.ndim != 0:
            raise CheckpointError(f"the step's g_loss is {g_loss!r}; allowed is a 0-d tensor")
        if (self._average is None) != ("ema" not in state):
            has, here = ("an", "none") if self._average is None else ("no", "one")
            raise CheckpointError(f"the step's state has {has} average of G, and here is {here}")
        if self._average is not None:
            self._average.load_state_dict(state["ema"])
        self.calls, self._g_loss = calls, g_loss.to(self._device)

    def _reason_for_two_passes(self) -> str:
        if self._asked is False:
            return "paired=False"
        if self._shapes_differ:
            return "G's images have another shape than the real ones"
        return "" if self._asked is True else self._pairing.reason_now()

    def _autocast(self) -> AbstractContextManager[Any]:
        # One block per forward: autocast caches the bf16 weights until its block ends, and a block
        # around both turns would go on using D's weights from before its update.
        if self.precision == "bf16":
            # A graph must cast the weights anew in each replay.
            cached = self._device.type != "cuda" or not torch.cuda.is_current_stream_capturing()
            return torch.autocast(self._device.type, dtype=torch.bfloat16, cache_enabled=cached)
        return nullcontext()

    def _noise(self, parts: list[Part]) -> tuple[Tensor, ...]:
        self.stage = "the noise"
        # Drawn at once, it is the same however many parts there are.
        return self.noise(sum(len(real) for real, _ in parts)).chunk(len(parts))

    def _generate(self, z: Tensor, labels: Tensor | None) -> Tensor:
        condition = () if labels is None else (labels,)
        self.stage = "the forward of G"
        with self._autocast():
            fake = check_tensor("G", self.G(z, *condition))
        return self._wide(fake)

    def _judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        condition = () if labels is None else (labels,)
        self.stage = "the forward of D"
        with self._autocast():
            out = check_tensor("D", self.D(images, *condition))
        n = images.shape[0]
        if out.ndim == 0 or out.shape[0] != n or out.numel() != n:
            raise ConfigError(
                f"D returned {list(out.shape)} for {n} images; allowed is one value per image, "
                f"[{n}, 1] or [{n}], such as the mean over the places of a patch discriminator"
            )
        return self._wide(out)

    def _wide(self, x: Tensor) -> Tensor:
        return x.float() if self.precision == "bf16" else x

    def _fakes_for_d(self, z: Tensor, labels: Tensor | None, keep_graph: bool) -> Tensor:
        if keep_graph:
            return self._generate(z, labels)
        with torch.no_grad(), eval_mode(self.G) if self.eval_fakes else nullcontext():
            return self._generate(z, labels)

    def _d_gradients(self, parts: list[Part], kind: Kind) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The scalars, and the fakes that G's turn learns from (none: it makes its own)."""
        keep_graph = self.reuse_fakes and kind.g_learns
        kept, rows = [], []
        for (real, labels), z in zip(parts, self._noise(parts), strict=True):
            fake = self._fakes_for_d(z, labels, keep_graph)
            if keep_graph:
                kept.append(fake)
            rows.append(self._learn_to_judge(real, fake.detach(), labels, kind.penalised))
        means = [_mean(column) for column in zip(*rows, strict=True)]
        return dict(zip(("d_loss", "d_real", "d_fake"), means, strict=True)), kept

    def _learn_to_judge(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, penalised: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        real_out, fake_out = self._judge_both(real, fake, labels)
        self.stage = f"D's side of the loss {self.loss.name!r}"
        loss = self.loss.discriminator(real_out, fake_out)
        if penalised:
            loss = loss + self.penalty_every * self._checked_penalty(real, fake, labels)
        self.stage = "the gradient of D's loss"
        self._backward(loss)
        return loss.detach(), self._mean_answer(real_out), self._mean_answer(fake_out)

    def _backward(self, loss: Tensor) -> None:
        (loss / self.accumulate if self.accumulate > 1 else loss).backward()

    def _judge_both(
        self, real: Tensor, fake: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        self._shapes_differ = real.shape != fake.shape
        if self._shapes_differ and self._asked is True:
            raise ConfigError(
                f"paired=True needs fakes shaped like the real images: G made {list(fake.shape)}, "
                f"real is {list(real.shape)}"
            )
        if self._reason_for_two_passes():
            return self._judge(real, labels), self._judge(fake, labels)
        both = None if labels is None else torch.cat([labels, labels])
        with self._pairing.halves():
            out = self._judge(torch.cat([real, fake.to(real.dtype)]), both)
        real_out, fake_out = out.split(real.shape[0])
        return real_out, fake_out

    def _g_turn(self, parts: list[Part], fakes: list[Tensor]) -> Tensor:
        self.g_optimizer.zero_grad(set_to_none=True)
        loss = self._g_gradients(parts, fakes)
        self.g_optimizer.step()
        return loss

    def _g_gradients(self, parts: list[Part], fakes: list[Tensor]) -> Tensor:
        # Freezing is what skips D's weight gradients: autograd's `inputs=` leaves them computed.
        # What G's optimizer trains too, in a layer that both networks hold, learns from both.
        with frozen(alone_in(self._d_params, self.g_optimizer)):
            noise = () if fakes else self._noise(parts)
            losses = []
            for number, (real, labels) in enumerate(parts):
                made = fakes[number] if fakes else self._generate(noise[number], labels)
                if not self._range_seen:
                    self._range_seen = True
                    warn_of_range(real, made, self.G)
                answers = [self._judge(made, labels)]
                if self.loss.relativistic:
                    answers.append(self._judge(real, labels))
                self.stage = f"G's side of the loss {self.loss.name!r}"
                loss = self.loss.generator(*answers)
                self.stage = "the gradient of G's loss"
                self._backward(loss)
                losses.append(loss.detach())
        return _mean(losses)

    def _checked_penalty(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Tensor:
        assert self.penalty is not None
        condition: dict[str, Any] = {}
        if labels is not None:
            check_takes_labels(self.penalty)
            condition["critic_args"] = (labels,)
        self.stage = "the penalty"
        with eagerly():  # compiled code has no double backward
            value = self.penalty(self.D, real, fake, **condition)
        if not isinstance(value, Tensor) or value.ndim != 0:
            got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ConfigError(f"penalty returned {got}; allowed is a 0-d tensor")
        return value

    def _mean_answer(self, out: Tensor) -> Tensor:
        out = out.detach()
        return (out.sigmoid() if self.from_logits and not self.loss.scores else out).mean()


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean()


def _after_loading(optimizer: torch.optim.Optimizer) -> None:
    """A checkpoint may come from another device, layout, or a run with graphs."""
    make_eager(optimizer)
    match_layout(optimizer)
