from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from gankit.bench import results

ENVIRONMENT = {
    "device": "Test CPU (2 cores), 2 threads",
    "threads": 2,
    "gankit": "0.1.0",
    "torch": "2.11.0",
    "commit": "abc123",
    "date": "2026-01-01 00:00 UTC",
}


def benchmark(group: str, name: str, role: str, times: list[float], **info: Any) -> dict[str, Any]:
    ordered = sorted(times)
    middle = len(ordered) // 4
    return {
        "group": group,
        "extra_info": {"contender": name, "role": role, "left_out": {}, **info},
        "stats": {
            "median": ordered[len(ordered) // 2],
            "q1": ordered[middle],
            "q3": ordered[-1 - middle],
            "min": ordered[0],
            "data": times,
        },
    }


def run_of(*benchmarks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "machine_info": {"gankit": {**ENVIRONMENT, **changes}},
        "benchmarks": list(benchmarks),
    }


FAST = run_of(
    benchmark("op forward", "plain eager", "plain", [9e-3, 10e-3, 11e-3], bytes=2e9),
    benchmark("op forward", "tuned", "peer", [3e-3, 4e-3, 5e-3], bytes=2e9),
    benchmark("op forward", "gankit", "gankit", [1e-3, 2e-3, 2.5e-3], bytes=2e9),
    benchmark("op forward", "copy", "copy", [0.9e-3, 1e-3, 1.1e-3], bytes=2e9),
)
SLOW = run_of(
    benchmark("step", "plain eager", "plain", [9e-2, 10e-2, 11e-2], images=60),
    benchmark("step", "tuned", "peer", [4e-2, 5e-2, 6e-2], images=60),
    benchmark("step", "gankit", "gankit", [10e-2, 12.5e-2, 13e-2], images=60),
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def row(text: str, start: str) -> list[str]:
    found = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    assert len(found) == 1, (start, found)
    return cells(found[0])


def test_summary_has_both_ratios() -> None:
    text = "\n".join(results.summary(results.read_groups([FAST])))
    assert row(text, "op forward") == [
        "op forward", "10 ms", "4 ms (tuned)", "2 ms", "5x", "2x",
    ]  # fmt: skip


def test_slowdowns_are_marked_against_plain_and_best_peer() -> None:
    text = "\n".join(results.summary(results.read_groups([SLOW])))
    assert row(text, "step")[-2:] == ["**0.8x (slower)**", "**0.4x (slower)**"]


def test_details_show_every_contender_with_rates() -> None:
    [fast, slow] = results.read_groups([FAST, SLOW])
    text = "\n".join(results.details(fast))
    header = cells(text.splitlines()[2])
    assert [line.split("|")[1].strip() for line in text.splitlines()[4:8]] == [
        "copy", "**gankit**", "tuned", "plain eager",
    ]  # fmt: skip
    ours = dict(zip(header, row(text, "**gankit**"), strict=True))
    assert ours["GB/s"] == "1,000"
    assert ours["of a copy's"] == "50.0%"
    assert ours["rounds"] == "3"
    assert ours["middle half"] == "1 ms to 2.5 ms"
    steps = "\n".join(results.details(slow))
    header = cells(steps.splitlines()[2])
    assert dict(zip(header, row(steps, "tuned"), strict=True))["images/s"] == "1,200"


def test_peers_that_are_slower_than_plain_are_not_called_slowdowns() -> None:
    run = run_of(
        benchmark("t", "plain eager", "plain", [1e-3] * 3),
        benchmark("t", "odd", "peer", [2e-3] * 3),
        benchmark("t", "gankit", "gankit", [5e-4] * 3),
    )
    [group] = results.read_groups([run])
    assert group.best_peer is not None
    assert group.best_peer.contender == "plain eager"
    assert "slower" not in "\n".join(results.details(group))


def test_the_spread_is_that_of_the_rounds() -> None:
    # Both drift by half, together: every round agrees on who is faster.
    agreeing = run_of(
        benchmark("t", "plain eager", "plain", [2e-3, 3e-3, 4e-3, 3e-3]),
        benchmark("t", "gankit", "gankit", [1.8e-3, 2.7e-3, 3.6e-3, 2.7e-3]),
    )
    opposing = run_of(
        benchmark("t", "plain eager", "plain", [2e-3, 3e-3, 4e-3, 3e-3]),
        benchmark("t", "gankit", "gankit", [3.6e-3, 2.7e-3, 1.8e-3, 3.1e-3]),
    )
    for run, marked in ((agreeing, False), (opposing, True)):
        text = "\n".join(results.summary(results.read_groups([run])))
        assert ("within the spread" in text) is marked


def test_missing_contenders_are_named() -> None:
    run = run_of(benchmark("t", "plain eager", "plain", [1e-3] * 3))
    run["benchmarks"][0]["extra_info"]["left_out"] = {"torch.compile": "RuntimeError: no compiler"}
    [group] = results.read_groups([run])
    assert "Left out: torch.compile (RuntimeError: no compiler)." in "\n".join(
        results.details(group)
    )
    assert row("\n".join(results.summary([group])), "t")[3] == "failed"


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.5, "2.5 s"), (0.1234, "123 ms"), (1e-3, "1 ms"), (15.25e-6, "15.2 µs"), (3e-9, "3 ns")],
)
def test_times_have_a_fitting_unit(value: float, text: str) -> None:
    assert results.seconds(value) == text


def test_files_are_written_for_the_device(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    sources = []
    for name, run in (("ops.json", FAST), ("steps.json", SLOW)):
        (tmp_path / name).write_text(json.dumps(run))
        sources.append(str(tmp_path / name))
    assert report.main([*sources, "--out", str(tmp_path / "results")]) == 0
    folder = tmp_path / "results" / "test-cpu-2-cores-2-threads"
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert row(text, "commit")[1] == "abc123"
    assert row(text, "torch")[1] == "2.11.0"
    assert "### op forward" in text
    assert "### step" in text


@pytest.mark.parametrize("key", ["device", "commit", "torch", "threads"])
def test_runs_under_different_conditions_make_no_report(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(FAST))
    (tmp_path / "b.json").write_text(json.dumps(run_of(**{key: "other"})))
    status = report.main([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert status == 2
    assert f"differ in {key}" in capsys.readouterr().err


def test_details_show_parts_of_the_step_and_peak_memory() -> None:
    run = run_of(
        benchmark("step", "plain eager", "plain", [9e-2, 10e-2, 11e-2], peak_bytes=3 * 2**20),
        benchmark("step", "gankit", "gankit", [4e-2, 5e-2, 6e-2], peak_bytes=2**20),
        benchmark("step", "its products alone", "part", [3e-2, 4e-2, 5e-2]),
    )
    (group,) = results.read_groups([run])
    text = "\n".join(results.details(group))
    head = cells(next(line for line in text.splitlines() if line.startswith("| contender")))
    part = dict(zip(head, row(text, "its products alone"), strict=True))
    assert part["share of gankit's step"] == "80%"
    assert part["against plain"] == part["peak memory"] == ""
    assert dict(zip(head, row(text, "plain eager"), strict=True))["peak memory"] == "3 MiB"
    assert group.best_peer is not None
    assert group.best_peer.contender == "plain eager"
