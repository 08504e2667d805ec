"""Which line of the user asked for a primitive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrib.engine.graph.source import UNKNOWN, Source

_ATTRIB = str(Path(__file__).parents[2])
_LIBRARIES = tuple(f"/site-packages/{name}/" for name in ("jax", "jaxlib", "flax", "equinox", "haiku"))


def line(info: Any) -> Source:
    """The innermost line outside JAX, its libraries of layers, and attrib."""
    trace = getattr(info, "traceback", None)
    for frame in trace.frames if trace is not None else ():
        file = frame.file_name.replace("\\", "/")
        if not (file.startswith((_ATTRIB, "<frozen")) or any(part in file for part in _LIBRARIES)):
            return Source(file, frame.line_num, frame.function_name)
    return UNKNOWN
