"""The namespace of the ops in ``torch.ops``, in a place of its own.

A copy of this package that is loaded beside gankit (``tools/kernel_layout.py`` makes one) must have
another namespace, since torch defines each name once in a process.
"""

from __future__ import annotations

# The compiled kernels register themselves here, whatever a copy says.
COMPILED = "gankit"
NAMESPACE = "gankit"
