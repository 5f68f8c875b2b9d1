"""``python -m gankit`` is the ``gankit`` command."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

# Python puts the working folder first here, and under torchrun too: its files would be imported in
# place of installed packages, and of those that torch looks for in vain.
if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    with suppress(OSError):  # a folder that is gone
        if sys.path[0] == os.getcwd():
            del sys.path[0]

from gankit.cli import main

if __name__ == "__main__":
    sys.exit(main())
