"""The page of a run in a browser without a network: the slider, and how wide it is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gankit.cli import main

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="there is no Chromium here")
# A page around it, which may read it where files count as one origin.
AROUND = """<!DOCTYPE html><body><script>
const found = [];
const frames = [400, 1400].map(width => {
  const frame = document.createElement("iframe");
  frame.style.width = width + "px"; frame.style.height = "900px"; frame.style.border = "0";
  frame.src = "report.html#step=SHOWN";
  document.body.append(frame);
  return frame;
});
function state(page) {
  const slider = page.getElementById("slider");
  const shown = [...page.querySelectorAll("figure[data-step]")].filter(f => f.offsetWidth > 0);
  return {
    shown: shown.map(f => Number(f.dataset.step)),
    said: slider.getAttribute("aria-valuetext"),
    drawn: shown.every(f => f.querySelector("img").naturalWidth > 0),
    marks: [...page.querySelectorAll(".now")].map(l => Number(l.getAttribute("x1"))),
  };
}
addEventListener("load", () => {
  for (const frame of frames) {
    const page = frame.contentDocument, root = page.documentElement, window = frame.contentWindow;
    const slider = page.getElementById("slider");
    const one = {width: root.clientWidth, wide: root.scrollWidth, at_first: state(page)};
    slider.focus();
    one.focused = page.activeElement === slider;
    slider.value = "0";
    slider.dispatchEvent(new window.Event("input", {bubbles: true}));
    one.moved = state(page);
    one.labelled = slider.labels.length;
    page.body.insertAdjacentHTML("beforeend", "<img id=bad src=x onerror='window.ran = 1'>");
    const script = page.createElement("script");
    script.textContent = "window.ran = 1";
    page.body.append(script);
    one.ran = window.ran === 1;
    page.getElementById("play").click();
    found.push(one);
  }
  setTimeout(() => {
    frames.forEach((frame, n) => { found[n].played = state(frame.contentDocument); });
    document.title = JSON.stringify(found);
  }, 20000);
});
</script></body>"""


def browse(*arguments: str, folder: Path) -> str:
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_slider_and_the_width(trained: Callable[..., Path], tmp_path: Path) -> None:
    folder = trained("gan", "<b>run<b>")
    assert main(["report", str(folder)]) == 0
    steps = sorted(int(file.stem.split("_")[-1]) for file in (folder / "samples").iterdir())
    assert len(steps) == 3
    (folder / "around.html").write_text(AROUND.replace("SHOWN", str(steps[1] + 1)))
    address = (folder / "around.html").as_uri()
    page = browse(
        "--dump-dom",
        "--window-size=1500,2000",
        "--virtual-time-budget=60000",
        address,
        folder=tmp_path,
    )
    (title,) = re.findall("<title>(.*?)</title>", page)
    found: list[dict[str, Any]] = json.loads(unescape(title))
    assert [one["width"] for one in found] == [400, 1400]
    for one in found:
        assert one["wide"] == one["width"]  # nothing sticks out
        assert one["at_first"]["shown"] == [steps[1]]
        assert one["at_first"]["said"] == f"step {steps[1]}"
        assert one["moved"]["shown"] == [steps[0]]
        assert one["played"]["shown"] == [steps[-1]]
        for when in ("at_first", "moved", "played"):
            assert one[when]["drawn"]
            assert len(set(one[when]["marks"])) == 1  # the same step in each plot
        assert one["moved"]["marks"][0] < one["at_first"]["marks"][0] < one["played"]["marks"][0]
        assert one["focused"]
        assert one["labelled"] == 1
        assert not one["ran"]  # what somebody puts into the page


def test_light_and_dark(trained: Callable[..., Path], tmp_path: Path) -> None:
    folder = trained("gan")
    brightness = []
    for scheme in (1, 0):  # Blink's numbers for light and dark
        picture = tmp_path / f"{scheme}.png"
        browse(
            f"--screenshot={picture}",
            "--window-size=400,600",
            f"--blink-settings=preferredColorScheme={scheme}",
            (folder / "report.html").as_uri(),
            folder=tmp_path,
        )
        with Image.open(picture) as shot:
            brightness.append(float(np.median(np.asarray(shot.convert("L")))))
    assert brightness[0] > 200
    assert brightness[1] < 60
