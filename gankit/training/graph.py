"""A training step as CUDA graphs: one launch in place of hundreds.

A graph replays the kernels of one recorded run on the same memory. So each sequence of phases and
each batch shape has a graph of its own, with its own buffers for the batch and its own results.
Capturing runs the step some times beforehand, on a side stream; the networks, their buffers, the
optimizers and the random generators are then put back to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.training.phases import Batch, Phase, Scalars

WARM_UPS = 3
MOST_GRAPHS = 8
# Of a parameter group: what may differ between two replays of one graph.
_NOT_SETTINGS = ("params", "lr", "initial_lr", "capturable")
# Those whose steps torch can capture and whose learning rate may be a tensor that is then filled.
# SGD's rate is a number of the recorded launch: a schedule would pass unnoticed.
CAPTURABLE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)


# What a step computes, given its phases, the set that a batch is gathered from (None for tensors
# themselves) and the tensors by field.
Run = Callable[[Sequence[Phase], Any, Batch], Scalars]


class Recorder(Protocol):
    """What captures: CUDA, or a stand-in where there is none."""

    def warm_up(self, run: Callable[[], object]) -> None: ...

    def capture(self, run: Callable[[], Scalars]) -> tuple[Callable[[], None], Scalars]: ...


class CUDARecorder:
    """Captures with torch.cuda.graph.

    Args:
        device: where the networks are; it need not be the current one.
        generators: what the step draws from beside torch's default generator.
    """

    def __init__(self, device: torch.device, generators: Iterable[torch.Generator] = ()) -> None:
        self._device = device
        self._generators = tuple(generators)

    def warm_up(self, run: Callable[[], object]) -> None:
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    run()
            torch.cuda.current_stream().wait_stream(side)

    def capture(self, run: Callable[[], Scalars]) -> tuple[Callable[[], None], Scalars]:
        with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream()):
            graph = torch.cuda.CUDAGraph()
            for generator in self._generators:
                graph.register_generator_state(generator)
            default = torch.cuda.default_generators[torch.cuda.current_device()]
            before = default.clone_state()
            try:
                # Other threads (a data loader, NCCL's watchdog) may go on calling CUDA. Torch's own
                # stream for captures is one for the process, on the device that came first.
                with torch.cuda.graph(
                    graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"
                ):
                    results = run()
            except BaseException:
                # It would go on believing that it is being captured.
                default.graphsafe_set_state(before)
                raise

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return replay, results


class Eager:
    """No graphs; ``note`` says why."""

    def __init__(self, reason: str = "") -> None:
        why = f": {reason}." if reason else "."
        self.note = f"The step runs eagerly, without a CUDA graph{why}"

    def __call__(self, phases: Sequence[Phase], run: Run, source: Any, batch: Batch) -> Scalars:
        return run(phases, source, batch)


class _Recorded(NamedTuple):
    replay: Callable[[], None]
    results: Scalars
    batch: Batch


class Graphs:
    """The graphs of one step; called like ``Eager``.

    The first step of each sequence of phases and each shape runs eagerly, which makes the
    optimizers' state; the second is captured and replayed. Beyond ``MOST_GRAPHS`` of them further
    ones run eagerly. A step that cannot be captured runs eagerly from then on, and ``note`` says
    why.

    Modes, ``requires_grad``, the optimizers' settings and replaced parameters are watched and make
    new graphs. What a forward reads elsewhere, such as a Python number that changes between calls,
    is not: it keeps the value that it had at capture.

    Args:
        modules: the networks and what else a step writes to.
        optimizers: those of the networks. On capture they are made capturable, and learning rates
            become tensors on the device, so that schedules act on replays too.
        recorder: what captures.
        generators: what the step draws from beside torch's default generators.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        optimizers: Iterable[torch.optim.Optimizer],
        recorder: Recorder,
        generators: Iterable[torch.Generator] = (),
    ) -> None:
        self._modules = tuple(modules)
        self._optimizers = tuple(optimizers)
        self._recorder = recorder
        self._generators = tuple(generators)
        self._recorded: dict[Any, _Recorded | None] = {}
        self._where: tuple[int, ...] = ()
        self._rates: dict[tuple[int, int], Tensor] = {}
        self._failure = ""
        for optimizer in self._optimizers:
            # Loading replaces the tensors that the graphs work on.
            optimizer.register_load_state_dict_post_hook(lambda *_: self._forget())

    @property
    def note(self) -> str:
        if self._failure:
            return (
                "The step runs eagerly, because it cannot be captured as a CUDA graph: "
                f"{self._failure}"
            )
        full = len(self._recorded) >= MOST_GRAPHS
        beyond = f"; beyond these {MOST_GRAPHS} eagerly" if full else ""
        return f"The step runs as one CUDA graph per kind of step and batch shape{beyond}."

    def __call__(self, phases: Sequence[Phase], run: Run, source: Any, batch: Batch) -> Scalars:
        if self._failure:
            return run(phases, source, batch)
        self._keep_up()
        key = self._key(phases, source, batch)
        if key not in self._recorded:
            if len(self._recorded) < MOST_GRAPHS:
                self._recorded[key] = None
            return run(phases, source, batch)
        recorded = self._recorded[key]
        if recorded is None:
            try:
                recorded = self._record(phases, run, source, batch)
            except Exception as error:
                self._give_up(error)
                return run(phases, source, batch)
            self._recorded[key] = recorded
        for name, value in recorded.batch.items():
            value.copy_(batch[name])
        recorded.replay()
        # The next replay overwrites them.
        return {name: value.clone() for name, value in recorded.results.items()}

    def _keep_up(self) -> None:
        """Follow what was replaced since the last call."""
        where = tuple(p.data_ptr() for module in self._modules for p in module.parameters())
        if where != self._where:
            self._recorded.clear()
            self._where = where
        for (number, index), rate in self._rates.items():
            group = self._optimizers[number].param_groups[index]
            if group["lr"] is not rate:  # somebody assigned a new one
                rate.fill_(float(group["lr"]))
                group["lr"] = rate

    def _key(self, phases: Sequence[Phase], source: Any, batch: Batch) -> Any:
        shapes = tuple((k, v.shape, v.stride(), v.dtype) for k, v in batch.items())
        modes = tuple(child.training for module in self._modules for child in module.modules())
        learns = tuple(p.requires_grad for module in self._modules for p in module.parameters())
        settings = tuple(
            (len(group["params"]), *(repr(v) for k, v in group.items() if k not in _NOT_SETTINGS))
            for optimizer in self._optimizers
            for group in optimizer.param_groups
        )
        return tuple(phases), shapes, id(source), modes, learns, settings

    def _record(self, phases: Sequence[Phase], run: Run, source: Any, batch: Batch) -> _Recorded:
        for number, optimizer in enumerate(self._optimizers):
            make_capturable(optimizer)
            for index, group in enumerate(optimizer.param_groups):
                self._rates[number, index] = group["lr"]
        # A resident set stays where it is: the graph gathers by indices that it is shown.
        still = {name: value.clone() for name, value in batch.items()}

        def once() -> Scalars:
            return run(phases, source, still)

        with put_back(self._modules, self._optimizers, self._generators):
            self._recorder.warm_up(once)
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)  # gradients then live in the graph's memory
        replay, results = self._recorder.capture(once)
        return _Recorded(replay, results, still)

    def _forget(self) -> None:
        self._recorded.clear()
        self._rates.clear()

    def _give_up(self, error: Exception) -> None:
        self._forget()
        for optimizer in self._optimizers:
            make_eager(optimizer)
        lines = str(error).strip().splitlines() or ["no message"]
        self._failure = f"{type(error).__name__}: {lines[0]}"


