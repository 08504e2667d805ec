"""Arrays in another shape or order, joined, padded, cut; windows at computed places, read or written (`gather`, `scatter`).

Both relate an array, indices and an array of windows in the same way: each dim of the windows either counts places or lies
along a dim of the array. So both become one index per dim of the array, in a shape that broadcasts over the windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib.interop.jaxpr.interpreter import filled, python_value, refuse, translation
from attrib.interop.jaxpr.program import Number, Step, dtype_of

COMBINE = {
    "scatter-mul": torch.mul,
    "scatter-min": torch.minimum,
    "scatter-max": torch.maximum,
    "scatter_mul": torch.mul,
    "scatter_min": torch.minimum,
    "scatter_max": torch.maximum,
}


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


class Geometry(NamedTuple):
    """How windows lie in an array.

    Attributes
    ----------
    sizes : tuple of int
        Size of a window along each dim of the array.
    along : dict of int to int
        Dim of the windows for each dim of the array that has one.
    full : list of int
        Those dims of the array that every window covers; they need no index.
    starts : dict of int to int
        Position in the index vector for each dim of the array whose place is computed.
    paired : dict of int to int
        Dim of the indices for each dim of the array that is batched with one.
    places : list of int
        Dims of the windows that count places, in the order of the indices' dims.
    """

    sizes: tuple[int, ...]
    along: dict[int, int]
    full: list[int]
    starts: dict[int, int]
    paired: dict[int, int]
    places: list[int]


@translation("gather")
def gather(step: Step, x: Tensor, indices: Tensor) -> Tensor:
    """out[places, window] = x[index[places] + window]."""
    p, numbers = step.params, step.params["dimension_numbers"]
    paired = (numbers.operand_batching_dims, numbers.start_indices_batching_dims)
    rank = len(step.makes[0].shape)
    g = _geometry(
        x.shape, tuple(p["slice_sizes"]), numbers.offset_dims, numbers.collapsed_slice_dims,
        numbers.start_index_map, paired, rank,
    )  # fmt: skip
    index, inside = _indices(x.shape, indices, g)
    order, front = _order(x.ndim, g), _front(rank, g)
    windows = _at_places(permuted(x, order), [index[d] for d in order[: x.ndim - len(g.full)]])
    out = restored(windows, [*front, *(g.along[d] for d in g.full)])
    if _mode(p) != "FILL_OR_DROP" or _all(inside):
        return out
    fill = math.nan if p["fill_value"] is None else p["fill_value"]
    if not out.is_floating_point() and p["fill_value"] is None:
        fill = torch.iinfo(out.dtype).min if out.dtype != torch.bool else True
    return torch.where(_over(inside, rank, g), out, fill)


class Written(NamedTuple):
    """The elements that a scatter writes, and their new values.

    Attributes
    ----------
    order : list of int
        The array's dims, those with an index first.
    places : tuple of Tensor
        Indices of the elements.
    new : Tensor
        The new values.
    """

    order: list[int]
    places: tuple[Tensor, ...]
    new: Tensor


@translation("scatter", "scatter-add", "scatter-sub", "scatter_add", "scatter_sub")
def scatter(step: Step, x: Tensor, indices: Tensor, new: Tensor) -> Tensor:
    """x[index[places] + window] = or += new[places, window]; places outside x are dropped."""
    put = _written(step, x, indices, -new if step.name.endswith("sub") else new)
    add = step.name != "scatter"
    if not put.places:
        return x + put.new if add else put.new
    return restored(torch.index_put(permuted(x, put.order), put.places, put.new, accumulate=add), put.order)


@translation(*COMBINE)
def combined(step: Step, x: Tensor, indices: Tensor, new: Tensor) -> Tensor:
    """x[index[places] + window] *= new[places, window], or min= or max=, where all places differ."""
    put = _written(step, x, indices, new)
    x, combine = permuted(x, put.order), COMBINE[step.name]
    if not put.places:
        return combine(x, put.new)
    if not _differ(put.places, x.shape):
        refuse(step, "it may write to a place more than once")
    values = combine(_at_places(x, put.places), put.new)
    return restored(torch.index_put(x, put.places, values), put.order)


def _written(step: Step, x: Tensor, indices: Tensor, new: Tensor) -> Written:
    g = _scatter_geometry(step, x, new)
    index_of, inside = _indices(x.shape, indices, g)
    order, full = _order(x.ndim, g), [g.along[d] for d in g.full]
    front = [*_front(new.ndim, g), *full]
    index = [index_of[d] for d in order[: x.ndim - len(g.full)]]
    if _mode(step.params) != "CLIP" and not _all(inside):
        keep = permuted(_over(inside, new.ndim, g).expand(new.shape), front)
        keep = keep.flatten(len(front) - len(full))[..., 0] if full else keep
        return Written(order, tuple(i.expand(keep.shape)[keep] for i in index), permuted(new, front)[keep])
    return Written(order, tuple(index), permuted(new, front))


def _scatter_geometry(step: Step, x: Tensor, new: Tensor) -> Geometry:
    """The geometry of a scatter; its windows are those of the new values."""
    numbers = step.params["dimension_numbers"]
    paired = (numbers.operand_batching_dims, numbers.scatter_indices_batching_dims)
    windows, collapsed = sorted(numbers.update_window_dims), numbers.inserted_window_dims
    sizes = [1] * x.ndim
    for d, w in zip(others(x.ndim, collapsed, paired[0]), windows, strict=True):
        sizes[d] = new.shape[w]
    starts = numbers.scatter_dims_to_operand_dims
    return _geometry(x.shape, tuple(sizes), windows, collapsed, starts, paired, new.ndim)


def _differ(index: tuple[Tensor, ...], shape: torch.Size) -> bool:
    """Whether all places certainly differ."""
    flat: Any = 0
    for i, size in zip(index, shape, strict=False):
        flat = flat * size + i
    try:
        return flat.unique().numel() == flat.numel()
    except NotImplementedError:  # they depend on the inputs
        return False


def _geometry(
    shape: tuple[int, ...],
    sizes: tuple[int, ...],
    windows: Any,
    collapsed: Any,
    starts: Any,
    paired: Any,
    rank: int,
) -> Geometry:
    inner = others(len(shape), collapsed, paired[0])
    along = dict(zip(inner, sorted(windows), strict=True))
    return Geometry(
        sizes,
        along,
        [d for d in inner if d not in starts and sizes[d] == shape[d]],
        {d: k for k, d in enumerate(starts)},
        dict(zip(*paired, strict=True)),
        others(rank, windows),
    )


def _indices(shape: tuple[int, ...], indices: Tensor, g: Geometry) -> tuple[dict[int, Tensor], Tensor]:
    """An index for each dim that needs one, and whether each place is inside the array."""
    front = _front(len(g.places) + len(g.along), g)
    index_of, inside = {}, torch.ones((), dtype=torch.bool, device=indices.device)
    indices = indices.long()
    for d, size in enumerate(shape):
        if d in g.full:
            continue
        index = torch.zeros([1] * len(front), dtype=torch.long, device=indices.device)
        if d in g.starts:
            start, last = indices[..., g.starts[d]], size - g.sizes[d]
            inside = inside & (start >= 0) & (start <= last)
            index = _at(start.clamp(0, last), g.places, front)
        if d in g.paired:
            dim = g.places[g.paired[d]]
            index = _at(torch.arange(size, device=indices.device), [dim], front)
        if d in g.along:
            offsets = torch.arange(g.sizes[d], device=indices.device)
            index = index + _at(offsets, [g.along[d]], front)
        index_of[d] = index
    return index_of, inside


def _at_places(x: Tensor, index: Sequence[Tensor]) -> Tensor:
    """x[index] by the op itself, as Python indexing reads an index without dims into Python."""
    return torch.ops.aten.index.Tensor(x, list(index)) if index else x


def _at(values: Tensor, dims: list[int], front: list[int]) -> Tensor:
    """Values along some dims of the windows, with size 1 along the others."""
    shape = [1] * len(front)
    for d, size in zip(dims, values.shape, strict=True):
        shape[front.index(d)] = size
    return values.reshape(shape)


def _order(ndim: int, g: Geometry) -> list[int]:
    """The array's dims, those with an index first."""
    return [*others(ndim, g.full), *g.full]


def _front(rank: int, g: Geometry) -> list[int]:
    """The windows' dims over which indices broadcast."""
    return others(rank, [g.along[d] for d in g.full])


def _over(inside: Tensor, rank: int, g: Geometry) -> Tensor:
    shape = [1] * rank
    for d, size in zip(g.places, inside.shape, strict=True):
        shape[d] = size
    return inside.reshape(shape)


def _all(inside: Tensor) -> bool:
    """Whether all places are certainly inside."""
    try:
        return bool(inside.all())
    except NotImplementedError:  # they depend on the inputs
        return False


def _mode(params: dict[str, Any]) -> str:
    mode = params["mode"]
    return getattr(mode, "name", str(mode))
