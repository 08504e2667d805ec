"""Writes `attrib/labelled.pyi`: the signatures of the labelled functions, for type checkers and editors.

Run `python -m tests.labelled_stub` after a change of a method's arguments; a test fails until then.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrib import labelled
from attrib.functional import METHODS

STUB = Path(labelled.__file__).with_suffix(".pyi")
HEAD = '''\
"""Signatures of the labelled functions. Written by `python -m tests.labelled_stub`: change the methods, not this file."""

# fmt: off

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.layers.at_layer import Call, Layer
from attrib.engine.layers.image_form import Reshape
from attrib.engine.model.parameters import Model
from attrib.engine.sampling.perturbations import Stdevs
from attrib.engine.target import TargetLike
from attrib.functional.layer_maps import Layers
'''
FORMS = {  # of the inputs, and of the results of methods with results shaped like the inputs
    "xr.Dataset | Mapping[str, Any]": "xr.Dataset",
    "tuple[Any, ...]": "tuple[xr.DataArray, ...]",
    "Any": "xr.DataArray",
}


def stub() -> str:
    """The text of the stub."""
    functions = [f for name, f in vars(labelled).items() if name in METHODS]
    return "\n".join([HEAD, *(definitions(f) for f in functions)])


def definitions(function: Callable[..., Any]) -> str:
    """A function's signature, or one for each form of the inputs that gives results of another form."""
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    if function.about.result == "layer map":
        return definition(function, "Any", "xr.DataArray", summary)
    return "".join(f"@overload\n{definition(function, x, result, summary)}" for x, result in FORMS.items())


def definition(function: Callable[..., Any], x: str, result: str, summary: str) -> str:
    arguments, star = [], False
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.KEYWORD_ONLY and not star:
            arguments.append("*")
            star = True
        default = "" if p.default is p.empty else f" = {p.default!r}".replace("'", '"')
        arguments.append(f"{p.name}: {x if p.name == 'x' else p.annotation}{default}")
    lines = [""]
    for argument in arguments:
        if len(lines[-1]) + len(argument) > 100:
            lines.append("")
        lines[-1] += f" {argument},"
    body = "\n".join(f"   {line}" for line in lines)
    return f'def {function.__name__}(\n{body}\n) -> {result}:\n    """{summary}"""\n'


if __name__ == "__main__":
    STUB.write_text(stub())
