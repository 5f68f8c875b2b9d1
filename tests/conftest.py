"""Settings shared by all tests."""

from __future__ import annotations

import os

# Tests run on the two cores of a small machine; more threads only add noise.
os.environ.setdefault("OMP_NUM_THREADS", "2")
