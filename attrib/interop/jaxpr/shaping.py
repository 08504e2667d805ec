"""Reshaping, broadcasting, joining, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib.interop.jaxpr.contractions import permuted, shaped
from attrib.interop.jaxpr.program import Number, Step, dtype_of
from attrib.interop.jaxpr.table import filled, settled, translation


@translation("broadcast_in_dim", numbers=True)
def broadcast(step: Step, x: Any, *_: Any) -> Any:
    """x's dim k becomes dim d_k; the others repeat it. A number stays one."""
    if not isinstance(x, Tensor):
        return x
    shape, dims = step.makes[0].shape, step.params["broadcast_dimensions"]
    if math.prod(shape) == x.numel():
        return shaped(x, shape)
    ones = [1] * len(shape)
    for d, size in zip(dims, x.shape, strict=True):
        ones[d] = size
    return x.reshape(ones).expand(shape)


@translation("reshape", numbers=True)
def reshape(step: Step, x: Any, *_: Any) -> Any:
    """The same elements in order."""
    return shaped(x, step.makes[0].shape) if isinstance(x, Tensor) else x


@translation("squeeze", "expand_dims", numbers=True)
def squeeze(step: Step, x: Any) -> Any:
    """Without or with dims of size 1."""
    return reshape(step, x)


@translation("transpose", numbers=True)
def transpose(step: Step, x: Any) -> Any:
    """Dims in another order."""
    return permuted(x, step.params["permutation"]) if isinstance(x, Tensor) else x


@translation("rev")
def reverse(step: Step, x: Tensor) -> Tensor:
    """Backwards along some dims."""
    return x.flip(*step.params["dimensions"]) if step.params["dimensions"] else x


@translation("concatenate")
def concatenate(step: Step, *xs: Tensor) -> Tensor:
    """One after the other."""
    return torch.cat(xs, step.params["dimension"]) if len(xs) > 1 else xs[0]


@translation("stack")
def stack(step: Step, *xs: Tensor) -> Tensor:
    """One after the other, along a dim of their own."""
    return torch.stack(xs, step.params.get("axis", step.params.get("dimension", 0)))


@translation("unstack")
def unstack(step: Step, x: Tensor) -> list[Tensor]:
    """The parts along a dim, without it."""
    return list(x.unbind(step.params.get("axis", step.params.get("dimension", 0))))


@translation("split")
def split(step: Step, x: Tensor) -> list[Tensor]:
    """Parts of given sizes."""
    return list(torch.split(x, list(step.params["sizes"]), step.params["axis"]))


@translation("tile")
def tile(step: Step, x: Tensor) -> Tensor:
    """Repeated along each dim."""
    return x.repeat(*step.params["reps"])


@translation("iota")
def iota(step: Step, *_: Any) -> Tensor:
    """0, 1, 2, ... along a dim."""
    made, d = step.makes[0], step.params["dimension"]
    ones = [1] * len(made.shape)
    ones[d] = made.shape[d]
    numbers = torch.arange(made.shape[d], dtype=dtype_of(made.dtype), device=step.device)
    return numbers.reshape(ones).expand(made.shape)


@translation("pad", numbers=True)
def pad(step: Step, x: Any, value: Any) -> Tensor:
    """A number around and between the elements; negative widths cut."""
    low, high, between = (
        zip(*step.params["padding_config"], strict=True) if step.makes[0].shape else ((),) * 3
    )
    number = settled(step, value)
    x = filled(x, step.takes[0], step.device)
    return padded(spread(x, [b + 1 for b in between], number), list(zip(low, high, strict=True)), number)


def padded(x: Tensor, widths: Sequence[tuple[int, int]], value: Number) -> Tensor:
    """`(before, after)` of each dim."""
    if not any(low or high for low, high in widths):
        return x
    return F.pad(x, [w for pair in reversed(widths) for w in pair], value=value)  # type: ignore[arg-type]


def spread(x: Tensor, steps: Sequence[int], value: Number = 0) -> Tensor:
    """Element i of each dim goes to place i times its step, with a number between."""
    for d, step in enumerate(steps):
        if step > 1 and x.shape[d] > 1:
            wide = F.pad(x.unsqueeze(d + 1), [0, 0] * (x.ndim - 1 - d) + [0, step - 1], value=value)  # type: ignore[arg-type]
            x = wide.flatten(d, d + 1).narrow(d, 0, (x.shape[d] - 1) * step + 1)
    return x


# FOLDED attrib/interop/jaxpr/shaping.py: """Parts of an array, and arrays with a part replaced."""
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
