"""Arrays in another shape or order, joined, padded, cut, or with a part replaced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib.interop.jaxpr.program import Number, Step, dtype_of
from attrib.interop.jaxpr.table import filled, python_value, translation


@translation("broadcast_in_dim", numbers=True)
def broadcast(step: Step, x: Any, *_: Any) -> Any:
    """x repeated along new dims: its dim k becomes dim d_k. A number stays a number."""
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
    """The elements of x, row-major, in another shape."""
    return shaped(x, step.makes[0].shape) if isinstance(x, Tensor) else x


@translation("squeeze", "expand_dims", numbers=True)
def squeeze(step: Step, x: Any) -> Any:
    """x with dims of size 1 removed or added."""
    return reshape(step, x)


@translation("transpose", numbers=True)
def transpose(step: Step, x: Any) -> Any:
    """x with its dims in another order."""
    return permuted(x, step.params["permutation"]) if isinstance(x, Tensor) else x


@translation("rev")
def reverse(step: Step, x: Tensor) -> Tensor:
    """x reversed along some dims."""
    return x.flip(*step.params["dimensions"]) if step.params["dimensions"] else x


@translation("concatenate")
def concatenate(step: Step, *xs: Tensor) -> Tensor:
    """The arrays, joined along a dim."""
    return torch.cat(xs, step.params["dimension"]) if len(xs) > 1 else xs[0]


@translation("stack")
def stack(step: Step, *xs: Tensor) -> Tensor:
    """The arrays, joined along a new dim."""
    return torch.stack(xs, step.params.get("axis", step.params.get("dimension", 0)))


@translation("unstack")
def unstack(step: Step, x: Tensor) -> list[Tensor]:
    """The parts of x along a dim, which is removed."""
    return list(x.unbind(step.params.get("axis", step.params.get("dimension", 0))))


@translation("split")
def split(step: Step, x: Tensor) -> list[Tensor]:
    """The parts of x of given sizes along a dim."""
    return list(torch.split(x, list(step.params["sizes"]), step.params["axis"]))


@translation("tile")
def tile(step: Step, x: Tensor) -> Tensor:
    """x repeated along each dim."""
    return x.repeat(*step.params["reps"])


@translation("iota")
def iota(step: Step, *_: Any) -> Tensor:
    """0, 1, 2, ... along a dim."""
    (shape, dtype), d = step.makes[0], step.params["dimension"]
    ones = [1] * len(shape)
    ones[d] = shape[d]
    numbers = torch.arange(shape[d], dtype=dtype_of(dtype), device=step.device)
    return numbers.reshape(ones).expand(shape)


@translation("pad", numbers=True)
def pad(step: Step, x: Any, value: Any) -> Tensor:
    """x with a number around and between its elements; negative widths crop."""
    low, high, between = (
        zip(*step.params["padding_config"], strict=True) if step.makes[0].shape else ((),) * 3
    )
    number = python_value(step, value)
    x = filled(x, step.takes[0], step.device)
    return padded(spread(x, [b + 1 for b in between], number), list(zip(low, high, strict=True)), number)


@translation("slice")
def part(step: Step, x: Tensor) -> Tensor:
    """x[start:limit:stride] along every dim."""
    p = step.params
    for d, (start, stop) in enumerate(zip(p["start_indices"], p["limit_indices"], strict=True)):
        stride = p["strides"][d] if p["strides"] else 1
        if (start, stop, stride) != (0, x.shape[d], 1):
            x = torch.ops.aten.slice.Tensor(x, d, start, stop, stride)
    return x


@translation("dynamic_slice", numbers=True)
def part_from(step: Step, x: Any, *starts: Any) -> Tensor:
    """A part of given size from a computed position, shifted so that it lies inside x."""
    x = filled(x, step.takes[0], step.device)
    sizes = step.params["slice_sizes"]
    for d, (start, size) in enumerate(zip(_starts(step, starts, sizes), sizes, strict=True)):
        x = x if size == x.shape[d] else x.narrow(d, start, size)
    return x


@translation("dynamic_update_slice", numbers=True)
def replaced(step: Step, x: Any, new: Any, *starts: Any) -> Tensor:
    """x with `new` in place of its part from a computed position."""
    x, new = (filled(v, s, step.device) for v, s in zip((x, new), step.takes[:2], strict=True))
    return _replace_part(x, new, _starts(step, starts, new.shape), 0)


def _replace_part(x: Tensor, new: Tensor, starts: Sequence[int], d: int) -> Tensor:
    while d < x.ndim and x.shape[d] == new.shape[d]:
        d += 1
    if d == x.ndim:
        return new
    start, size = starts[d], new.shape[d]
    inner = _replace_part(x.narrow(d, start, size), new, starts, d + 1)
    return torch.slice_scatter(x, inner, d, start, start + size)


def _starts(step: Step, starts: Sequence[Any], sizes: Sequence[int]) -> list[int]:
    """Positions of the parts, clamped as JAX does."""
    positions = [int(python_value(step, s)) for s in starts]
    ends = [total - size for total, size in zip(step.takes[0].shape, sizes, strict=True)]
    return [min(max(p, 0), end) for p, end in zip(positions, ends, strict=True)]


# ---------------------------------------------------------------------- for other families too


def permuted(x: Tensor, order: Sequence[int]) -> Tensor:
    """x with its dims in `order`; x itself if they are."""
    return x if list(order) == list(range(x.ndim)) else x.permute(*order)


def shaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x in another shape; x itself if it has this shape."""
    return x if list(x.shape) == list(shape) else x.reshape(list(shape))


def restored(x: Tensor, order: Sequence[int]) -> Tensor:
    """The inverse of `permuted`."""
    return permuted(x, sorted(range(x.ndim), key=lambda d: order[d]))


def others(ndim: int, *groups: Sequence[int]) -> list[int]:
    """The dims that are in no group."""
    grouped = {d for group in groups for d in group}
    return [d for d in range(ndim) if d not in grouped]


def sizes(x: Tensor, dims: Sequence[int]) -> list[int]:
    """The sizes of some dims."""
    return [x.shape[d] for d in dims]


def padded(x: Tensor, widths: Sequence[tuple[int, int]], value: Number) -> Tensor:
    """x with a number before and after, by the widths (before, after) of each dim."""
    if not any(low or high for low, high in widths):
        return x
    return F.pad(x, [w for pair in reversed(widths) for w in pair], value=value)  # type: ignore[arg-type]


def spread(x: Tensor, steps: Sequence[int], value: Number = 0) -> Tensor:
    """Element i of each dim at position i times its step, with a number between."""
    for d, step in enumerate(steps):
        if step > 1 and x.shape[d] > 1:
            gaps = F.pad(x.unsqueeze(d + 1), [0, 0] * (x.ndim - 1 - d) + [0, step - 1], value=value)  # type: ignore[arg-type]
            x = gaps.flatten(d, d + 1).narrow(d, 0, (x.shape[d] - 1) * step + 1)
    return x
