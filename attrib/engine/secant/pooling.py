"""Largest and smallest values: of two tensors, along dims, in the windows of max pooling, in groups that an index tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.secant.elementwise import kinked, ratio
from attrib.engine.secant.pair import NoRule, Pair, at0, at1, rule, values
from attrib.engine.secant.selection import jumps
from attrib.engine.secant.sums import add, change_of

aten = torch.ops.aten


@rule(aten.maximum, aten.clamp_min.Tensor, aten.fmax)
def maximum(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """max(u, v) = v + relu(u - v)."""
    u, v = args
    excess = kinked(aten.relu.default, [add(aten.sub.Tensor, [u, v], {})], {})
    return Pair(*values(op, args, kwargs), add(aten.add.Tensor, [v, excess], {}).dv)


@rule(aten.minimum, aten.clamp_max.Tensor, aten.fmin)
def minimum(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """min(u, v) = v - relu(v - u)."""
    u, v = args
    excess = kinked(aten.relu.default, [add(aten.sub.Tensor, [v, u], {})], {})
    return Pair(*values(op, args, kwargs), add(aten.sub.Tensor, [v, excess], {}).dv)


def winner(
    x: Pair, y0: Tensor, y1: Tensor, i0: Tensor, i1: Tensor, take: Callable[[Tensor, Tensor], Tensor]
) -> Pair:
    """Give all of the change of a maximum to one element: the largest at the input if y1 >= y0, else at the baseline.

    That element changed at least as much as the maximum did. i0 and i1 are the indices of the largest at the baseline and
    at the input; `take(v, i)` gathers elements.
    """
    i, change = torch.where(y1 >= y0, i1, i0), y1 - y0
    m = ratio(change, take(x.change, i), i0 == i1)
    return Pair(y0, y1, m * take(x.dv, i), change)


@rule(aten.max.dim, aten.min.dim)
def largest_along(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Pair]:
    """The largest along a dim; the smallest is minus the largest of -v."""
    x, dim, keep = (*args, False)[:3]
    keep = kwargs.get("keepdim", keep)
    (y0, i0), (y1, i1) = values(op, [x, dim, True], {})
    sign = -1 if op is aten.min.dim else 1
    maxima = winner(_signed(x, sign), sign * y0, sign * y1, i0, i1, lambda v, i: v.gather(dim, i))
    last, j0, j1 = Pair(*(t.movedim(dim, -1) for t in (x.v0, x.v1, x.dv))), i0, i1

    def jumped() -> Tensor:
        jump = jumps(last, j0.movedim(dim, -1), j1.movedim(dim, -1)).movedim(-1, dim)
        return jump if keep else jump.squeeze(dim)

    parts = [y0, y1, sign * maxima.dv, i0, i1]
    y0, y1, dv, i0, i1 = parts if keep else [p.squeeze(dim) for p in parts]
    return [Pair(y0, y1, dv), Pair(i0, i1, jumped if x.v0.ndim else None)]


@rule(aten.amax, aten.amin, aten.max.default, aten.min.default)
def largest(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """The largest over several dims, joined into one."""
    x = args[0]
    dims = kwargs.get("dim", args[1] if len(args) > 1 else [])
    joined = _joined_last(x.v0.ndim, [dims] if isinstance(dims, int) else list(dims))
    along = aten.max.dim if op.overloadpacket in (aten.amax, aten.max) else aten.min.dim
    maxima, _ = largest_along(along, [Pair(joined(x.v0), joined(x.v1), joined(x.dv)), -1], {})
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, maxima.dv.reshape(v0.shape))


def _joined_last(ndim: int, dims: list[int]) -> Callable[[Tensor], Tensor]:
    """A function that moves `dims` (all of them if empty) to the end and joins them."""
    last = sorted(d % max(ndim, 1) for d in dims) or list(range(ndim))
    first = [d for d in range(ndim) if d not in last]
    return lambda v: v.permute(*first, *last).reshape(*(v.shape[d] for d in first), -1)


def _signed(x: Pair, sign: int) -> Pair:
    return x if sign == 1 else Pair(-x.v0, -x.v1, -x.dv)


SPATIAL_DIMS = {
    aten.max_pool2d_with_indices.default: 2,
    aten.max_pool3d_with_indices.default: 3,
    aten.adaptive_max_pool2d.default: 2,
    aten.adaptive_max_pool3d.default: 3,
    aten.fractional_max_pool2d.default: 2,
    aten.fractional_max_pool3d.default: 3,
}


@rule(*SPATIAL_DIMS)
def max_pool(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Pair]:
    """Each window gives its change to one element (see `winner`), by that element's index in the flattened image."""
    n = SPATIAL_DIMS[op]
    (y0, i0), (y1, i1) = values(op, args, kwargs)

    def take(v: Tensor, i: Tensor) -> Tensor:
        return v.flatten(-n).gather(-1, i.flatten(-n)).view(i.shape)

    return [winner(args[0], y0, y1, i0, i1, take), Pair(i0, i1, None)]


