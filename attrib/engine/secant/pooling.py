"""Max pooling in one to three dims, overlapping, dilated, padded or adaptive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.secant.elementwise import kinked, ratio
from attrib.engine.secant.pair import Twin, values
from attrib.engine.secant.rules import rule
from attrib.engine.secant.sums import add

aten = torch.ops.aten

SPATIAL_DIMS = {
    aten.max_pool2d_with_indices.default: 2,
    aten.max_pool3d_with_indices.default: 3,
    aten.adaptive_max_pool2d.default: 2,
    aten.adaptive_max_pool3d.default: 3,
    aten.fractional_max_pool2d.default: 2,
    aten.fractional_max_pool3d.default: 3,
}


@rule(*SPATIAL_DIMS)
def max_pool(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Twin]:
    """Each window gives its change to one element (see `winner`), found by its index in the flattened image."""
    n = SPATIAL_DIMS[op]
    (y0, i0), (y1, i1) = values(op, args, kwargs)

    def take(v: Tensor, i: Tensor) -> Tensor:
        return v.flatten(-n).gather(-1, i.flatten(-n)).view(i.shape)

    return [winner(args[0], y0, y1, i0, i1, take), Twin(i0, i1, None)]


# FOLDED attrib/engine/secant/pooling.py: """Largest and smallest: of two tensors, and along dims."""
aten = torch.ops.aten


@rule(aten.maximum, aten.clamp_min.Tensor, aten.fmax)
def maximum(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """max(u, v) = v + relu(u - v)."""
    u, v = args
    excess = kinked(aten.relu.default, [add(aten.sub.Tensor, [u, v], {})], {})
    return Twin(*values(op, args, kwargs), add(aten.add.Tensor, [v, excess], {}).dv)


@rule(aten.minimum, aten.clamp_max.Tensor, aten.fmin)
def minimum(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """min(u, v) = v - relu(v - u)."""
    u, v = args
    excess = kinked(aten.relu.default, [add(aten.sub.Tensor, [v, u], {})], {})
    return Twin(*values(op, args, kwargs), add(aten.sub.Tensor, [v, excess], {}).dv)


def winner(
    x: Twin, y0: Tensor, y1: Tensor, i0: Tensor, i1: Tensor, take: Callable[[Tensor, Tensor], Tensor]
) -> Twin:
    """All of the change goes to the element that wins on the higher side: the input's if y1 >= y0, else the baseline's.

    That element changed at least as much as the largest did. `take(v, i)` gathers elements; i0 and i1 say which were
    the largest at the baseline and at the input.
    """
    i, change = torch.where(y1 >= y0, i1, i0), y1 - y0
    m = ratio(change, take(x.change, i), i0 == i1)
    return Twin(y0, y1, m * take(x.dv, i), change)


@rule(aten.max.dim, aten.min.dim)
def largest_along(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Twin]:
    """The largest along a dim; the smallest is minus the largest of -v."""
    x, dim, keep = (*args, False)[:3]
    keep = kwargs.get("keepdim", keep)
    (y0, i0), (y1, i1) = values(op, [x, dim, True], {})
    sign = -1 if op is aten.min.dim else 1
    found = winner(_signed(x, sign), sign * y0, sign * y1, i0, i1, lambda v, i: v.gather(dim, i))
    parts = [y0, y1, sign * found.dv, i0, i1]
    y0, y1, dv, i0, i1 = parts if keep else [p.squeeze(dim) for p in parts]
    return [Twin(y0, y1, dv), Twin(i0, i1, None)]


@rule(aten.amax, aten.amin, aten.max.default, aten.min.default)
def largest(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """The largest over several dims, laid flat."""
    x = args[0]
    dims = kwargs.get("dim", args[1] if len(args) > 1 else [])
    flat = _laid_flat(x.v0.ndim, [dims] if isinstance(dims, int) else list(dims))
    along = aten.max.dim if op.overloadpacket in (aten.amax, aten.max) else aten.min.dim
    found, _ = largest_along(along, [Twin(flat(x.v0), flat(x.v1), flat(x.dv)), -1], {})
    v0, v1 = values(op, args, kwargs)
    return Twin(v0, v1, found.dv.reshape(v0.shape))


def _laid_flat(ndim: int, dims: list[int]) -> Callable[[Tensor], Tensor]:
    """A function that moves the given dims (all, if none) to the end and joins them."""
    chosen = sorted(d % max(ndim, 1) for d in dims) or list(range(ndim))
    rest = [d for d in range(ndim) if d not in chosen]
    return lambda v: v.permute(*rest, *chosen).reshape(*(v.shape[d] for d in rest), -1)


def _signed(x: Twin, sign: int) -> Twin:
    return x if sign == 1 else Twin(-x.v0, -x.v1, -x.dv)
