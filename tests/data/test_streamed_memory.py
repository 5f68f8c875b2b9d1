"""A streamed set is trained on in a fraction of the memory that its decoded images take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")
from PIL import Image

from tests import small_runs

# With a cap, a process may not allocate more than that beyond what it has when the data are opened
# (ulimit -d), nor may those that decode for it.
#
# The peaks of resident memory, in bytes, of a training run and of the largest process that decodes
# for it, above what they are before the data are opened. A fork does each, so both begin alike.
SCRIPT = """
import os, resource, sys
import torch
from gankit.data import load
from gankit.models.mlp import Discriminator, Generator
from gankit.training import GANStep, Trainer, gan_adam

folder, side, epochs, cap, *ways = sys.argv[1:]
shape = (3, int(side), int(side))
G, D = Generator(4, shape, hidden=(8,)), Discriminator(shape, hidden=(8,))
step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()))
for _ in range(3):
    step(torch.zeros(4, *shape))

def peak(who):
    return resource.getrusage(who).ru_maxrss * 1024

def set_cap():
    lines = open("/proc/self/status").read().splitlines()
    used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (used + int(cap), hard))

for way in ways:
    if os.fork() == 0:
        if int(cap):
            set_cap()
        before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
        resident = {"resident": True, "streamed": False, "auto": "auto"}[way]
        try:
            data = load("folder:" + folder, image_size=int(side), resident=resident, workers=2)
        except (MemoryError, RuntimeError) as error:
            print("memory" in str(error) or isinstance(error, MemoryError), 0, 0, flush=True)
            os._exit(0)
        sampler = data.sampler(4, generator=torch.Generator().manual_seed(0))
        trainer = Trainer(step, data, sampler, log_every=1000)
        trainer.fit(steps=30)
        for _ in range(int(epochs) * trainer.steps_per_epoch):  # what training would be given
            trainer._next_batch()
        peaks = [peak(who) - before for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        print(len(data), *peaks, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def peaks(
    tmp_path: Path, count: int, side: int, epochs: int, *ways: str, cap: int = 0
) -> list[list[int]]:
    """For each way the peaks of the process and of the largest that decodes for it.

    Two zeros where it could not have the memory.
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    random = np.random.default_rng(0)
    for number in range(count):
        path = tmp_path / "images" / f"{number // 1000}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 32, 3), dtype=np.uint8)).save(path)
    numbers = (str(side), str(epochs), str(cap))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "images"), *numbers, *ways],
        # glibc then returns what is freed, so that the peaks are those of memory in use.
        env=small_runs.environment(
            GANKIT_DATA=str(tmp_path / "data"), MALLOC_MMAP_THRESHOLD_="100000"
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    assert len(found) == len(ways)
    assert {line[0] for line in found} <= {str(count), "True"}
    return [[int(number) for number in line[1:]] for line in found]


def test_two_thousand_files_in_half_of_their_memory(tmp_path: Path) -> None:
    decoded = 2000 * 3 * 192 * 192  # 221 MB
    (streamed, worker), (resident, _) = peaks(tmp_path, 2000, 192, 1, "streamed", "resident")
    print(f"decoded {decoded}: streamed {streamed}, its worker {worker}, resident {resident}")
    assert max(streamed, worker) < decoded / 2
    assert resident > decoded


@pytest.mark.slow
def test_twenty_thousand_files_under_a_cap_of_half_their_memory(tmp_path: Path) -> None:
    decoded = 20_000 * 3 * 144 * 144  # 1.24 GB
    (streamed, worker), resident = peaks(
        tmp_path, 20_000, 144, 2, "auto", "resident", cap=decoded // 2
    )
    print(f"decoded {decoded}: streamed {streamed}, its worker {worker}, resident {resident}")
    assert resident == [0, 0]  # the cap is a real one
    assert 0 < max(streamed, worker) < decoded / 10
