"""Options, the races of each benchmark file, and the machine's record in the JSON."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from gankit.bench import environment
from gankit.bench.races import Race, Settings
from gankit.training import keep_freed_memory

RACES = pytest.StashKey[dict[tuple[str, str], Race]]()
START = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gankit")
    group.addoption(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to measure (default: CUDA if there is a device, else the CPU)",
    )
    group.addoption(
        "--seconds", type=float, default=0.5, help="time for each contender (default: 0.5)"
    )
    group.addoption(
        "--batch-sizes", default="60", help="for the steps, such as 16,60,512 (default: 60)"
    )
    group.addoption(
        "--leave-out",
        default="",
        help="contenders not to race: parts of their names, such as max-autotune,triton",
    )
    group.addoption(
        "--time-limit",
        type=float,
        help="seconds after which no race begins; the files' races then take turns, so that each "
        "file is measured in part (default: none)",
    )
    group.addoption("--threads", type=int, default=None, help="CPU threads (default: torch's)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("python_files", "bench_*.py")
    config.stash[RACES] = {}
    config.stash[START] = time.monotonic()
    keep_freed_memory()  # for all contenders: what is timed is the work, not fresh pages
    if config.getoption("--threads"):
        torch.set_num_threads(config.getoption("--threads"))
    if config.getoption("--device") == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda: torch sees no CUDA device")


def settings(config: pytest.Config) -> Settings:
    device = config.getoption("--device")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = tuple(int(size) for size in config.getoption("--batch-sizes").split(","))
    return Settings(torch.device(device), config.getoption("--seconds"), sizes)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A benchmark file offers ``races(settings)``; its test takes ``race`` and ``contender``."""
    if "race" not in metafunc.fixturenames:
        return
    make: Callable[[Settings], Iterable[Race]] = metafunc.module.races
    known = metafunc.config.stash[RACES]
    pairs = []
    unwanted = [part for part in metafunc.config.getoption("--leave-out").split(",") if part]
    for race in make(settings(metafunc.config)):
        race.contenders = tuple(
            contender
            for contender in race.contenders
            if not any(part in contender.name for part in unwanted)
        )
        known[metafunc.module.__name__, race.group] = race
        pairs += [(race.group, contender.name) for contender in race.contenders]
    metafunc.parametrize(
        ("race", "contender"),
        pairs,
        indirect=["race"],
        ids=[f"{environment.slug(group)}-{environment.slug(name)}" for group, name in pairs],
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under a time limit a race of each op or file, then the next of each, and so on."""
    if config.getoption("--time-limit") is None:
        return
    by_file = [list(group) for _, group in itertools.groupby(items, _story_of)]
    races = [[list(r) for _, r in itertools.groupby(group, _race_of)] for group in by_file]
    turns = itertools.zip_longest(*races, fillvalue=[])
    items[:] = [item for turn in turns for race in turn for item in race]


def _story_of(item: pytest.Item) -> object:
    """The file, and of a race the first word of its task, which is the name of the op."""
    return item.path, str(_race_of(item)).split()[0]


def _race_of(item: pytest.Item) -> object:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("race") if callspec else item.nodeid


@pytest.fixture
def race(request: pytest.FixtureRequest) -> Race:
    found = request.config.stash[RACES][request.module.__name__, request.param]
    limit = request.config.getoption("--time-limit")
    spent = time.monotonic() - request.config.stash[START]
    if limit is not None and spent > limit and not found.finished:
        pytest.skip(f"the time limit of {limit:g} s is over")
    return found


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    machine_info["gankit"] = environment.collect(settings(config).device)
