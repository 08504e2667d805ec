"""Places of a sorted order: sort, top-k, median and k-th values give their change to one of the elements, as maxima do.

Say that the value at the k-th smallest place rises from y0 to y1. At most n - k of the n elements are above y0 at the
baseline, and at least n - k + 1 reach y1 at the input, so that some element passes both: it rises by y1 - y0 or more, and
gets all of the change. It is the one that stands at the place at the input or at the baseline, if that passes; else the one
that goes furthest of those from below. Falling places are the same, upside down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.secant.elementwise import ratio
from attrib.engine.secant.pair import NoRule, Pair, values
from attrib.engine.secant.rules import rule

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
    return [Pair(y0, y1, places(last, k, j0, j1).dv.movedim(-1, dim)), Pair(i0, i1, None)]


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
    return [Pair(y0, y1, dv), Pair(i0, i1, None)]


@rule(aten.median.default)
def median(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """The lower of the two values in the middle of all."""
    x = args[0]
    flat = Pair(*(t.reshape(-1) for t in (x.v0, x.v1, x.dv)))
    return one_place(aten.median.dim, [flat, 0], {})[0]
