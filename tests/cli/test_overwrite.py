"""What a run wrote is not removed by a failure: neither its own nor that of a run before it."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gankit.cli import main
from gankit.runs import replaced, runfiles
from gankit.runs.lock import locked
from gankit.training import Callback, GANStep, load_checkpoint
from gankit.training.trainer import DivergedError
from tests import small_runs

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")
SMALL = f"{small_runs.SMALL}batch_size: 60\nlog_every: 5\nsample_every: 1\n"
TRAIN = ["train", "gan", "--config", "small.yaml", "--steps", "30", "--quiet", "--out", "run"]
AGAIN = [*TRAIN, "--overwrite"]
# Of 30 steps, 24 to an epoch, and a failure in the 28th.
KEPT = ["config.yaml", "metrics.csv", "samples"]


def content(folder: str | Path) -> dict[str, bytes]:
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Raise ``error`` in the 28th step; None undoes it."""
    turn = GANStep._g_loss

    def arrange(error: BaseException | None) -> None:
        def eventful(step: GANStep, *arguments: Any) -> Any:
            if error is not None and step.calls == 27:
                raise error
            return turn(step, *arguments)

        monkeypatch.setattr(GANStep, "_g_loss", eventful)

    return arrange


def diverged() -> DivergedError:
    return DivergedError("d_loss is not finite; try a smaller learning rate")


