"""`gather` and `scatter`: windows of an array at computed places, read or written.

Both relate an array, indices and an array of windows in the same way: each dim of the windows either counts places or lies
along a dim of the array. So both become one index per dim of the array, in a shape that broadcasts over the windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.shaping import others, permuted, restored
from attrib.interop.jaxpr.table import refuse, translation

COMBINE = {
    "scatter-mul": torch.mul,
    "scatter-min": torch.minimum,
    "scatter-max": torch.maximum,
    "scatter_mul": torch.mul,
    "scatter_min": torch.minimum,
    "scatter_max": torch.maximum,
}


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
