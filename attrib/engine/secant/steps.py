"""Comparisons, logic and choice: a bool is a number that steps from 0 to 1, so hand-written activations come out right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from attrib.engine.secant.bilinear import product
from attrib.engine.secant.elementwise import ratio
from attrib.engine.secant.rules import rule
from attrib.engine.secant.sums import carrier, gap
from attrib.engine.secant.twin import NoRule, Twin, values

aten = torch.ops.aten


@rule(aten.gt, aten.ge, aten.lt, aten.le, aten.eq, aten.ne)
def comparison(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """The secant of the step: its change over the change of u - v."""
    difference = gap(*args)
    v0, v1 = values(op, args, kwargs)
    dtype = difference.dv.dtype
    return Twin(v0, v1, ratio(v1.to(dtype) - v0.to(dtype), difference.change, 0.0) * difference.dv)


@rule(aten.logical_not, aten.bitwise_not)
def negation(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d(not u) = -du."""
    _bool(args)
    return Twin(*values(op, args, kwargs), -args[0].dv)


@rule(aten.bitwise_and, aten.logical_and)
def conjunction(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """u and v = u v."""
    _bool(args)
    return Twin(*values(op, args, kwargs), product(aten.mul.Tensor, args, {}).dv)


@rule(aten.bitwise_or, aten.logical_or)
def disjunction(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """u or v = u + v - u v."""
    _bool(args)
    both = product(aten.mul.Tensor, args, {})
    return Twin(*values(op, args, kwargs), carrier(args[0]) + carrier(args[1]) - both.dv)


@rule(aten.bitwise_xor, aten.logical_xor)
def exclusion(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """u xor v = u + v - 2 u v."""
    _bool(args)
    both = product(aten.mul.Tensor, args, {})
    return Twin(*values(op, args, kwargs), carrier(args[0]) + carrier(args[1]) - 2 * both.dv)


@rule(aten.where.self)
def choice(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """Where(c, u, v): the chosen change; if c changes, v + c (u - v).

    What is not chosen on either side is left out of the product: it may be infinite, as in a guard against infinity.
    """
    c, u, v = args
    v0, v1 = values(op, args, kwargs)
    if not isinstance(c, Twin):
        return Twin(v0, v1, op(c, carrier(u), carrier(v)).to(v0.dtype))
    still = c.v0 == c.v1
    between = gap(u, v)
    jump = Twin(*(torch.where(still, 0, t) for t in (between.v0, between.v1, between.dv)))
    change = product(aten.mul.Tensor, [c, jump], {}).dv + carrier(v)
    return Twin(v0, v1, torch.where(still, op(c.v1, carrier(u), carrier(v)), change))


@rule(aten.isnan, aten.isinf)
def never(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """A test for what does not happen in finite values: no change, or an error."""
    v0, v1 = values(op, args, kwargs)
    return Twin(v0, v1, torch.zeros_like(args[0].dv))


def _bool(args: Sequence[Any]) -> None:
    for a in args:
        if (a.v0 if isinstance(a, Twin) else a).dtype != torch.bool:
            raise NoRule("it works on the bits of numbers that depend on the inputs")
