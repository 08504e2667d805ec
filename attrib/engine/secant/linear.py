"""Views, sums and averages: op(v1) - op(v0) = op(v1 - v0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from attrib.engine.graph.linear_ops import AVERAGES, GATHERS, SUMS, VIEWS
from attrib.engine.secant.pair import NoRule, Pair, has_pair, rule, values
from attrib.engine.secant.selection import looked_up

aten = torch.ops.aten


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
