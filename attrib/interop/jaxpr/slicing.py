"""Parts of an array, and arrays with a part replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.table import filled, settled, translation


@translation("slice")
def part(step: Step, x: Tensor) -> Tensor:
    """x[start:limit:stride], every dim."""
    p = step.params
    for d, (start, stop) in enumerate(zip(p["start_indices"], p["limit_indices"], strict=True)):
        stride = p["strides"][d] if p["strides"] else 1
        if (start, stop, stride) != (0, x.shape[d], 1):
            x = torch.ops.aten.slice.Tensor(x, d, start, stop, stride)
    return x


@translation("dynamic_slice", numbers=True)
def part_from(step: Step, x: Any, *starts: Any) -> Tensor:
    """A part of given size from a computed place on, moved inside where it reaches out."""
    x = filled(x, step.takes[0], step.device)
    sizes = step.params["slice_sizes"]
    for d, (start, size) in enumerate(zip(_inside(step, starts, sizes), sizes, strict=True)):
        x = x if size == x.shape[d] else x.narrow(d, start, size)
    return x


@translation("dynamic_update_slice", numbers=True)
def replaced(step: Step, x: Any, new: Any, *starts: Any) -> Tensor:
    """X with `new` from a computed place on."""
    x, new = (filled(v, s, step.device) for v, s in zip((x, new), step.takes[:2], strict=True))
    return _put(x, new, _inside(step, starts, new.shape), 0)


def _put(x: Tensor, new: Tensor, starts: Sequence[int], d: int) -> Tensor:
    while d < x.ndim and x.shape[d] == new.shape[d]:
        d += 1
    if d == x.ndim:
        return new
    start, size = starts[d], new.shape[d]
    inner = _put(x.narrow(d, start, size), new, starts, d + 1)
    return torch.slice_scatter(x, inner, d, start, start + size)


def _inside(step: Step, starts: Sequence[Any], sizes: Sequence[int]) -> list[int]:
    """Where parts start, as JAX clamps it."""
    wholes = step.takes[0].shape
    places = [int(settled(step, s)) for s in starts]
    return [min(max(p, 0), whole - size) for p, whole, size in zip(places, wholes, sizes, strict=True)]