@rule(aten.scatter_reduce, aten.index_reduce)
def reduced_in_groups(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """Sums and means are linear in both tensors; the largest or smallest of a group gets its change (see `winner`)."""
    x, dim, index, source, how = args
    if isinstance(index, Pair):
        raise NoRule("it takes an index that depends on the inputs")
    v0, v1 = values(op, args, kwargs)
    if how in ("sum", "mean"):
        return Pair(v0, v1, op(change_of(x), dim, index, change_of(source), how, **kwargs))
    if how not in ("amax", "amin"):
        raise NoRule(f"it reduces by {how!r}, of which only 'sum', 'mean', 'amax' and 'amin' have a rule")
    if op.overloadpacket is aten.index_reduce:
        index = index.view(-1, *[1] * (v1.ndim - 1 - dim % v1.ndim)).expand(at1(source).shape)
    sizes = [s for d, s in enumerate(index.shape) if d != dim % v1.ndim]
    if sizes != [s for d, s in enumerate(v1.shape) if d != dim % v1.ndim]:
        raise NoRule(
            "its index is smaller than its tensor along other dims; cut the tensor to the index's size"
        )
    cut = tuple(slice(0, s) for s in index.shape)
    place = torch.arange(v1.shape[dim], device=index.device).view(-1, *[1] * (v1.ndim - 1 - dim % v1.ndim))
    place = place.expand(v1.shape)
    alone = torch.ones_like(place, dtype=torch.bool).scatter(dim, index, False)
    counts = alone | kwargs.get("include_self", True)  # where the tensor's own value is a member of the group
    groups = torch.cat([place, index], dim)
    members = Pair(*(torch.cat([a, b[cut]], dim) for a, b in zip(*map(_parts, (x, source)), strict=True)))
    number = torch.arange(groups.shape[dim], device=index.device)
    number = number.view(-1, *[1] * (v1.ndim - 1 - dim % v1.ndim)).expand(groups.shape)
    counted = torch.cat([counts, torch.ones_like(index, dtype=torch.bool)], dim)

    def first(v: Tensor, y: Tensor) -> Tensor:
        hit = counted & (v == y.gather(dim, groups))
        numbers = torch.where(hit, number, groups.shape[dim])
        return torch.full_like(place, groups.shape[dim] - 1).scatter_reduce(dim, groups, numbers, "amin")

    sign = -1 if how == "amin" else 1
    i0, i1 = first(members.v0, v0), first(members.v1, v1)
    extremes = winner(_signed(members, sign), sign * v0, sign * v1, i0, i1, lambda v, i: v.gather(dim, i))
    return Pair(v0, v1, sign * extremes.dv)


def _parts(value: Any) -> tuple[Tensor, Tensor, Tensor]:
    return at0(value), at1(value), change_of(value)
