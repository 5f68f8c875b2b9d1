"""Entry points of ``torch.hub.load``: ``torch.hub.load(FOLDER, "dcgan_digits", source="local")``.

One for each model that gankit brings along, with the arguments of ``gankit.load`` beside the path.
"""

from __future__ import annotations

import functools

import gankit
import gankit.hub

dependencies = ["torch", "numpy"]

for _name in gankit.hub.names():
    _entry = functools.partial(gankit.load, f"hub:{_name}")
    _entry.__doc__ = f"The generator ``hub:{_name}``, as ``gankit.load`` returns it."
    globals()[_name.replace("-", "_")] = _entry
