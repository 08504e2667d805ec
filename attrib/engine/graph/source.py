"""Which line of the model asked for an op."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import torch

from attrib.engine.graph.nodes import Source

_TORCH = str(Path(torch.__file__).parent)
_ATTRIB = str(Path(__file__).parents[2])
_LAYERS = str(Path(torch.__file__).parent / "nn" / "modules")
_GENERIC = ("module.py", "container.py")  # frames between a layer and its caller, which say nothing

UNKNOWN = Source("", 0, "")


def at(source: Source, call: Callable[..., Any], *args: Any) -> Any:
    """``call(*args)``, whose ops are of the line `source`: of a program that is not Python, run by one that is."""
    return call(*args)


def source_line(outermost: CodeType) -> Source:
    """The innermost line outside torch and attrib, no further out than the frame that runs `outermost`.

    A model built of torch's own layers alone has no such line: then it is the line in the layer.
    """
    frame, layer = sys._getframe(1), UNKNOWN
    while frame is not None and frame.f_code is not outermost:
        code = frame.f_code
        if code is at.__code__:
            return frame.f_locals["source"]
        if not code.co_filename.startswith((_TORCH, _ATTRIB)):
            return Source(code.co_filename, frame.f_lineno, code.co_qualname)
        if (
            layer is UNKNOWN
            and code.co_filename.startswith(_LAYERS)
            and not code.co_filename.endswith(_GENERIC)
        ):
            layer = Source(code.co_filename, frame.f_lineno, code.co_qualname)
        frame = frame.f_back  # type: ignore[assignment]
    return layer