def graphs_for(
    asked: bool | str,
    modules: Iterable[nn.Module],
    optimizers: Iterable[torch.optim.Optimizer],
    generators: Iterable[torch.Generator] = (),
    *,
    reason: str = "",
) -> Eager | Graphs:
    """What runs the steps, by the argument ``cuda_graph`` of a step.

    ``reason`` says why the step decides on the host, if it does. Raises ConfigError for True where
    it does, the networks are not on one CUDA device or an optimizer cannot be captured.
    """
    modules, optimizers = tuple(modules), tuple(optimizers)
    devices = {p.device for module in modules for p in module.parameters()}
    objection = reason
    elsewhere = {device.type for device in devices} != {"cuda"} or len(devices) != 1
    if not objection and elsewhere:
        objection = f"the networks are on {', '.join(sorted(map(str, devices)))}"
    for optimizer in optimizers:
        if not objection and type(optimizer) not in CAPTURABLE:
            known = ", ".join(kind.__name__ for kind in CAPTURABLE)
            objection = f"{type(optimizer).__name__} is none of {known}"
    if asked is True and objection:
        raise ConfigError(f"cuda_graph=True, but {objection}; allowed are 'auto' and False")
    if asked is False or objection:
        return Eager("cuda_graph=False" if asked is False else objection)
    own = tuple(g for g in generators if g.device.type == "cuda")
    return Graphs(modules, optimizers, CUDARecorder(devices.pop(), own), own)


def make_capturable(optimizer: torch.optim.Optimizer) -> None:
    """Keep the step count and the learning rate of ``optimizer`` on the parameters' device."""
    for group in optimizer.param_groups:
        device = group["params"][0].device
        group["capturable"] = True
        if not isinstance(group["lr"], Tensor) or group["lr"].device != device:
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(device)


def make_eager(optimizer: torch.optim.Optimizer) -> None:
    """Undo ``make_capturable``, as after loading a checkpoint of a run with graphs."""
    for group in optimizer.param_groups:
        if group.get("capturable"):
            group["capturable"] = False
        if isinstance(group["lr"], Tensor) and type(optimizer) in CAPTURABLE:
            # The shortest decimal of its precision: 2e-4, which float32 rounds, comes back as 2e-4.
            group["lr"] = float(str(group["lr"].detach().cpu().numpy()))


@contextmanager
def put_back(
    modules: Iterable[nn.Module],
    optimizers: Iterable[torch.optim.Optimizer],
    generators: Iterable[torch.Generator] = (),
) -> Iterator[None]:
    """Put back all that a step changes, in place, since graphs keep the addresses."""
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    tensors = [
        *(t for module in modules for t in (*module.parameters(), *module.buffers())),
        *(value for state in states for value in state.values() if isinstance(value, Tensor)),
    ]
    # Nobody can write to an expanded buffer.
    tensors = [t for t in tensors if all(t.stride(d) or t.shape[d] < 2 for d in range(t.ndim))]
    saved = [tensor.detach().clone() for tensor in tensors]
    own = [(generator, generator.get_state()) for generator in generators]
    default = torch.get_rng_state()
    on_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, saved, strict=True):
                tensor.copy_(value)
        for generator, state in own:
            generator.set_state(state)
        torch.set_rng_state(default)
        if on_cuda:
            torch.cuda.set_rng_state_all(on_cuda)
