"""Views, sums and averages, largest values, places of a sorted order, and what is looked up or put there.

Sort, top-k, median and k-th values give their change to one of the elements, as maxima do.

Say that the value at the k-th smallest place rises from y0 to y1. At most n - k of the n elements are above y0 at the
baseline, and at least n - k + 1 reach y1 at the input, so that some element passes both: it rises by y1 - y0 or more, and
gets all of the change. It is the one that stands at the place at the input or at the baseline, if that passes; else the one
that goes furthest of those from below. Falling places are the same, upside down.

The index of a place jumps, and experts that are chosen by their scores jump with it. Where an element gives its place to another, the
two changed order, or both changed order with a third. The difference of two elements that change order passes zero, and a step has
a secant: that of comparisons. So the jump goes to the scores, and what it does to the rest is a product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.graph import transformed
from attrib.engine.graph.nodes import AVERAGES, GATHERS, SUMS, VIEWS
from attrib.engine.secant.elementwise import choice, kinked, ratio
from attrib.engine.secant.pair import NoRule, Pair, add, at0, at1, change_of, has_pair, insert, rule, values

aten = torch.ops.aten


def places(x: Pair, k: Tensor, i0: Tensor, i1: Tensor) -> Pair:
    """The values at the places `k` (smallest first) along the last dim, where the elements `i0` and `i1` stand at the ends."""
    y0, y1 = x.v0.gather(-1, i0), x.v1.gather(-1, i1)
    kind = x.change.dtype
    change, rises = y1.to(kind) - y0.to(kind), y1 >= y0

    def passes(i: Tensor) -> Tensor:
        before, after = x.v0.gather(-1, i), x.v1.gather(-1, i)
        return torch.where(rises, (before <= y0) & (after >= y1), (before >= y0) & (after <= y1))

    up, down = (e.gather(-1, k.expand_as(i0)) for e in _furthest(x.v0, x.v1))
    e = torch.where(rises, up, down)
    e = torch.where(passes(i0), i0, e)
    e = torch.where(passes(i1), i1, e)
    m = ratio(change, x.change.gather(-1, e), (i0 == i1).to(kind))
    return Pair(y0, y1, m * x.dv.gather(-1, e), change)


def _furthest(v0: Tensor, v1: Tensor) -> tuple[Tensor, Tensor]:
    """For each place, the element that goes furthest up of those from there or below, and furthest down from above."""
    order0, order1 = (v.sort(dim=-1, stable=True).indices for v in (v0, v1))
    n = torch.arange(v0.shape[-1], device=v0.device).expand_as(order1)
    ranks = (
        torch.empty_like(order1).scatter(-1, order1, n).gather(-1, order0)
    )  # at the input, by the baseline's order
    up = ranks.cummax(-1).indices
    down = v0.shape[-1] - 1 - ranks.flip(-1).cummin(-1).indices.flip(-1)
    return order0.gather(-1, up), order0.gather(-1, down)


def jumps(x: Pair, i0: Tensor, i1: Tensor) -> Tensor:
    """The change of the index from `i0` to `i1`, (..., k), shared by all pairs of elements that changed order with either.

    Where the two changed order with each other, they are the pair. The elements are the last dim of `x`.
    """
    several = x.v0[..., None, :], x.v1[..., None, :]
    weights: Any = 0
    count: Any = 0
    for i, other in ((i0, i1), (i1, i0)):
        i, other = i[..., None], other[..., None]
        before, after = (
            v - v.gather(-1, i.expand(*i.shape[:-1], 1))
            for v in (v.expand(*i.shape[:-1], -1) for v in several)
        )
        crossed = (before.sign() * after.sign() <= 0) & (before != after)
        direct = torch.zeros_like(crossed).scatter(-1, other, True)
        crossed = torch.where(crossed.gather(-1, other), direct, crossed)
        inverse = crossed / torch.where(crossed, after - before, 1)
        weights = weights + inverse.scatter_add(-1, i, -inverse.sum(-1, keepdim=True))
        count = count + crossed.sum(-1)
    step = (weights * x.dv[..., None, :]).sum(-1) / count.clamp(min=1)
    return (i1 - i0) * step


def steps_of(i: Pair, kind: torch.dtype) -> Tensor:
    """From 0 to 1 where an index changes, as a linear function of the change of the inputs."""
    return ratio(torch.ones_like(i.change), i.change, 0.0).to(kind) * i.dv.to(kind)


def _selected(
    op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any], dim: int, descending: bool, first: int = 0
) -> list[Pair]:
    """Values and indices of an op that gives places in a row from the `first` one on, in rising or falling order."""
    x = args[0]
    if not isinstance(x, Pair):
        raise NoRule("its option depends on the inputs")
    (y0, i0), (y1, i1) = values(op, args, kwargs)
    if x.v0.ndim == 0:
        return [Pair(y0, y1, x.dv), Pair(i0, i1, None)]
    last = Pair(*(t.movedim(dim, -1) for t in (x.v0, x.v1, x.dv)))
    j0, j1 = (i.movedim(dim, -1) for i in (i0, i1))
    k = torch.arange(first, first + j0.shape[-1], device=j0.device)
    k = x.v0.shape[dim] - 1 - k if descending else k
    with_jumps = (
        op.overloadpacket is not aten.sort
    )  # of a whole order each place would be compared with all others
    jumped = (lambda: jumps(last, j0, j1).movedim(-1, dim)) if with_jumps else None
    return [Pair(y0, y1, places(last, k, j0, j1).dv.movedim(-1, dim)), Pair(i0, i1, jumped)]


@rule(aten.sort)
def sorted_along(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Pair]:
    """All places along a dim."""
    names = [a.name for a in op._schema.arguments]
    options = {**dict(zip(names, args, strict=False)), **kwargs}
    return _selected(op, args, kwargs, options.get("dim", -1), options.get("descending", False))


@rule(aten.topk)
def top(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Pair]:
    """The first or last k places, always in order, so that a place is the same at the baseline and at the input."""
    names = ("self", "k", "dim", "largest", "sorted")
    options = {"dim": -1, "largest": True, **dict(zip(names, args, strict=False)), **kwargs}
    dim, largest = options["dim"], options["largest"]
    return _selected(op, [args[0], options["k"], dim, largest, True], {}, dim, largest)


@rule(aten.kthvalue, aten.median.dim)
def one_place(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Pair]:
    """The k-th smallest, or the lower of the two in the middle."""
    names = [a.name for a in op._schema.arguments]
    options = {"dim": -1, "keepdim": False, **dict(zip(names, args, strict=False)), **kwargs}
    x, dim = options["self"], options["dim"]
    n = x.v0.shape[dim] if x.v0.ndim else 1
    first = options["k"] - 1 if "k" in options else (n - 1) // 2
    along = [x, options["k"], dim, True] if "k" in options else [x, dim, True]
    value, index = _selected(op, along, {}, dim, False, first)
    if options["keepdim"] or x.v0.ndim == 0:
        return [value, index]
    y0, y1, dv, i0, i1 = (t.squeeze(dim) for t in (value.v0, value.v1, value.dv, index.v0, index.v1))
    return [Pair(y0, y1, dv), Pair(i0, i1, lambda: index.dv.squeeze(dim))]


@rule(aten.median.default)
def median(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """The lower of the two values in the middle of all."""
    x = args[0]
    flat = Pair(*(t.reshape(-1) for t in (x.v0, x.v1, x.dv)))
    return one_place(aten.median.dim, [flat, 0], {})[0]


@rule(aten.argmax, aten.argmin)
def place_of_the_largest(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """Its index jumps (see `jumps`)."""
    x, dim, keep = (*args, None, False)[:3]
    dim, keep = kwargs.get("dim", dim), kwargs.get("keepdim", keep)
    i0, i1 = values(op, args, kwargs)
    along = x if dim is not None else Pair(*(t.reshape(-1) for t in (x.v0, x.v1, x.dv)))
    last = Pair(*(t.movedim(-1 if dim is None else dim, -1) for t in (along.v0, along.v1, along.dv)))
    shape = last.v0.shape[:-1]
    return Pair(i0, i1, lambda: jumps(last, i0.view(*shape, 1), i1.view(*shape, 1)).view(i0.shape))


def looked_up(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d v[i]: halves of the change of v at both places, and of the steps between the places at both ends.

    So experts are looked up whose scores are largest; and sparsemax counts how many values are above its threshold.
    """
    x, indices = (
        args[0],
        [
            i
            for i in (args[1] if op.overloadpacket is aten.index else args[1:])
            if isinstance(i, Tensor | Pair)
        ],
    )
    changing = [i for i in indices if isinstance(i, Pair)]
    if (
        op.overloadpacket not in (aten.index, aten.index_select, aten.gather, aten.take)
        or has_pair(kwargs)
        or any(i.v0.dtype == torch.bool for i in changing)
    ):
        raise NoRule("it takes an index or an option that depends on the inputs")
    from0, from1 = ((lambda v, at=at: op(v, *at(args[1:]))) for at in (at0, at1))
    a0, a1, b0, b1 = (put(v) for v in (at0(x), at1(x)) for put in (from0, from1))
    kind = changing[0].dv.dtype
    jumped = torch.stack(torch.broadcast_tensors(*(steps_of(i, kind) for i in changing)))
    several = torch.stack(torch.broadcast_tensors(*(i.v0 != i.v1 for i in changing))).sum(0)
    steps = jumped.sum(0) / several.clamp(min=1)
    trailing = _dims_behind(op, args, indices)
    dv = (a1 - a0 + b1 - b0) / 2 * steps.reshape(*steps.shape, *[1] * trailing)
    if isinstance(x, Pair):
        dv = dv + (from0(x.dv) + from1(x.dv)) / 2
    return Pair(a0, b1, dv)


