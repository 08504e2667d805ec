"""`gather` and `scatter`: windows of an array at computed places, read or written.

Both say the same of an array, of indices and of an array of windows: each dim of the windows either counts places or lies
along a dim of the array. So both become one index per dim of the array, each shaped to broadcast over the windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.interop.jaxpr.contractions import others, permuted, restored
from attrib.interop.jaxpr.program import Step
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
        Of a window, along each dim of the array.
    along : dict of int to int
        Dims of the array that have a dim of the windows, and which.
    whole : list of int
        Those of them that every window covers: they need no index.
    starts : dict of int to int
        Dims of the array that have a computed place, and its position in the index vector.
    paired : dict of int to int
        Dims of the array that go with a dim of the indices.
    places : list of int
        Dims of the windows that count places, in the order of the indices' dims.
    """

    sizes: tuple[int, ...]
    along: dict[int, int]
    whole: list[int]
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
    found, inside = _places(x.shape, indices, g)
    order, front = _order(x.ndim, g), _front(rank, g)
    picked = _at_places(permuted(x, order), [found[d] for d in order[: x.ndim - len(g.whole)]])
    out = restored(picked, [*front, *(g.along[d] for d in g.whole)])
    if _mode(p) != "FILL_OR_DROP" or _all(inside):
        return out
    fill = math.nan if p["fill_value"] is None else p["fill_value"]
    if not out.is_floating_point() and p["fill_value"] is None:
        fill = torch.iinfo(out.dtype).min if out.dtype != torch.bool else True
    return torch.where(_over(inside, rank, g), out, fill)


class Written(NamedTuple):
    """What a scatter writes where.

    Attributes
    ----------
    order : list of int
        The array's dims, those with an index first.
    places : tuple of Tensor
        Indices of the elements that are written.
    new : Tensor
        What is written there.
    """

    order: list[int]
    places: tuple[Tensor, ...]
    new: Tensor


@translation("scatter", "scatter-add", "scatter-sub", "scatter_add", "scatter_sub")
def scatter(step: Step, x: Tensor, indices: Tensor, new: Tensor) -> Tensor:
    """x[index[places] + window] = or += new[places, window]; what lies outside is dropped."""
    put = _written(step, x, indices, -new if step.name.endswith("sub") else new)
    add = step.name != "scatter"
    if not put.places:
        return x + put.new if add else put.new
    return restored(torch.index_put(permuted(x, put.order), put.places, put.new, accumulate=add), put.order)


@translation(*COMBINE)
def combined(step: Step, x: Tensor, indices: Tensor, new: Tensor) -> Tensor:
    """x[index[places] + window] *= new[places, window], or its minimum or maximum with it, where no place comes twice."""
    put = _written(step, x, indices, new)
    there, combine = permuted(x, put.order), COMBINE[step.name]
    if not put.places:
        return combine(x, put.new)
    if not _differ(put.places, there.shape):
        refuse(step, "it may write to a place more than once")
    both = combine(_at_places(there, put.places), put.new)
    return restored(torch.index_put(there, put.places, both), put.order)


def _written(step: Step, x: Tensor, indices: Tensor, new: Tensor) -> Written:
    g = _scattered(step, x, new)
    found, inside = _places(x.shape, indices, g)
    order, whole = _order(x.ndim, g), [g.along[d] for d in g.whole]
    front = [*_front(new.ndim, g), *whole]
    index = [found[d] for d in order[: x.ndim - len(g.whole)]]
    if _mode(step.params) != "CLIP" and not _all(inside):
        keep = permuted(_over(inside, new.ndim, g).expand(new.shape), front)
        keep = keep.flatten(len(front) - len(whole))[..., 0] if whole else keep
        return Written(order, tuple(i.expand(keep.shape)[keep] for i in index), permuted(new, front)[keep])
    return Written(order, tuple(index), permuted(new, front))


def _scattered(step: Step, x: Tensor, new: Tensor) -> Geometry:
    """The geometry of a scatter: its windows are what is written."""
    numbers = step.params["dimension_numbers"]
    paired = (numbers.operand_batching_dims, numbers.scatter_indices_batching_dims)
    windows, collapsed = sorted(numbers.update_window_dims), numbers.inserted_window_dims
    sizes = [1] * x.ndim
    for d, w in zip(others(x.ndim, collapsed, paired[0]), windows, strict=True):
        sizes[d] = new.shape[w]
    starts = numbers.scatter_dims_to_operand_dims
    return _geometry(x.shape, tuple(sizes), windows, collapsed, starts, paired, new.ndim)


def _differ(index: tuple[Tensor, ...], shape: torch.Size) -> bool:
    """Whether all places are known to be different."""
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


def _places(shape: tuple[int, ...], indices: Tensor, g: Geometry) -> tuple[dict[int, Tensor], Tensor]:
    """An index per dim that needs one, and which places are inside the array."""
    front = _front(len(g.places) + len(g.along), g)
    found, inside = {}, torch.ones((), dtype=torch.bool, device=indices.device)
    indices = indices.long()
    for d, whole in enumerate(shape):
        if d in g.whole:
            continue
        index = torch.zeros([1] * len(front), dtype=torch.long, device=indices.device)
        if d in g.starts:
            start, last = indices[..., g.starts[d]], whole - g.sizes[d]
            inside = inside & (start >= 0) & (start <= last)
            index = _at(start.clamp(0, last), g.places, front)
        if d in g.paired:
            dim = g.places[g.paired[d]]
            index = _at(torch.arange(whole, device=indices.device), [dim], front)
        if d in g.along:
            offsets = torch.arange(g.sizes[d], device=indices.device)
            index = index + _at(offsets, [g.along[d]], front)
        found[d] = index
    return found, inside


def _at_places(x: Tensor, index: Sequence[Tensor]) -> Tensor:
    """x[index] by the op itself: an index without dims would be read into Python otherwise."""
    return torch.ops.aten.index.Tensor(x, list(index)) if index else x


def _at(values: Tensor, dims: list[int], front: list[int]) -> Tensor:
    """Values whose dims are some of the windows', with size 1 along the others."""
    shape = [1] * len(front)
    for d, size in zip(dims, values.shape, strict=True):
        shape[front.index(d)] = size
    return values.reshape(shape)


def _order(ndim: int, g: Geometry) -> list[int]:
    """The array's dims: those with an index first."""
    return [*others(ndim, g.whole), *g.whole]


def _front(rank: int, g: Geometry) -> list[int]:
    """The windows' dims that indices are spread over."""
    return others(rank, [g.along[d] for d in g.whole])


def _over(inside: Tensor, rank: int, g: Geometry) -> Tensor:
    shape = [1] * rank
    for d, size in zip(g.places, inside.shape, strict=True):
        shape[d] = size
    return inside.reshape(shape)


def _all(inside: Tensor) -> bool:
    """Whether all places are known to be inside."""
    try:
        return bool(inside.all())
    except NotImplementedError:  # they depend on the inputs
        return False


def _mode(params: dict[str, Any]) -> str:
    mode = params["mode"]
    return getattr(mode, "name", str(mode))
