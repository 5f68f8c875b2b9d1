"""A package: torch-fidelity installs one of this name, which would hide a plain folder."""

from __future__ import annotations
