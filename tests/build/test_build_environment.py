"""Which torch is built against."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gankit_build.environment import BuildError, find_torch, outer_folders, read_torch


def test_reads_version_and_cuda_without_importing(make_torch: Callable[..., Path]) -> None:
    torch = read_torch(make_torch("site"))
    assert (torch.version, torch.cuda, torch.cuda_major) == ("2.15.0+cu132", "13.2", 13)


def test_cpu_build_has_no_cuda(make_torch: Callable[..., Path]) -> None:
    torch = read_torch(make_torch("site", "2.13.0+cpu", None))
    assert (torch.cuda, torch.cuda_major) == (None, None)


@pytest.mark.parametrize("version", ["2.10.1", "1.13.0", "2.9.0+cu128"])
def test_old_torch_is_refused_in_one_sentence(
    make_torch: Callable[..., Path], version: str
) -> None:
    folder = make_torch("site", version)
    with pytest.raises(BuildError) as caught:
        read_torch(folder)
    message = str(caught.value)
    assert "torch >= 2.11" in message
    assert version in message
    assert str(folder) in message
    assert "\n" not in message


def test_oldest_and_next_major_are_accepted(make_torch: Callable[..., Path]) -> None:
    assert read_torch(make_torch("a", "2.11.0")).version == "2.11.0"
    assert read_torch(make_torch("b", "3.0.0a0+git123")).version == "3.0.0a0+git123"


def test_the_torch_on_the_path_comes_before_the_outer_one(make_torch: Callable[..., Path]) -> None:
    visible, outer = make_torch("visible"), make_torch("outer")
    found = find_torch({}, visible=visible, outer=[outer.parent])
    assert found is not None
    assert found.folder == visible


def test_the_outer_torch_serves_an_isolated_build(make_torch: Callable[..., Path]) -> None:
    outer = make_torch("outer")
    found = find_torch({}, outer=[outer.parent.parent / "empty", outer.parent])
    assert found is not None
    assert found.folder == outer


def test_no_torch_anywhere(tmp_path: Path) -> None:
    assert find_torch({}, outer=[tmp_path]) is None


@pytest.mark.parametrize("inner", [True, False])
def test_the_named_torch_comes_first(make_torch: Callable[..., Path], inner: bool) -> None:
    named, visible = make_torch("named"), make_torch("visible")
    environ = {"GANKIT_TORCH_DIR": str(named if inner else named.parent)}
    found = find_torch(environ, visible=visible, outer=[])
    assert found is not None
    assert found.folder == named


def test_a_wrong_name_is_an_error(tmp_path: Path, make_torch: Callable[..., Path]) -> None:
    environ = {"GANKIT_TORCH_DIR": str(tmp_path / "nowhere")}
    with pytest.raises(BuildError, match=r"GANKIT_TORCH_DIR is .*nowhere.* holds no torch"):
        find_torch(environ, visible=make_torch("visible"))


def test_the_outer_folders_are_those_of_this_interpreter() -> None:
    folders = outer_folders()
    assert folders
    assert all(str(folder).startswith((sys.prefix, sys.base_prefix)) for folder in folders)