@pytest.mark.parametrize(
    "error",
    [diverged(), OSError(errno.ENOSPC, "No space left on device", "x"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_a_run_that_fails_before_its_first_checkpoint_stays(
    error: Exception, fail: Callable[..., None], refused: Callable[..., str]
) -> None:
    fail(error)
    sentence = refused(*TRAIN)
    assert "; no checkpoint was written yet; what the run wrote until then is in run\n" in sentence
    assert "kept" not in sentence
    assert set(KEPT) <= set(os.listdir("run"))
    assert len(os.listdir("run/samples")) == 1
    assert Path("run/metrics.csv").read_text().count("\n") == 6  # the names, and 5 to 25
    assert "pass --overwrite to replace the run in it, or another --out" in refused(*TRAIN)
    assert "run has no checkpoint.pt to resume from" in refused("train", "--resume", "--out", "run")
    assert set(KEPT) <= set(os.listdir("run"))


def test_an_error_with_a_traceback_has_the_note_too(fail: Callable[..., None]) -> None:
    fail(TypeError("Cannot handle this data type"))
    with pytest.raises(TypeError, match="Cannot handle") as caught:
        main(TRAIN)
    assert "no checkpoint was written yet" in vars(caught.value)["__notes__"][0]
    assert set(KEPT) <= set(os.listdir("run"))


def test_the_last_checkpoint_is_named(
    fail: Callable[..., None], refused: Callable[..., str]
) -> None:
    fail(diverged())
    sentence = refused(*TRAIN, "--set", "checkpoint_every=10")
    assert "learning rate; the checkpoint of step 20 is kept\n" in sentence
    assert load_checkpoint("run/checkpoint.pt")["step"] == 20
    sentence = refused("train", "--resume", "--out", "run", "--quiet")
    assert "; the checkpoint of step 20 is kept\n" in sentence


def test_a_replaced_run_waits_for_the_first_checkpoint_of_the_new_one(
    fail: Callable[..., None], refused: Callable[..., str]
) -> None:
    assert main(TRAIN) == 0
    old = content("run")
    Path("run/notes.txt").write_text("mine")
    Path("run/samples/mine.png").write_text("mine")
    Path("run/losses.csv").mkdir()
    fail(diverged())
    for number in (1, 2):  # also a run that made no checkpoint waits
        sentence = refused(*AGAIN)
        assert (
            f"no checkpoint was written yet; what the run wrote until then is in run; the run "
            f"that it replaced is in run/replaced-{number}" in sentence
        )
        assert ("an earlier one with a checkpoint in run/replaced-1\n" in sentence) == (number > 1)
        assert content("run/replaced-1") == old
        for name in KEPT:
            assert Path("run", name).exists()
    said = refused("train", "--resume", "--out", "run")
    assert "replaced is in run/replaced-2, and an earlier one with a checkpoint in run/repl" in said
    # It is a run as any other where it waits.
    assert main(["sample", "run/replaced-1", "--n", "1", "--out", "one.png"]) == 0
    assert "step 20 is kept\n" in refused(*AGAIN, "--set", "checkpoint_every=20")
    assert not list(Path("run").glob("replaced*"))
    assert Path("run/notes.txt").read_text() == Path("run/samples/mine.png").read_text() == "mine"
    assert Path("run/losses.csv").is_dir()


class Broken(Callback):
    """Fails before the first step, as one does whose service cannot be reached."""

    def on_start(self, trainer: Any) -> None:
        raise OSError(errno.ECONNREFUSED, "Connection refused")


@pytest.mark.parametrize(
    "given",
    ["callbacks=[tests.cli.test_overwrite.Broken]", "lr=-1", "data=nothing", "generator.depth=3"],
)
def test_a_failed_start_leaves_the_old_run_as_it_was(
    given: str, refused: Callable[..., str]
) -> None:
    assert main([*TRAIN, "--steps", "2"]) == 0
    Path("run/samples/mine.png").write_text("mine")
    before = content("run")
    assert "replaced" not in refused(*AGAIN, "--set", given)
    assert content("run") == before
    assert "kept" not in refused(*TRAIN[:-1], "new/run", "--set", given)
    assert not Path("new").exists()


def test_an_overwritten_run_is_not_left_through_another_file_system(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    """As where samples is a mount point: a rename leads out of it no more."""
    assert main([*TRAIN, "--steps", "2"]) == 0
    before, replace = content("run"), os.replace

    def across(source: Any, target: Any) -> None:
        if Path(source).name.startswith("epoch_") and "replaced" in str(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", across)
    assert "the run in run cannot be set aside (Invalid cross-device link" in refused(*AGAIN)
    assert content("run") == before
    assert not Path("run/replaced-1").exists()


@pytest.mark.parametrize("place", ["samples", "tensorboard"])
def test_links_out_of_the_folder_are_not_followed(place: str, refused: Callable[..., str]) -> None:
    assert main([*TRAIN, "--steps", "2"]) == 0
    Path("pictures").mkdir()
    for name in ("epoch_0001_step_0000002.png", "events.out.tfevents.1"):
        Path("pictures", name).write_text("mine")
    if Path("run", place).exists():
        os.rename(f"run/{place}", "elsewhere")
    Path("run", place).symlink_to(Path("pictures").resolve())
    before = content("run") | content("pictures")
    for argv in (AGAIN, ["train", "--resume", "--out", "run", "--steps", "4", "--quiet"]):
        assert f"run/{place} is a symbolic link" in refused(*argv)
    assert content("run") | content("pictures") == before


def test_the_folder_itself_may_be_a_link(refused: Callable[..., str]) -> None:
    Path("large_disk").mkdir()
    Path("run").symlink_to("large_disk")
    assert main([*TRAIN, "--steps", "2"]) == 0
    assert main([*AGAIN, "--steps", "3"]) == 0
    assert Path("run").is_symlink()
    assert load_checkpoint("large_disk/checkpoint.pt")["step"] == 3
    assert not Path("large_disk/replaced-1").exists()
    Path("nowhere").symlink_to("absent")
    assert "nowhere is a symbolic link to nothing" in refused(*TRAIN[:-1], "nowhere")


def a_run(folder: Path) -> dict[str, bytes]:
    """The files of one, as its names go."""
    names = ("checkpoint.pt", "checkpoint.step_0000010.pt", "metrics.csv", "losses.png")
    pictures = [f"samples/epoch_{n:04}_step_{n:07}.png" for n in (1, 2)]
    for name in (*names, *pictures, "tensorboard/events.out.tfevents.1.host", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"old {name}")
    (folder / "config.yaml").write_bytes(runfiles.HEADER + b"steps: 30\n")
    return content(folder)


def killed_at(n: int, act: Callable[[], object]) -> bool:
    """Whether ``act``, in a process of its own, was killed at the n-th change of a folder."""
    pid = os.fork()
    if pid == 0:
        left = itertools.count(n, -1)
        for name in ("replace", "unlink", "rmdir", "mkdir"):
            real = getattr(os, name)

            def counted(*names: Any, real: Any = real, **more: Any) -> None:
                if next(left) == 0:
                    os._exit(9)
                real(*names, **more)

            setattr(os, name, counted)
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_a_killed_overwrite_gives_the_old_run_back(tmp_path: Path) -> None:
    """At every change that it makes, on the way out and on the way back."""

    def out(folder: Path) -> None:
        replaced.set_aside(folder)

    def out_and_back(folder: Path) -> None:
        place = replaced.set_aside(folder)
        (folder / "config.yaml").write_bytes(runfiles.HEADER)
        (folder / "metrics.csv").write_text("of the new one")
        replaced.put_back(folder, place)

    for act in (out, out_and_back):
        for n in itertools.count():
            folder = tmp_path / f"{act.__name__}-{n}"
            old = a_run(folder)
            if not killed_at(n, lambda act=act, folder=folder: act(folder)):  # type: ignore[misc]
                break
            said = replaced.recover(folder)
            if runfiles.is_run(folder / "replaced-1"):  # the new run had begun
                assert said is None
                assert (folder / "config.yaml").read_bytes() == runfiles.HEADER
                replaced.put_back(folder, folder / "replaced-1")
            assert content(folder) == old
        assert n > 8


def test_an_interrupted_overwrite_is_said_and_mended(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--steps", "2"]) == 0
    before = content("run")
    replaced.set_aside(Path("run"))
    os.rename("run/replaced-1/config.yaml", "run/config.yaml")  # as if killed at the last rename
    assert main(["train", "--resume", "--out", "run", "--steps", "4"]) == 0
    back = "The run that an interrupted --overwrite had set aside is back in run.\n"
    assert back in capfd.readouterr().out
    assert before.keys() <= content("run").keys()
    replaced.set_aside(Path("run"))  # as if killed before the new config.yaml
    assert main([argument for argument in AGAIN if argument != "--quiet"]) == 0
    assert back in capfd.readouterr().out
    assert load_checkpoint("run/checkpoint.pt")["step"] == 30
    assert not list(Path("run").glob("replaced*"))


def test_folders_of_that_name_which_are_not_gankits_stay(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--steps", "2"]) == 0
    Path("elsewhere").mkdir()
    a_run(Path("elsewhere"))
    Path("run/replaced-3").symlink_to(Path("elsewhere").resolve())
    Path("run/replaced-7").mkdir()
    Path("run/replaced-7/metrics.csv").write_text("mine")
    Path("run/replaced-7/thesis.tex").write_text("mine")
    before = content("elsewhere")
    assert main([*AGAIN, "--steps", "3"]) == 0
    assert content("elsewhere") == before
    assert content("run/replaced-7") == {"metrics.csv": b"mine", "thesis.tex": b"mine"}
    assert load_checkpoint("run/checkpoint.pt")["step"] == 3


def test_a_replaced_run_in_which_somebody_trains_stays(
    fail: Callable[..., None], refused: Callable[..., str]
) -> None:
    assert main([*TRAIN, "--steps", "2"]) == 0
    fail(diverged())
    refused(*AGAIN)
    fail(None)
    with locked(Path("run/replaced-1")):
        assert main(AGAIN) == 0
    assert load_checkpoint("run/replaced-1/checkpoint.pt")["step"] == 2
    assert not Path("run/replaced-2").exists()
