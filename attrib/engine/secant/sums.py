"""Sums, joins and insertions: linear in all their tensors jointly, so the change of a constant is zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.secant.pair import NoRule, Pair, at0, at1, has_pair, rule, values

aten = torch.ops.aten


def change_of(value: Any) -> Any:
    """The change `dv` of an argument; zero for a constant."""
    if isinstance(value, Pair):
        return value.dv
    if isinstance(value, Tensor):
        dtype = value.dtype if value.is_floating_point() else torch.get_default_dtype()
        return torch.zeros_like(value, dtype=dtype)
    return 0.0


def difference(u: Any, v: Any) -> Pair:
    """u - v as a float, also for bools and integers."""
    dv = change_of(u) - change_of(v)
    u0, v0, u1, v1 = (
        t.to(dv.dtype) if isinstance(t, Tensor) else dv.new_tensor(t)
        for t in (at0(u), at0(v), at1(u), at1(v))
    )
    return Pair(u0 - v0, u1 - v1, dv)


@rule(aten.add, aten.sub)
def add(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(u + k v) = du + k dv."""
    (u, v), k = args[:2], kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    v0, v1 = values(op, args, kwargs)
    sign = -k if op.overloadpacket is aten.sub else k
    if isinstance(u, Pair) and isinstance(v, Pair):
        dv = torch.add(u.dv, v.dv, alpha=sign)
    elif isinstance(u, Pair):
        dv = u.dv
    else:
        dv = v.dv if sign == 1 else v.dv * sign
    return Pair(v0, v1, dv.expand(v1.shape) if dv.shape != v1.shape else dv)


@rule(aten.rsub)
def subtract_from(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(v - k u) = dv - k du."""
    v0, v1 = values(op, args, kwargs)
    u, v, k = args[0], args[1], kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    dv = change_of(v) - k * change_of(u)
    return Pair(v0, v1, dv)


@rule(aten.cat, aten.stack)
def join(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d cat(u, v) = cat(du, dv)."""
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, op([change_of(v) for v in args[0]], *args[1:], **kwargs))


@rule(aten.constant_pad_nd)
def pad(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d pad(v, c) = pad(dv, 0)."""
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, op(args[0].dv, args[1], 0.0))


@rule(
    *(aten.index_put, aten.index_add.default, aten.index_copy.default),
    *(aten.slice_scatter, aten.select_scatter, aten.diagonal_scatter, aten.masked_scatter),
)
def insert(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d put(u, index, v) = put(du, index, dv)."""
    v0, v1 = values(op, args, kwargs)
    names = [a.name for a in op._schema.arguments]
    linear_in = {0, *(i for i, name in enumerate(names) if name in ("src", "source", "value", "values"))}
    if has_pair([a for i, a in enumerate(args) if i not in linear_in]) or has_pair(kwargs):
        raise NoRule("it takes an index that depends on the inputs")
    changes = [change_of(a) if i in linear_in else a for i, a in enumerate(args)]
    return Pair(v0, v1, op(*changes, **kwargs))
