"""A page in the browser to play with a trained generator. Needs Gradio, the extra ``demo``.

Nothing of it is imported until ``gankit demo`` or a program asks for it.
"""

from __future__ import annotations

from gankit.demo.opening import interface, launch, open_model
from gankit.demo.space import write_space

__all__ = ["interface", "launch", "open_model", "write_space"]