def _dims_behind(op: OpOverload, args: Sequence[Any], indices: list[Any]) -> int:
    """How many dims a result has behind those of its indices."""
    ndim = at1(args[0]).ndim
    if op.overloadpacket is aten.index_select:
        return ndim - 1 - args[1] % ndim
    if op.overloadpacket is not aten.index:
        return 0
    places = [d for d, i in enumerate(args[1]) if i is not None]
    together = places == list(range(places[0], places[-1] + 1))
    return ndim - 1 - places[-1] if together else ndim - len(places)


@rule(aten.scatter.src, aten.scatter.value, aten.scatter_add.default)
def put_at(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """Values that are put, or added, at places which depend on the inputs: the product of each value and the share 0 or 1 of its place."""
    base, dim, index, source = args
    if not isinstance(index, Pair):
        return insert(op, args, kwargs)
    ends_of = [v for t in (base, source) for v in (at0(t), at1(t)) if isinstance(v, Tensor)]
    finite = transformed() or all(bool(v.isfinite().all()) for v in ends_of)
    if op is aten.scatter.value and math.isinf(source) and not kwargs:  # a mask
        share = put_at(op, [torch.zeros_like(at1(base)), dim, index, 1.0], kwargs)
        mask = Pair(share.v0.bool(), share.v1.bool(), share.dv)
        return choice(aten.where.self, [mask, torch.full_like(at1(base), source), base], {})
    if kwargs or not finite:
        raise NoRule("it takes an index that depends on the inputs, for numbers that are not finite")
    v0, v1 = values(op, args, kwargs)
    steps = steps_of(index, index.dv.dtype)
    cut = tuple(slice(0, s) for s in index.v0.shape)

    def middle(value: Any) -> Tensor:
        return value.mean if isinstance(value, Pair) else value.to(steps.dtype)

    def put(i: Tensor, v: Tensor) -> Tensor:
        return torch.zeros_like(v1, dtype=steps.dtype).scatter_add(dim, i, v.to(steps.dtype))

    number = not isinstance(source, Tensor | Pair)
    mean = torch.full_like(steps, source) if number else middle(source)[cut]
    dv = put(index.v1, mean * steps) - put(index.v0, mean * steps)
    if isinstance(source, Pair):
        dv = dv + (put(index.v0, source.dv[cut]) + put(index.v1, source.dv[cut])) / 2
    kept: Any = 1
    if op is not aten.scatter_add.default:
        ones = torch.ones_like(steps)
        dv = dv - middle(base) * (put(index.v1, steps) - put(index.v0, steps))
        kept = 1 - (put(index.v0, ones) + put(index.v1, ones)) / 2
    return Pair(v0, v1, dv + kept * base.dv if isinstance(base, Pair) else dv)


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


@rule(*VIEWS, *GATHERS, *SUMS, *AVERAGES)
def linear(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair | list[Pair]:
    """d op(v) = op(dv)."""
    x, *options = args
    if has_pair(options):
        return looked_up(op, args, kwargs)
    if has_pair(kwargs) or not isinstance(x, Pair):
        raise NoRule("it takes an option that depends on the inputs")
    v0, v1 = values(op, args, kwargs)
    dv = op(x.dv, *options, **kwargs)
    if isinstance(v0, (list, tuple)):
        return [Pair(*parts) for parts in zip(v0, v1, dv, strict=True)]
    return Pair(v0, v1, dv)


@rule(aten._to_copy)
def cast(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """A change of type is the identity; to integers (truncation) and to bools (v != 0) it is a step function."""
    (x,) = args
    v0, v1 = values(op, args, kwargs)
    if v0.is_floating_point() or v0.is_complex():
        return Pair(v0, v1, x.dv.to(v0.dtype))
    if x.v0.dtype == torch.bool or (x.is_discrete and v0.dtype != torch.bool):
        return Pair(v0, v1, x.dv)
    changed = x.change != 0
    steps = v1.to(x.dv.dtype) - v0.to(x.dv.dtype)
    return Pair(v0, v1, torch.where(changed, steps / torch.where(changed, x.change, 1), 0) * x.dv)
