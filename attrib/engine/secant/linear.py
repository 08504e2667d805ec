"""Views, sums and averages: op(v1) - op(v0) = op(v1 - v0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from attrib.engine.graph.linear_ops import AVERAGES, GATHERS, SUMS, VIEWS
from attrib.engine.secant.elementwise import ratio
from attrib.engine.secant.pair import NoRule, Pair, has_pair, values
from attrib.engine.secant.rules import rule

aten = torch.ops.aten


@rule(*VIEWS, *GATHERS, *SUMS, *AVERAGES)
def linear(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair | list[Pair]:
    """d op(v) = op(dv)."""
    x, *options = args
    if (
        op is aten.gather.default
        and isinstance(x, Pair)
        and isinstance(args[2], Pair)
        and not args[2].is_index
    ):
        return _counted(x, args[1], args[2])
    if has_pair(options) or has_pair(kwargs) or not isinstance(x, Pair):
        raise NoRule("it takes an index or an option that depends on the inputs")
    v0, v1 = values(op, args, kwargs)
    dv = op(x.dv, *options, **kwargs)
    if isinstance(v0, (list, tuple)):
        return [Pair(*parts) for parts in zip(v0, v1, dv, strict=True)]
    return Pair(v0, v1, dv)


def _counted(x: Pair, dim: int, i: Pair) -> Pair:
    """d v[i] for an index that was counted: halves of the change of v at both places, and of the steps between them at both ends.

    Sparsemax counts so how many values are above its threshold.
    """
    (a0, a1), (b0, b1) = ([v.gather(dim, k) for k in (i.v0, i.v1)] for v in (x.v0, x.v1))
    steps = ratio((a1 - a0 + b1 - b0) / 2, i.change, 0.0)
    return Pair(a0, b1, (x.dv.gather(dim, i.v0) + x.dv.gather(dim, i.v1)) / 2 + steps * i.dv)


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
