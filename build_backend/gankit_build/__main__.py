"""Prints the line on what the build in this source tree left out, if anything.

pip hides what a build prints, so the Makefile says it again.
"""

from __future__ import annotations

import json
from pathlib import Path

from .plan import left_out_line

_REPORT = Path(__file__).resolve().parents[2] / "gankit" / "_build_report.json"

report = json.loads(_REPORT.read_text())
line = left_out_line(report["mode"], report["cpu"]["reason"], report["cuda"]["reason"])
if line:
    print(line)
