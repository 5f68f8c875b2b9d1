"""How gankit is built: a PEP 517 backend over setuptools that drives CMake.

`environment` finds torch, `toolchain` finds the programs, `plan` decides which parts are built,
`cmake` runs CMake, `command` is the setuptools command, `backend` holds the PEP 517 hooks.
"""

from __future__ import annotations
