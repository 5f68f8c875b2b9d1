"""``python -m gankit`` is the ``gankit`` command."""

from __future__ import annotations

import sys

from gankit.cli import main

if __name__ == "__main__":
    sys.exit(main())
