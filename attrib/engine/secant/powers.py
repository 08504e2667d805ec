"""Roots, powers and logarithms, whose divided differences have closed forms that do not cancel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from attrib.engine.secant.bilinear import product
from attrib.engine.secant.elementwise import ratio
from attrib.engine.secant.rules import rule
from attrib.engine.secant.twin import Twin, values

aten = torch.ops.aten


@rule(aten.sqrt)
def square_root(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """sqrt(v1) - sqrt(v0) = (v1 - v0) / (sqrt(v0) + sqrt(v1)); zero where both are zero, as nothing changes there."""
    (x,) = args
    v0, v1 = values(op, args, kwargs)
    return Twin(v0, v1, ratio(torch.ones_like(v0), v0 + v1, 0.0) * x.dv)


@rule(aten.rsqrt)
def reciprocal_root(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """With w = 1/sqrt(v): w1 - w0 = -(w0 w1)^2 / (w0 + w1) (v1 - v0)."""
    (x,) = args
    w0, w1 = values(op, args, kwargs)
    return Twin(w0, w1, -((w0 * w1) ** 2) / (w0 + w1) * x.dv)


BASE = {aten.log2.default: math.log(2), aten.log10.default: math.log(10)}


@rule(aten.log, aten.log1p, aten.log2, aten.log10)
def logarithm(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """log v1 - log v0 = log1p((v1 - v0) / v0), the left side where the change is large."""
    (x,) = args
    v0, v1 = values(op, args, kwargs)
    start = x.v0 + 1 if op is aten.log1p.default else x.v0
    near = x.change.abs() < start / 2
    logs = torch.where(
        near, torch.log1p(torch.where(near, x.change / start, 0)), (v1 - v0) * BASE.get(op, 1.0)
    )
    return Twin(v0, v1, ratio(logs, x.change, 1 / start) / BASE.get(op, 1.0) * x.dv)


@rule(aten.pow.Tensor_Scalar)
def power(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """v1^2 - v0^2 = (v0 + v1) dv; v1^3 - v0^3 = (v0^2 + v0 v1 + v1^2) dv; for other exponents the secant."""
    x, n = args
    v0, v1 = values(op, args, kwargs)
    if n == 2:
        return Twin(v0, v1, product(aten.mul.Tensor, [x, x], {}).dv)
    if n == 3:
        return Twin(v0, v1, (x.v0**2 + x.v0 * x.v1 + x.v1**2) * x.dv)
    if n == 0.5:
        return square_root(aten.sqrt.default, [x], {})
    change, d = v1 - v0, x.change
    large = (d.abs() >= (24 * torch.finfo(d.dtype).eps) ** (1 / 3) * x.mean.abs()) & (d != 0)
    m = torch.where(large, change / torch.where(large, d, 1), n * torch.where(large, 1, x.mean) ** (n - 1))
    return Twin(v0, v1, m * x.dv, change)
