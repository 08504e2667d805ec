"""Products: u1 v1 - u0 v0 = mean(v) (u1 - u0) + mean(u) (v1 - v0), exactly, for any op linear in each of two arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.secant.linear_change import convolution_carry, matmul_carry
from attrib.engine.secant.pair import NoRule, Twin, values
from attrib.engine.secant.rules import rule

aten = torch.ops.aten


def mean(value: Any) -> Any:
    """Halfway between the baseline and the input; a constant is itself."""
    return value.mean if isinstance(value, Twin) else value


@rule(aten.mul, aten.dot, aten.mv)
def product(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d(u v) = mean(v) du + mean(u) dv."""
    u, v = args
    v0, v1 = values(op, args, kwargs)
    times = op if op in (aten.dot.default, aten.mv.default) else torch.mul
    if u is v:
        return Twin(v0, v1, times(2 * mean(u), u.dv))
    terms = [times(u.dv, mean(v))] if isinstance(u, Twin) else []
    terms += [times(mean(u), v.dv)] if isinstance(v, Twin) else []
    return Twin(v0, v1, sum(terms[1:], terms[0]))


@rule(aten.mm, aten.bmm)
def matmul(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d(u @ v) = du @ mean(v) + mean(u) @ dv."""
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    return Twin(v0, v1, _matmul_carrier(args[0], args[1], change), change)


@rule(aten.addmm, aten.baddbmm)
def matmul_add(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d(beta c + alpha u @ v) = beta dc + alpha (du @ mean(v) + mean(u) @ dv)."""
    c, u, v = args
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    alpha, beta = kwargs.get("alpha", 1), kwargs.get("beta", 1)
    terms = []
    if isinstance(u, Twin) or isinstance(v, Twin):
        dv = _matmul_carrier(u, v, change)
        terms.append(dv if alpha == 1 else alpha * dv)
    if isinstance(c, Twin):
        terms.append((beta * c.dv).expand_as(v1))
    return Twin(v0, v1, sum(terms[1:], terms[0]), change)


def _matmul_carrier(u: Any, v: Any, change: Tensor) -> Tensor:
    terms = [matmul_carry(u.dv, change, mean(v), 0)] if isinstance(u, Twin) else []
    terms += [matmul_carry(v.dv, change, mean(u), 1)] if isinstance(v, Twin) else []
    return sum(terms[1:], terms[0])


@rule(aten.convolution)
def convolution(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d conv(u, w, b) = conv(du, mean(w)) + conv(mean(u), dw) + db."""
    u, w, bias, *options = args
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    terms = []
    if isinstance(u, Twin):
        terms.append(convolution_carry(u.dv, change, mean(w), tuple(options)))
    if isinstance(w, Twin):
        terms.append(op(mean(u), w.dv, None, *options))
    if isinstance(bias, Twin):
        terms.append(bias.dv.view(-1, *[1] * (v0.ndim - 2)).expand_as(v1))
    return Twin(v0, v1, sum(terms[1:], terms[0]), change)


@rule(aten.div.Tensor, aten.div.Scalar, aten.reciprocal)
def quotient(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d(u / v) = mean(1/v) du + mean(u) d(1/v), where 1/v1 - 1/v0 = -(v1 - v0) / (v0 v1)."""
    u: Any = args[0] if len(args) == 2 else 1.0
    v: Any = args[-1]
    v0, v1 = values(op, args, kwargs)
    if not isinstance(v, Twin):
        return Twin(v0, v1, u.dv / v)
    dv = -mean(u) / (v.v0 * v.v1) * v.dv
    if isinstance(u, Twin):
        dv = dv + (1 / v.v0 + 1 / v.v1) / 2 * u.dv
    return Twin(v0, v1, dv)


@rule(aten.div.Tensor_mode, aten.div.Scalar_mode, aten.remainder, aten.fmod, aten.floor_divide)
def rounded_quotient(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """Refused: rounding a quotient of two changing numbers has no secant; `(u / v).floor()` has one."""
    raise NoRule("it rounds a quotient; write (u / v).floor() or .trunc()")
